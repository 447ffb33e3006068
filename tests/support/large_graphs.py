"""Graphs that are large: many branches of one node, long chains, long loops, a chain of which every node may fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphs.config.spec.graph import LimitsSpec
from graphs.diagnostics.drawing import GraphShape
from graphs.diagnostics.drawing.shape import read_shape

TOPICS = (
    *("billing", "technical", "sales", "returns", "shipping", "accounts"),
    *("complaints", "press", "partners", "careers", "legal", "other_questions"),
)


def build_branches() -> dict[str, Any]:
    """Twelve branches of a choice, each with its agent."""
    agent = {"type": "agent", "tools": ["database/*", "monitoring/*"], "next": "end"}
    return {
        "sort": {"type": "model", "model": "small", "into": "kind", "next": {topic: topic for topic in TOPICS}},
        **dict.fromkeys(TOPICS, agent),
    }


def build_conditions() -> dict[str, Any]:
    """Twelve branches with long conditions, and a loop by way of a permission node."""
    ways = [{"when": f'text.contains("{topic}") && turn.rounds < 5', "to": topic} for topic in TOPICS]
    models = {topic: {"type": "model", "next": "check" if at % 2 else "end"} for at, topic in enumerate(TOPICS)}
    return {
        "sort": {"type": "model", "next": [*ways, {"to": "end"}]},
        **models,
        "check": {"type": "permission", "next": "act"},
        "act": {"type": "tools", "next": "sort"},
    }


def build_chain(count: int, last: Any = "end", **more: Any) -> dict[str, Any]:
    """Nodes in a row."""
    return {
        f"step_{at}": {"type": "reply", "text": "x", "next": f"step_{at + 1}" if at < count - 1 else last, **more}
        for at in range(count)
    }


def build_nested() -> dict[str, Any]:
    """A choice of five, each with a choice of four."""
    answers = ("yes", "no", "maybe", "never")
    nodes: dict[str, Any] = {"sort": {"type": "model", "into": "kind", "next": {topic: topic for topic in TOPICS[:5]}}}
    for topic in TOPICS[:5]:
        nodes[topic] = {"type": "model", "into": "answer", "next": {each: f"{topic}_{each}" for each in answers}}
        nodes |= {f"{topic}_{each}": {"type": "reply", "text": "x", "next": "end"} for each in answers}
    return nodes


NODES: Mapping[str, dict[str, Any]] = {
    "branches": build_branches(),
    "conditions": build_conditions(),
    "chain": build_chain(15),
    "loop": build_chain(10, [{"when": "visits < 3", "to": "step_0"}, {"to": "end"}]),
    "failures": {**build_chain(15, on_error="sorry"), "sorry": {"type": "reply", "text": "x", "next": "end"}},
    "nested": build_nested(),
}
"""The nodes by the name of the graph; the first one is the start."""
LARGE_GRAPHS: Mapping[str, GraphShape] = {
    name: read_shape(name, {"start": next(iter(nodes)), "nodes": nodes}, {}, LimitsSpec())
    for name, nodes in NODES.items()
}
