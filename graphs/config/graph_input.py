"""The input of a graph that is chatted with: what the message gives, what a form asks for, what neither can."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from graphs.expressions import FieldType, Variable, VarType, find_asking_fault

INPUT_NODE = "(input)"
"""Who asks for the input, where nodes are named: no node of a file can be called so."""


def list_required(inputs: Mapping[str, Variable]) -> list[str]:
    """List the inputs that whoever starts the graph must give."""
    return [name for name, one in inputs.items() if not one.has_default]


def find_message_input(inputs: Mapping[str, Variable]) -> str | None:
    """Find the input that the message of a chat is: the only one that must be given and that any text fits; None: none
    is."""
    texts = [name for name in list_required(inputs) if inputs[name].type.is_plain_text]
    return texts[0] if len(texts) == 1 else None


def is_asked_for(inputs: Mapping[str, Variable]) -> bool:
    """Whether a chat has to give more than its message."""
    return any(name != find_message_input(inputs) for name in list_required(inputs))


def build_form_type(inputs: Mapping[str, Variable], *, given: Collection[str] = ()) -> VarType:
    """Build the type of what a form asks for: an object of the inputs that are not `given`, at least one.

    Those with a default, or that may be null, may be left out; those with a default are where a form cannot ask for
    them.
    """
    asked = {name: one for name, one in inputs.items() if name not in given and has_form(one.type)}
    fields = (
        FieldType(
            name=name,
            type=replace(one.type, is_nullable=False),
            is_optional=one.has_default or one.type.is_nullable,
        )
        for name, one in asked.items()
    )
    return VarType(kind="object", fields=tuple(fields))


def has_form(type_: VarType) -> bool:
    """Whether a form can ask for a value of this type beside others. One that may be null is left out instead."""
    return type_.kind != "object" and find_asking_fault(replace(type_, is_nullable=False)) is None


def complete_input(inputs: Mapping[str, Variable], answer: Mapping[str, Any]) -> dict[str, Any]:
    """Complete what a form was answered with: what may be null, has no default and was left out is null."""
    left_out = (name for name in list_required(inputs) if inputs[name].type.is_nullable and name not in answer)
    return {**dict.fromkeys(left_out), **answer}


def describe_formless(graph: str, inputs: Mapping[str, Variable], *, given: Collection[str] = ()) -> str | None:
    """Explain which of the inputs that are not `given` nobody who chats can give; None: there is none."""
    needed = [name for name in list_required(inputs) if name not in given and not has_form(inputs[name].type)]
    if not needed:
        return None
    listed = ", ".join(f"{name!r} ({inputs[name].type.describe()})" for name in needed)
    return (
        f"graph {graph!r} needs {listed}, which a chat message does not give, and a form asks only for string, int, "
        "number, bool and choices; give it a default, or run it from another graph"
    )
