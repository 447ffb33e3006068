"""The context of a graph that keeps its work to itself: an agent's own, or one that another graph runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graphs.events import (
    AnnotationsAdded,
    Event,
    LogprobsDelta,
    ModelFinished,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
)
from graphs.nodes.call import OwnClaims
from graphs.nodes.state import Context, State, find_last_request

_WORDS = (TextDelta, ReasoningDelta, RefusalDelta, AnnotationsAdded, LogprobsDelta)
"""What is said to nobody where the result goes into a variable."""


def isolate(context: Context, state: State, emit: Callable[[Event], None], *, is_silent: bool) -> Context:
    """Return the context of a graph that keeps its work to itself: without the client's tools, and where `is_silent`
    without listeners to its words. `emit` takes what it has to tell."""
    claims = context.claims
    return replace(
        context,
        client_tools=(),
        client_names=frozenset(),
        addendum=None,
        claims=OwnClaims(claims, state.get("messages", [])) if claims is not None else None,
        listener=_build_filter(emit) if is_silent else emit,
    )


def _build_filter(emit: Callable[[Event], None]) -> Callable[[Event], None]:
    def pass_on(event: Event) -> None:
        if isinstance(event, ModelFinished):
            event = replace(event, reason="stop")  # how the person's answer ends is another matter
        if not isinstance(event, _WORDS):
            emit(event)

    return pass_on


def count_work(end: State) -> tuple[int, int]:
    """Count the tool calls and model calls of the turn up to where such a graph failed or paused, by its last state:
    calls of its last round may have begun."""
    begun = end.get("verdicts", {}).values() if find_last_request(end) is not None else ()
    calls = end.get("calls", 0) + sum(verdict["decision"] == "allow" for verdict in begun)
    return calls, end.get("rounds", 0)
