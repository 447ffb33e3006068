"""Metrics and spans of a turn: one function for each thing to measure, to wrap it in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from time import perf_counter
from typing import Any

from langgraph.errors import GraphInterrupt

from graphs.events import FinishReason, TokenUsage
from graphs.telemetry import spans
from graphs.telemetry.metrics import UNKNOWN, Metrics, ToolOutcome, TurnMeter, TurnStatus
from graphs.telemetry.path import GraphPath, ModelCallRecord, begin_path, current_step, find_current_path
from graphs.telemetry.token_count import CallTokenCount
from graphs.telemetry.tracing import Tracing, classify_error, trace_from_here

NodeCallable = Callable[..., Awaitable[Mapping[str, Any]]]


@dataclass(slots=True, kw_only=True)
class TurnSpan:
    """What is measured of one turn while it runs."""

    id: str
    graph: str
    conversation: str | None
    """The client's id of the chat."""
    meter: TurnMeter
    started_at: float
    """Seconds of `perf_counter`, like the next two."""
    path: GraphPath
    """The way that it takes."""
    first_text_at: float | None = None
    """When its first piece of text was said."""
    latest_text_at: float = 0.0
    """When the latest model call said its first piece of text."""
    status: TurnStatus | None = None
    """How it ended."""
    usage: TokenUsage = field(default_factory=TokenUsage)
    tools: list[str] = field(default_factory=list[str])
    """Tools that ran, as `server/tool`."""

    def set_status(self, status: TurnStatus) -> None:
        """Notes how the turn ended."""
        self.status = status


_current_turn: ContextVar[TurnSpan | None] = ContextVar("turn", default=None)


def find_current_turn() -> TurnSpan | None:
    """Find the turn that this code runs in; None outside of one."""
    return _current_turn.get()


