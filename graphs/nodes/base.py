"""What every node is built from: the snapshot it belongs to and the services it may use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import ToolCall
from langgraph.runtime import Runtime

from graphs.config.compile_graph import GraphPlan
from graphs.config.loader import Snapshot
from graphs.events import Event
from graphs.expressions import Evaluator
from graphs.llm.client import ChatModel
from graphs.nodes.attestation import CallAttestation
from graphs.nodes.state import Context, State
from graphs.store.store import Store
from graphs.telemetry.metrics import Metrics
from graphs.tools.registry import ToolRegistry
from graphs.tools.toolset import Toolset


@dataclass(frozen=True, kw_only=True)
class Services:
    """Services of one snapshot."""

    snapshot: Snapshot
    tool_registry: ToolRegistry
    model: ChatModel
    store: Store
    metrics: Metrics = field(default_factory=Metrics)
    evaluator: Evaluator = field(default_factory=Evaluator)
    """Evaluates what may take long, off the event loop."""
    default_context: Callable[[str | None], Context] | None = None
    """Makes the context, from a thread id, where no request brings one (Studio)."""
    attestations: CallAttestation = field(default_factory=CallAttestation)
    """What model nodes did in runs whose state others can write (Studio)."""

    def find_tools(self, context: Context) -> Toolset:
        """The caller's tools, with what is open of the caller's own connections."""
        return self.tool_registry.get_toolset(context.caller, context.verified_user)

    def find_context(self, runtime: Runtime[Context]) -> Context:
        """The run's context. Raises RuntimeError where a graph is run without one."""
        context = runtime.context
        # Under `langgraph dev` it is None, or what the client sent as `context`, whatever its type says.
        if not isinstance(context, Context):  # pyright: ignore[reportUnnecessaryIsInstance]
            if self.default_context is None:
                raise RuntimeError("a graph was run without a caller; pass context=Context(…)")
            info = runtime.execution_info
            context = self.default_context(info.thread_id if info else None)
        return context

    async def attest_state(
        self, state: State, graph: str, calls: Sequence[ToolCall], context: Context, model_nodes: Sequence[str]
    ) -> State:
        """The state with what rules and limits look at as it really was: who asked, how many rounds and calls there
        were. For runs whose state others can write."""
        ids = [call["id"] or "" for call in calls]
        noted = self.attestations
        return {
            **state,
            "asker": model_nodes[0] if len(model_nodes) == 1 else noted.find_asker(graph, ids),
            "rounds": max(int(state.get("rounds", 0)), noted.count_rounds(context.thread)),
            "calls": await self.store.journal.count(context.thread, excluded_ids=ids),
        }


def find_emitter(context: Context | None, writer: Callable[[Any], None]) -> Callable[[Event], None]:
    """Where a node says what it does: to the turn itself, else into LangGraph's stream, which is `writer`.

    LangGraph makes a task and a tuple of each piece that goes through its stream: for every word of every answer.
    """
    return (context.listener if isinstance(context, Context) else None) or writer


@dataclass(frozen=True, kw_only=True)
class NodeSite:
    """Where a node stands: its graph's plan and its own name."""

    plan: GraphPlan
    name: str


NodeFunction = Callable[..., Awaitable[Mapping[str, Any]]]
Builder = Callable[[NodeSite, Services], NodeFunction]

__all__ = ["Builder", "Context", "NodeFunction", "NodeSite", "Services", "State"]
