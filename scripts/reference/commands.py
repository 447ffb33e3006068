"""The page on the command `interlock`, from the commands themselves."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from scripts.reference.markdown import code, join_choices, table
from server.cli.main import app

INTRODUCTION = """\
# Commands

`make serve` creates the command as `.venv/bin/interlock`; the wheel of `make wheel` installs it as `interlock`. Every
command has `--help`. On a terminal, `check --connect`, `doctor`, `access` and `audit verify` show on stderr what they
wait for, and clear it.
"""
WORDS = {str: "text", int: "whole number", float: "number", Path: "path"}


def build_page() -> str:
    """The whole page."""
    return "\n".join((INTRODUCTION, *describe(typer.main.get_command(app), "interlock")))


def describe(command: Any, name: str) -> Iterator[str]:
    """One command, and those below it."""
    parameters = [parameter for parameter in command.params if not parameter.hidden]
    if command.callback is not None:
        arguments = [find_metavar(parameter) for parameter in parameters if not is_option(parameter)]
        yield f"## {name}\n\n{' '.join((command.help or '').split())}\n"
        yield f"```\n{' '.join([name, '[OPTIONS]', *arguments])}\n```\n"
        if parameters:
            rows = [describe_parameter(parameter) for parameter in parameters]
            yield table(("option", "value", "default", "meaning"), rows)
    elif name != "interlock":
        yield f"## {name}\n\n{' '.join((command.help or '').split())}\n"
    for child, below in getattr(command, "commands", {}).items():
        yield from describe(below, f"{name} {child}")


def is_option(parameter: Any) -> bool:
    return parameter.opts[0].startswith("-")


def find_metavar(parameter: Any) -> str:
    """What stands for an argument in the line that shows how to call a command."""
    shown = parameter.metavar or parameter.name.upper()
    return shown if shown.startswith("[") or parameter.required else f"[{shown}]"


def describe_parameter(parameter: Any) -> tuple[str, str, str, str]:
    """A row of the table."""
    name = ", ".join(map(code, (*parameter.opts, *parameter.secondary_opts)))
    if not is_option(parameter):
        name = code(find_metavar(parameter))
    more = f" Environment: `{parameter.envvar}`." if parameter.envvar else ""
    return name, describe_value(parameter), describe_default(parameter), f"{parameter.help or ''}{more}"


def describe_value(parameter: Any) -> str:
    """What may be given for it; empty for a switch."""
    kind = parameter.type_descriptor.annotation
    if kind is bool:
        return ""
    if typing.get_origin(kind) is typing.Literal:
        return join_choices(map(code, typing.get_args(kind)))
    word = WORDS[next(iter(typing.get_args(kind)), kind)]
    if parameter.min is None:
        return word
    return (
        f"{word}, {parameter.min} to {parameter.max}"
        if parameter.max is not None
        else f"{word}, at least {parameter.min}"
    )


def describe_default(parameter: Any) -> str:
    """The default, or the words that say what it is."""
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.required:
        return "required"
    match parameter.default:
        case None | "" | () | []:
            return ""
        case bool() as chosen if parameter.secondary_opts:
            return code((parameter.opts if chosen else parameter.secondary_opts)[0])
        case bool():
            return ""
        case value:
            return code(str(value))