class Instrumentation:
    """Measures turns."""

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self.metrics = metrics
        self.tracing = tracing

    def begin_turn(self, turn: str, graph: str, conversation: str | None) -> TurnSpan:
        """Begin to measure a turn that is about to run."""
        meter = self.metrics.find_turn_meter(graph)
        return TurnSpan(
            id=turn,
            graph=graph,
            conversation=conversation,
            meter=meter,
            started_at=perf_counter(),
            path=find_current_path() or GraphPath(),
        )

    async def run_turn(self, turn: TurnSpan, work: Callable[[], Awaitable[None]]) -> None:
        """Run the whole work of a turn, in a task of its own, and measure it."""
        _current_turn.set(turn)
        begin_path(turn.path)
        trace_from_here(self.tracing)
        turn.meter.running.inc()
        try:
            with spans.start_turn_span(self.tracing, turn.graph, turn.id, turn.conversation) as span:
                try:
                    await work()
                finally:
                    if span.recording:
                        span.set_attributes(
                            {
                                "interlock.turn.status": turn.status or "failed",
                                **spans.build_usage_attributes(turn.usage),
                            }
                        )
                        if turn.status in (None, "failed"):
                            span.record_failure("turn_failed")
        finally:
            turn.meter.running.dec()
            turn.meter.counters[turn.status or "failed"].inc()
            turn.meter.seconds.observe(perf_counter() - turn.started_at)

    async def run_without_turn(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run work that is no turn, in a task of its own, so that it is traced."""
        trace_from_here(self.tracing)
        await work()


def record_first_text() -> None:
    """Record that a model call of the current turn has passed on its first piece of text."""
    turn = _current_turn.get()
    if turn is None:
        return
    turn.latest_text_at = perf_counter()
    if turn.first_text_at is None:
        turn.first_text_at = turn.latest_text_at
        turn.meter.first_token.observe(turn.first_text_at - turn.started_at)


def instrument_node(function: NodeCallable, *, graph: str, name: str, kind: str, metrics: Metrics) -> NodeCallable:
    """Wrap a node function, so that its runs are timed and counted. Done once per snapshot."""
    meter = metrics.build_node_meter(graph, name, kind)
    outer = name.partition(".")[0]

    @wraps(function)
    async def run_instrumented(*args: Any, **kwargs: Any) -> Mapping[str, Any]:
        began = perf_counter()
        meter.running.inc()
        path = find_current_path()
        if path is None:
            step = None
        elif (task := find_repeated_task(kwargs.get("runtime"))) is None:
            step = path.enter(graph, name, kind, began)
        else:
            step, failure = path.retry(graph, name, kind, task, began)
            metrics.count_retry(graph, outer, failure)
        token = current_step.set(step)
        try:
            with spans.start_node_span(graph, name, kind):
                return await function(*args, **kwargs)
        except GraphInterrupt:
            if step is not None:
                step.is_paused = True
            raise
        except Exception as error:
            if path is not None and step is not None:
                path.fail(step, find_task(kwargs.get("runtime")), error)
            raise
        finally:
            current_step.reset(token)
            now = perf_counter()
            if step is not None:
                step.ended = now
            meter.running.dec()
            meter.seconds.observe(now - began)

    return run_instrumented


def find_task(runtime: Any) -> str:
    """Find LangGraph's id of the task that runs a node; empty where there is none."""
    info = getattr(runtime, "execution_info", None)
    return "" if info is None else str(info.task_id)


def find_repeated_task(runtime: Any) -> str | None:
    """Find the task of a node that runs again because it failed a moment ago; None where it runs for the first time."""
    info = getattr(runtime, "execution_info", None)
    return info.task_id if info is not None and info.node_attempt > 1 else None


@dataclass(slots=True)
class ModelCallSpan:
    """One model call; its caller sets the results."""

    usage: TokenUsage | None = None
    reason: FinishReason | None = None
    token_count: CallTokenCount | None = None

    def note_answer(self, usage: TokenUsage | None, reason: FinishReason) -> None:
        """Notes what the answer used, and why it ended."""
        self.usage = usage
        self.reason = reason


@contextmanager
def record_model_call(
    metrics: Metrics, graph: str, request: Mapping[str, Any], endpoint: str, token_count: CallTokenCount | None = None
) -> Generator[ModelCallSpan]:
    """Measure one request to the model endpoint."""
    turn = _current_turn.get()
    model = str(request["model"])
    call = ModelCallSpan(token_count=token_count)
    outcome = "cut"
    began = perf_counter()
    try:
        with spans.start_model_span(request, endpoint, turn and turn.conversation) as span:
            yield call
            outcome = "ok"
            if span.recording and call.usage is not None:
                span.set_attributes(
                    {
                        **spans.build_usage_attributes(call.usage),
                        "gen_ai.response.finish_reasons": (call.reason or "stop",),
                    }
                )
                if turn is not None and turn.latest_text_at >= began:
                    span.set_attributes({"gen_ai.response.time_to_first_chunk": turn.latest_text_at - began})
    except Exception as error:
        outcome = classify_error(error)
        raise
    finally:
        metrics.count_model_request(model, outcome)
        if call.token_count is not None:
            call.token_count.finish(
                call.usage and call.usage.prompt + call.usage.completion, failed=outcome not in ("ok", "cut")
            )
        if call.usage is not None:
            metrics.count_tokens(graph, model, call.usage.prompt, call.usage.completion)
            if turn is not None:
                turn.usage += call.usage
        if (path := find_current_path()) is not None:
            record = ModelCallRecord(
                model=model,
                seconds=round(perf_counter() - began, 4),
                prompt=call.usage and call.usage.prompt,
                completion=call.usage and call.usage.completion,
                outcome=outcome,
            )
            path.add_model_call(current_step.get(), record, call.usage)


@dataclass(slots=True)
class ToolCallSpan:
    """One tool call; its caller sets whether it failed."""

    failed: bool = False


@contextmanager
def record_tool_call(
    metrics: Metrics, server: str, tool: str, call_id: str, *, approved: bool
) -> Generator[ToolCallSpan]:
    """Measure one call that may run; `approved`: because a person approved it."""
    turn = _current_turn.get()
    if turn is not None:
        turn.tools.append(f"{server}/{tool}")
    meter = metrics.find_tool_meter(server, tool)
    call = ToolCallSpan()
    outcome: ToolOutcome = "cut"
    began = perf_counter()
    try:
        with spans.start_tool_span(f"{server}/{tool}", call_id, "approved" if approved else "allow") as span:
            yield call
            outcome = "error" if call.failed else "ok"
            if call.failed:
                span.record_failure("tool_error")
    finally:
        meter.calls[outcome].inc()
        meter.seconds.observe(perf_counter() - began)


def record_tool_refusal(metrics: Metrics, server: str | None, tool: str | None, call_id: str) -> None:
    """Count a call that was refused. None, None: no server has such a tool."""
    metrics.find_tool_meter(server or UNKNOWN, tool or UNKNOWN).calls["refused"].inc()
    with spans.start_tool_span(f"{server}/{tool}" if server else UNKNOWN, call_id, "deny") as span:
        span.record_failure("refused")
