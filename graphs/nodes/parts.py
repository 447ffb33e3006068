"""What every node is built from: the snapshot it belongs to and the services it may use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from langgraph.runtime import Runtime

from graphs.chatmodel import ChatModel
from graphs.events import Event
from graphs.expressions import Evaluator
from graphs.loader import GraphPlan, Snapshot
from graphs.metrics import Metrics
from graphs.state import Context, State
from graphs.store import Store
from graphs.toolbox import Toolbox, Tools


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Services of one snapshot."""

    snapshot: Snapshot
    toolbox: Toolbox
    model: ChatModel
    store: Store
    metrics: Metrics = field(default_factory=Metrics)
    evaluator: Evaluator = field(default_factory=Evaluator)
    """Evaluates what may take long, off the event loop."""
    standing: Callable[[str | None], Context] | None = None
    """Makes the context, from a thread id, where no request brings one (Studio)."""

    def tools(self, context: Context) -> Tools:
        """The caller's tools, with what is open of the caller's own connections."""
        return self.toolbox.of(context.caller, context.person)

    def context(self, runtime: Runtime[Context]) -> Context:
        """The run's context. Raises RuntimeError where a graph is run without one."""
        context = cast("Context | None", runtime.context)  # None under `langgraph dev`, whatever its type says
        if context is None:
            if self.standing is None:
                raise RuntimeError("a graph was run without a caller; pass context=Context(…)")
            info = runtime.execution_info
            context = self.standing(info.thread_id if info else None)
        return context


def voice(context: Context | None, writer: Callable[[Any], None]) -> Callable[[Event], None]:
    """Where a node says what it does: to the turn itself, else into LangGraph's stream, which is `writer`.

    LangGraph makes a task and a tuple of each piece that goes through its stream: for every word of every answer.
    """
    return (context.listener if context is not None else None) or writer


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a node stands: its graph's plan and its own name."""

    plan: GraphPlan
    name: str


NodeFunction = Callable[..., Awaitable[Mapping[str, Any]]]
Builder = Callable[[Place, Parts], NodeFunction]

__all__ = ["Builder", "Context", "NodeFunction", "Parts", "Place", "State"]
