"""What happens in a turn, as metrics: for each place where something happens, one function here to wrap it in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from time import perf_counter
from typing import Any

from graphs.errors import ModelError
from graphs.events import Usage
from graphs.metrics import UNKNOWN, Metrics, ToolOutcome, TurnMeter, TurnStatus

Function = Callable[..., Awaitable[Mapping[str, Any]]]


@dataclass(slots=True, kw_only=True)
class Turn:
    """What is seen of one turn while it runs."""

    id: str
    graph: str
    meter: TurnMeter
    began: float
    """Seconds of `perf_counter`, like the next two."""
    first: float | None = None
    """When its first piece of text was said."""
    spoke: float = 0.0
    """When the latest model call said its first piece of text."""
    status: TurnStatus | None = None
    """How it ended."""
    tools: list[str] = field(default_factory=list[str])
    """Tools that ran, as `server/tool`."""


_turn: ContextVar[Turn | None] = ContextVar("turn", default=None)


def current_turn() -> Turn | None:
    """The turn that this code runs in."""
    return _turn.get()


class Seeing:
    """Sees turns begin and end."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def begun(self, turn: str, graph: str) -> Turn:
        """A turn that is about to run."""
        return Turn(id=turn, graph=graph, meter=self.metrics.turn(graph), began=perf_counter())

    async def over(self, turn: Turn, work: Callable[[], Awaitable[None]]) -> None:
        """Runs the whole work of a turn, in the task that is this turn's alone."""
        _turn.set(turn)
        turn.meter.running.inc()
        try:
            await work()
        finally:
            turn.meter.running.dec()
            turn.meter.ended[turn.status or "failed"].inc()
            turn.meter.seconds.observe(perf_counter() - turn.began)


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
            return await function(*args, **kwargs)
        finally:
            meter.running.dec()
            meter.seconds.observe(perf_counter() - began)

    return seen


@dataclass(slots=True)
class ModelCall:
    """One model call; whoever makes it says what it used."""

    usage: Usage | None = None


@contextmanager
def model_call(metrics: Metrics, graph: str, model: str) -> Generator[ModelCall]:
    """Around one request to the model endpoint."""
    call = ModelCall()
    outcome = "cut"
    try:
        yield call
        outcome = "ok"
    except ModelError as error:
        outcome = error.kind
        raise
    finally:
        metrics.model_request(model, outcome)
        if call.usage is not None:
            metrics.tokens(graph, model, call.usage.prompt, call.usage.completion)


@dataclass(slots=True)
class ToolCall:
    """One tool call; whoever makes it says whether it failed."""

    failed: bool = False


@contextmanager
def tool_call(metrics: Metrics, server: str, tool: str) -> Generator[ToolCall]:
    """Around one call that carries an allow."""
    turn = _turn.get()
    if turn is not None:
        turn.tools.append(f"{server}/{tool}")
    meter = metrics.tool(server, tool)
    call = ToolCall()
    outcome: ToolOutcome = "cut"
    began = perf_counter()
    try:
        yield call
        outcome = "error" if call.failed else "ok"
    finally:
        meter.calls[outcome].inc()
        meter.seconds.observe(perf_counter() - began)


def tool_refused(metrics: Metrics, server: str | None, tool: str | None) -> None:
    """A call that was not run. None, None: no server has such a tool."""
    metrics.tool(server or UNKNOWN, tool or UNKNOWN).calls["refused"].inc()
