"""What happens in a turn, as metrics and spans: for each place where something happens, one function to wrap it in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from time import perf_counter
from typing import Any

from graphs.events import FinishReason, Usage
from graphs.telemetry import spans
from graphs.telemetry.metrics import UNKNOWN, Metrics, ToolOutcome, TurnMeter, TurnStatus
from graphs.telemetry.token_count import CallTally, Tally
from graphs.telemetry.tracing import Tracing, error_type, trace_from_here

Function = Callable[..., Awaitable[Mapping[str, Any]]]


@dataclass(slots=True, kw_only=True)
class Turn:
    """What is seen of one turn while it runs."""

    id: str
    graph: str
    conversation: str | None
    """The client's id of the chat."""
    meter: TurnMeter
    began: float
    """Seconds of `perf_counter`, like the next two."""
    first: float | None = None
    """When its first piece of text was said."""
    spoke: float = 0.0
    """When the latest model call said its first piece of text."""
    status: TurnStatus | None = None
    """How it ended."""
    usage: Usage = field(default_factory=Usage)
    tools: list[str] = field(default_factory=list[str])
    """Tools that ran, as `server/tool`."""


_turn: ContextVar[Turn | None] = ContextVar("turn", default=None)


def current_turn() -> Turn | None:
    """The turn that this code runs in."""
    return _turn.get()


class Seeing:
    """Sees turns begin and end."""

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self.metrics = metrics
        self.tracing = tracing

    def begun(self, turn: str, graph: str, conversation: str | None) -> Turn:
        """A turn that is about to run."""
        meter = self.metrics.turn(graph)
        return Turn(id=turn, graph=graph, conversation=conversation, meter=meter, began=perf_counter())

    async def over(self, turn: Turn, work: Callable[[], Awaitable[None]]) -> None:
        """Runs the whole work of a turn, in the task that is this turn's alone."""
        _turn.set(turn)
        trace_from_here(self.tracing)
        turn.meter.running.inc()
        try:
            with spans.agent(self.tracing, turn.graph, turn.id, turn.conversation) as span:
                try:
                    await work()
                finally:
                    if span.recording:
                        span.note({"interlock.turn.status": turn.status or "failed", **spans.used(turn.usage)})
                        if turn.status in (None, "failed"):
                            span.failed("turn_failed")
        finally:
            turn.meter.running.dec()
            turn.meter.ended[turn.status or "failed"].inc()
            turn.meter.seconds.observe(perf_counter() - turn.began)

    async def aside(self, work: Callable[[], Awaitable[None]]) -> None:
        """Runs what is no turn, in a task of its own."""
        trace_from_here(self.tracing)
        await work()


def first_words() -> None:
    """A model call of the current turn begins to say something."""
    turn = _turn.get()
    if turn is None:
        return
    turn.spoke = perf_counter()
    if turn.first is None:
        turn.first = turn.spoke
        turn.meter.first_token.observe(turn.first - turn.began)


def node(function: Function, *, graph: str, name: str, kind: str, metrics: Metrics) -> Function:
    """The node function, timed and counted. Made once per snapshot."""
    meter = metrics.node(graph, name, kind)

    @wraps(function)
    async def seen(*args: Any, **kwargs: Any) -> Mapping[str, Any]:
        began = perf_counter()
        meter.running.inc()
        try:
            with spans.node(graph, name, kind):
                return await function(*args, **kwargs)
        finally:
            meter.running.dec()
            meter.seconds.observe(perf_counter() - began)

    return seen


@dataclass(slots=True)
class ModelCall:
    """One model call; whoever makes it says what came of it."""

    usage: Usage | None = None
    reason: FinishReason | None = None
    tally: CallTally | None = None


@contextmanager
def model_call(
    metrics: Metrics, graph: str, request: Mapping[str, Any], endpoint: str, tally: Tally | None = None
) -> Generator[ModelCall]:
    """Around one request to the model endpoint."""
    turn = _turn.get()
    model = str(request["model"])
    call = ModelCall(tally=tally and tally.begin(request))
    outcome = "cut"
    began = perf_counter()
    try:
        with spans.chat(request, endpoint, turn and turn.conversation) as span:
            yield call
            outcome = "ok"
            if span.recording and call.usage is not None:
                span.note({**spans.used(call.usage), "gen_ai.response.finish_reasons": (call.reason or "stop",)})
                if turn is not None and turn.spoke >= began:
                    span.note({"gen_ai.response.time_to_first_chunk": turn.spoke - began})
    except Exception as error:
        outcome = error_type(error)
        raise
    finally:
        metrics.model_request(model, outcome)
        if call.tally is not None:
            call.tally.ended(
                call.usage and call.usage.prompt + call.usage.completion, failed=outcome not in ("ok", "cut")
            )
        if call.usage is not None:
            metrics.tokens(graph, model, call.usage.prompt, call.usage.completion)
            if turn is not None:
                turn.usage += call.usage


@dataclass(slots=True)
class ToolCall:
    """One tool call; whoever makes it says whether it failed."""

    failed: bool = False


@contextmanager
def tool_call(metrics: Metrics, server: str, tool: str, call_id: str, *, approved: bool) -> Generator[ToolCall]:
    """Around one call that carries an allow; `approved`: because a person said so."""
    turn = _turn.get()
    if turn is not None:
        turn.tools.append(f"{server}/{tool}")
    meter = metrics.tool(server, tool)
    call = ToolCall()
    outcome: ToolOutcome = "cut"
    began = perf_counter()
    try:
        with spans.tool(f"{server}/{tool}", call_id, "approved" if approved else "allow") as span:
            yield call
            outcome = "error" if call.failed else "ok"
            if call.failed:
                span.failed("tool_error")
    finally:
        meter.calls[outcome].inc()
        meter.seconds.observe(perf_counter() - began)


def tool_refused(metrics: Metrics, server: str | None, tool: str | None, call_id: str) -> None:
    """A call that was not run. None, None: no server has such a tool."""
    metrics.tool(server or UNKNOWN, tool or UNKNOWN).calls["refused"].inc()
    with spans.tool(f"{server}/{tool}" if server else UNKNOWN, call_id, "deny") as span:
        span.failed("refused")
