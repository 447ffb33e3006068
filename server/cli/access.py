"""`interlock access`: who may do what with which tool, by which rule; and why, for one call."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from graphs.config.environment import build_environment
from graphs.errors import ConfigError, describe_missing_folder
from server.cli.options import (
    Configs,
    TableFormat,
    load_settings,
    report_error,
    silence_engine_log,
)
from server.cli.output import escape_line
from server.cli.progress import show_progress

if TYPE_CHECKING:
    from graphs.config.loader import Snapshot
    from graphs.diagnostics.tool_catalog import UnknownName

# ruff: noqa: PLC0415  what needs the engine loads it itself: `--help` does not

access = typer.Typer(name="access")

Role = Annotated[list[str] | None, typer.Option("--role", help="Only this role; may be given again.")]
Patience = Annotated[float, typer.Option(min=0.1, help="Seconds that an MCP server gets to come up.")]
Connect = Annotated[
    bool, typer.Option("--connect/--no-connect", help="Start the MCP servers, to learn which tools there are.")
]
Narrowing = Annotated[
    str | None, typer.Option("--user-role", help="The role of the person for whom a key asks that forwards users.")
]


@access.callback(invoke_without_command=True)
def show_matrix(
    context: typer.Context,
    configs: Configs = None,
    format: Annotated[
        TableFormat, typer.Option(help="table; csv; json: one list, with every rule that may decide.")
    ] = "table",
    role: Role = None,
    user_role: Narrowing = None,
    server: Annotated[list[str] | None, typer.Option(help="A pattern over names of servers.")] = None,
    tool: Annotated[list[str] | None, typer.Option(help="A pattern over server/tool, as in access.yaml.")] = None,
    connect: Connect = True,
    patience: Patience = 45.0,
) -> None:
    """Who may do what: for each role and tool the decision, and by which rule.

    The decision is allow, ask or deny, or that it depends on the call. The tools are those that the servers offer now;
    of one that is down, which is said on stderr, those that rules name. Exit 0: printed; 1: the files have problems;
    2: usage.
    """
    if context.invoked_subcommand is not None:
        of_the_table = {"role": role, "user_role": user_role, "server": server, "tool": tool}
        if given := [name for name, value in of_the_table.items() if value]:
            option = given[0].replace("_", "-")
            raise typer.BadParameter(f"belongs behind it: access {context.invoked_subcommand} --{option} …")
        context.obj = configs
        return
    from graphs.diagnostics.access_matrix import build_access_matrix
    from graphs.diagnostics.tool_catalog import UnknownName
    from server.cli.access_output import FORMATS, list_holders

    snapshot = load_or_exit(configs)
    try:
        with show_progress() as waiting:
            matrix = build_access_matrix(
                snapshot,
                roles=role or (),
                narrowed_by=user_role,
                servers=server or (),
                tools=tool or (),
                patience=patience if connect else None,
                waiting=waiting,
            )
            found = asyncio.run(matrix)
    except UnknownName as error:
        raise report_usage(error) from None
    for text in FORMATS[format](found, list_holders(snapshot)):
        typer.echo(text)
    for name in found.idle_roles:
        typer.echo(escape_line(f"role {name} may use no graph (its `graphs`), so it can call nothing"), err=True)
    for name, words in found.catalog.unavailable.items():
        if connect:
            typer.echo(escape_line(f"{name}: {words}; of its tools those are shown that rules name"), err=True)


@access.command(name="explain")
def explain_call(
    context: typer.Context,
    tool: Annotated[str, typer.Option(help="The tool, as server/tool.")],
    role: Annotated[str | None, typer.Option(help="The caller's role; or say --key.")] = None,
    key: Annotated[str | None, typer.Option(help="The name of the caller's key; or say --role.")] = None,
    args: Annotated[str, typer.Option(help="The arguments, a JSON object.")] = "{}",
    user: Annotated[str | None, typer.Option(help="`caller.user`.", show_default="the key's name")] = None,
    email: Annotated[str, typer.Option(help="`caller.email`.")] = "",
    user_role: Narrowing = None,
    graph: Annotated[str | None, typer.Option(help="The graph.", show_default="the first that may")] = None,
    node: Annotated[str | None, typer.Option(help="Its model node.", show_default="the first that may")] = None,
    now: Annotated[str, typer.Option(help="`now`, such as 2026-01-31T12:00:00Z.", show_default="now")] = "",
    rounds: Annotated[int, typer.Option(min=0, help="`turn.rounds`: model calls of the turn so far.")] = 1,
    calls: Annotated[int, typer.Option(min=0, help="`turn.calls`: tool calls of the turn so far.")] = 0,
    format: Annotated[Literal["text", "json"], typer.Option(help="How to print it.")] = "text",
    connect: Connect = True,
    patience: Patience = 45.0,
    configs: Configs = None,
) -> None:
    """Says what would be decided about one call, which rule decides, and for every other rule why it does not.

    Nothing is called. Exit 0: said, whatever is decided; 1: the files have problems; 2: usage.
    """
    from graphs.diagnostics.explain import Question, explain
    from graphs.diagnostics.tool_catalog import UnknownName
    from server.cli.access_output import format_explanation_json, format_explanation_text

    arguments = parse_arguments(args)
    moment = parse_time(now)
    snapshot = load_or_exit(configs or cast("Path | None", context.obj))
    question = Question(
        role=role,
        key=key,
        user=user,
        email=email,
        narrowed_by=user_role,
        tool=tool,
        args=arguments,
        graph=graph,
        node=node,
        now=moment,
        rounds=rounds,
        calls=calls,
    )
    try:
        with show_progress() as waiting:
            found = asyncio.run(explain(snapshot, question, patience=patience if connect else None, waiting=waiting))
    except UnknownName as error:
        raise report_usage(error) from None
    if format == "json":
        typer.echo(json.dumps(format_explanation_json(found), indent=2))
    else:
        for text in format_explanation_text(found):
            typer.echo(escape_line(text))
    for note in found.notes:
        typer.echo(escape_line(note), err=True)


def load_or_exit(configs: Path | None) -> Snapshot:
    """Load and check the files. Ends the command where they cannot be read."""
    from graphs.config.loader import load

    settings = load_settings(configs)
    if not settings.configs.is_dir():
        typer.echo(describe_missing_folder(settings.configs), err=True)
        raise typer.Exit(2)
    silence_engine_log()
    try:
        return load(settings.configs, build_environment(os.environ, settings.data))
    except ConfigError as error:
        raise report_error(error) from None


def report_usage(error: UnknownName) -> typer.Exit:
    """Show what is not there and end with exit code 2."""
    typer.echo(escape_line(str(error)), err=True)
    return typer.Exit(2)


def parse_arguments(text: str) -> Mapping[str, Any]:
    """Parse the arguments. Ends the command where they are no JSON object."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        shown = text if len(text) <= 60 else f"{text[:59]}…"
        hint = "; write names and texts in double quotes, and the whole in single ones"
        message = f"{shown!r} is no JSON: {error.msg} at character {error.pos + 1}{hint}"
        raise typer.BadParameter(message, param_hint="--args") from None
    except RecursionError:
        raise typer.BadParameter("is nested too deep", param_hint="--args") from None
    if not isinstance(value, dict):
        found = {list: "a list", str: "a text", type(None): "null"}.get(cast("type[Any]", type(value)), "a value")
        raise typer.BadParameter(
            f'{found} is no object; arguments have names, as in {{"path": "/srv/a.txt"}}', param_hint="--args"
        )
    return cast("Mapping[str, Any]", value)


def parse_time(text: str) -> datetime:
    """Parse the moment; now for no text. Ends the command where it is none."""
    if not text:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is no time; write one such as 2026-01-31T12:00:00Z"
        raise typer.BadParameter(message, param_hint="--now") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
