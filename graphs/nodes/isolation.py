"""The context of a graph that keeps its work to itself: an agent's own, or one that another graph runs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.pregel import Pregel
from langgraph.runtime import Runtime

from graphs.errors import ModelError, NodeFailure
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


class InnerRun:
    """One run of a graph inside a node, and the state that it has come to."""

    def __init__(self, begin: dict[str, Any], context: Context, runtime: Runtime[Context]) -> None:
        self.state = cast(State, begin)
        self._context = context
        self._runtime = runtime

    async def run(self, graph: Pregel[Any, Any, Any, Any], config: RunnableConfig, inner: Context) -> None:
        """Run it to its end, from the state with which it begins."""
        steps = graph.astream(self.state, config, context=inner, stream_mode="values")  # pyright: ignore[reportUnknownMemberType]
        async for step in steps:
            self.state = cast(State, step)

    @contextmanager
    def count_work(self) -> Generator[None]:
        """Let what fails or pauses in the block bear how many tool calls and model calls of the turn there were."""
        try:
            yield
        except (NodeFailure, ModelError) as error:
            calls, rounds = self._find_counts()
            raise error.add_counts(calls=calls, rounds=rounds) from error
        except GraphInterrupt:
            if self._runtime.execution_info is not None:
                self._context.paused_work[self._runtime.execution_info.task_id] = self._find_counts()
            raise

    def _find_counts(self) -> tuple[int, int]:
        """Find the counts by the last state: calls of its last round may have begun."""
        begun = self.state.get("verdicts", {}).values() if find_last_request(self.state) is not None else ()
        calls = self.state.get("calls", 0) + sum(verdict["decision"] == "allow" for verdict in begun)
        return calls, self.state.get("rounds", 0)
