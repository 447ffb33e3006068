"""What node classes have in common: the services they use, their place in a graph, the tools of a caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from langchain_core.messages import ToolCall
from langgraph.runtime import Runtime

from graphs.config.graph_plan import GraphPlan
from graphs.config.loader import Snapshot
from graphs.config.spec.graph import GraphSpec
from graphs.config.spec.node import NodeSpec
from graphs.events import Event
from graphs.expressions import Evaluator
from graphs.llm.client import ChatModel
from graphs.nodes.attestation import CallAttestation
from graphs.nodes.function_call import FunctionThreads
from graphs.nodes.result_cache import ResultCache
from graphs.nodes.state import Context, State
from graphs.policy.caller import Caller
from graphs.policy.patterns import could_begin
from graphs.store.store import Store
from graphs.telemetry.metrics import Metrics
from graphs.tools.registry import ToolRegistry
from graphs.tools.toolset import Toolset


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the nodes of one snapshot may use."""

    snapshot: Snapshot
    tool_registry: ToolRegistry
    model: ChatModel
    store: Store
    metrics: Metrics = field(default_factory=Metrics)
    evaluator: Evaluator = field(default_factory=Evaluator)
    """Evaluates what may take long, off the event loop."""
    most_tasks: int | None = None
    """How many tasks of a `parallel` or `map` run at the same time at most; None: as many as the graph says."""
    default_context: Callable[[str | None], Context] | None = None
    """Makes the context of a run from its thread's id, where no request brings one (Studio)."""
    attestations: CallAttestation = field(default_factory=CallAttestation)
    """What model nodes did in runs whose state others can write (Studio); empty elsewhere."""
    function_threads: FunctionThreads = field(default_factory=FunctionThreads)
    """Where the operator's own functions run."""
    result_cache: ResultCache = field(default_factory=ResultCache)
    """Results that nodes with `cache` may use again."""

    def find_tools(self, context: Context) -> Toolset:
        """Find the caller's tools, with those of the caller's own connections that are open."""
        return self.tool_registry.get_toolset(context.caller, context.verified_user)

    def find_context(self, runtime: Runtime[Context]) -> Context:
        """Find the run's context. Raises RuntimeError where a graph is run without one."""
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
        """Correct the state by what really happened: who asked for the calls, how many rounds and calls there were.

        For runs whose state others can write.
        """
        ids = [call["id"] or "" for call in calls]
        noted = self.attestations
        ran = await self.store.journal.count(context.thread, excluded_ids=ids)
        attested = State(**state)
        if attested.pop("most_calls", None) is not None:
            # Of several tasks that run at the same time, nobody can tell whose calls the journal counts: all together
            # stay within the limit of the turn, and each counts those that tasks before it may make.
            ran = max(ran, state.get("calls", 0))
        return {
            **attested,
            "asker": model_nodes[0] if len(model_nodes) == 1 else noted.find_asker(graph, ids),
            "rounds": max(int(state.get("rounds", 0)), noted.count_rounds(context.thread)),
            "calls": ran,
        }


def find_emitter(context: Context | None, writer: Callable[[Any], None]) -> Callable[[Event], None]:
    """Find where a node sends its events: to the turn itself, else into LangGraph's stream, which is `writer`.

    LangGraph makes a task and a tuple of each piece that goes through its stream: for every word of every answer.
    """
    return (context.listener if isinstance(context, Context) else None) or writer


@dataclass(frozen=True, kw_only=True)
class NodeSite:
    """Where a node stands: the plan of its graph, and its own name, such as `read` or, inside that, `read.do`."""

    plan: GraphPlan
    name: str

    @property
    def is_inner(self) -> bool:
        """Whether it stands inside another node."""
        return "." in self.name

    @property
    def outer(self) -> str:
        """The node that ways lead to: this one, or the one around it."""
        return self.name.partition(".")[0]

    @property
    def spec(self) -> NodeSpec:
        """The page of this node."""
        return self.plan.nodes[self.name]


class Node(Protocol):
    """One node of a graph. It is made once and runs in many turns at the same time, so it keeps nothing of a run."""

    @property
    def run(self) -> Callable[..., Awaitable[Any]]:
        """Run the node: `async (state)`, with `runtime` and `config` if it names them; returns what changes in the
        state, or a Command that also says where to go."""
        ...


class ToolAccess:
    """The tools that callers have at the nodes of one graph: everybody's, and those of their own connections."""

    def __init__(self, spec: GraphSpec, services: Services) -> None:
        self._services = services
        patterns = [
            pattern for node in spec.list_all_nodes().values() for pattern in node.locate_tool_patterns().values()
        ]
        self._own_servers = [
            name for name in services.tool_registry.templates if any(could_begin(each, f"{name}/") for each in patterns)
        ]
        self._by_roles: dict[tuple[str, ...], list[str]] = {}

    async def open_tools(self, context: Context) -> Toolset:
        """Open the caller's own connections, as far as they can be, and return the caller's tools."""
        if not self._own_servers:
            return self._services.tool_registry
        tools = self._services.find_tools(context)
        await tools.open(self._find_servers(context.caller))
        return tools

    def _find_servers(self, caller: Caller) -> list[str]:
        """A connection that no rule would let the caller use is not worth a process."""
        found = self._by_roles.get(caller.roles)
        if found is None:
            policy = self._services.snapshot.policy
            found = [name for name in self._own_servers if policy.may_reach_server(caller, name)]
            self._by_roles[caller.roles] = found
        return found
