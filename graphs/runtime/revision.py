"""What one snapshot serves: its graphs, the services behind them, and what may be asked for by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from graphs.config.compile_graph import GraphPlan
from graphs.config.loader import Snapshot
from graphs.errors import NotAllowed, UnknownModel
from graphs.expressions import Evaluator
from graphs.llm.client import ChatModel
from graphs.llm.model_list import Offered
from graphs.nodes import Parts
from graphs.policy.rules import Caller, Policy
from graphs.runtime.admission import Admission
from graphs.runtime.compiler import Served, assemble
from graphs.runtime.in_flight import Lease
from graphs.store.store import Store
from graphs.telemetry.metrics import Metrics
from graphs.tools.registry import Toolbox


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One entry of the model list."""

    id: str
    description: str
    graph: bool
    """True for a graph, false for a LiteLLM model that runs through the default graph."""


class Edition:
    """One snapshot with everything that serves it. A request takes the current one once and stays with it."""

    def __init__(
        self,
        snapshot: Snapshot,
        toolbox: Toolbox,
        model: ChatModel,
        store: Store,
        metrics: Metrics,
        evaluator: Evaluator,
        attached: object = None,
    ) -> None:
        self.snapshot = snapshot
        self.toolbox = toolbox
        self.model = model
        self.attached = attached
        """What the facade makes of the snapshot, and swaps with it: the keys."""
        self.lease = Lease()
        """Held by every request and turn that uses this edition."""
        parts = Parts(
            snapshot=snapshot, toolbox=toolbox, model=model, store=store, metrics=metrics, evaluator=evaluator
        )
        self.served: Mapping[str, Served] = MappingProxyType(
            {
                name: Served(
                    plan=plan,
                    graph=assemble(plan, parts, checkpointer=store.checkpoints),
                    parts=parts,
                    lease=self.lease,
                )
                for name, plan in snapshot.graphs.items()
            }
        )
        self.admission = Admission(snapshot.policy, store.usage, metrics)
        self._offered = Offered(model, snapshot.gateway.models.offer)

    async def listing(self, caller: Caller) -> list[Listed]:
        """Every graph and every LiteLLM model that this caller may use, graphs first."""
        policy = self.snapshot.policy
        graphs = [
            Listed(id=name, description=served.plan.spec.description, graph=True)
            for name, served in self.served.items()
            if may_use_graph(policy, caller, name)
        ]
        if not may_use_graph(policy, caller, self.snapshot.gateway.default_graph):
            return graphs
        models = [
            Listed(id=name, description=f"{name} with your tools", graph=False)
            for name in await self._offered.names()
            if name not in self.served and may_use_model(policy, caller, name)
        ]
        return graphs + models

    async def resolve(self, name: str, caller: Caller) -> tuple[Served, str | None]:
        """The graph behind a name, and the LiteLLM model where the name is one.

        Raises UnknownModel, or NotAllowed where the caller's role may not use it.
        """
        policy = self.snapshot.policy
        if (served := self.served.get(name)) is not None:
            if not may_use_graph(policy, caller, name):
                raise NotAllowed(f"The role {caller.role} may not use the graph {name!r} (access.yaml).")
            return served, None
        if not await self._offered.has(name):
            problem = self._offered.problem
            raise UnknownModel(
                f"There is no model {name!r}. GET /v1/models lists what there is."
                + (f" LiteLLM's models are unknown at present: {problem}" if problem else "")
            )
        default = self.snapshot.gateway.default_graph
        if not may_use_model(policy, caller, name) or not may_use_graph(policy, caller, default):
            raise NotAllowed(f"The role {caller.role} may not use the model {name!r} (access.yaml).")
        return self.served[default], name

    def graph(self, name: str, caller: Caller) -> GraphPlan:
        """The plan of a graph. Raises UnknownModel, also for one that the caller may not use."""
        if name not in self.served or not may_use_graph(self.snapshot.policy, caller, name):
            raise UnknownModel(f"There is no graph {name!r} that the role {caller.role} may use.")
        return self.served[name].plan

    def may_use(self, graph: str, model: str | None, caller: Caller) -> bool:
        """Whether the caller may use a graph, and a LiteLLM model where one was asked for by name."""
        policy = self.snapshot.policy
        return may_use_graph(policy, caller, graph) and (model is None or may_use_model(policy, caller, model))

    def is_taken(self, model_name: str, caller: Caller) -> bool:
        """Whether a client's tool may not have this name, since a tool that the caller may call here has it, or may.

        Of any other tool this tells nothing: a client's tool of its name stands, and is the client's.
        """
        policy = self.snapshot.policy

        def may_see(server: str, tool: str) -> bool:
            return all(policy.may_see(role, server, tool) for role in caller.roles)

        def may_reach(server: str) -> bool:
            return all(policy.may_reach(role, server) for role in caller.roles)

        return self.toolbox.is_taken(model_name, may_see, may_reach)

    def people_name(self, model_name: str, caller: Caller) -> str:
        """`server/tool` for a model's name of a tool that the caller may call; any other name as it is."""
        return self.toolbox.people_name(model_name) if self.is_taken(model_name, caller) else model_name

    async def readiness(self) -> dict[str, Any]:
        """The state of graphs and servers (DESIGN, READY)."""
        await self._offered.names()
        servers = self.toolbox.status()
        down = [name for name, status in servers.items() if status.status != "up"]
        missing = [name for name in down if self.snapshot.servers[name].required]
        graphs: dict[str, dict[str, Any]] = {}
        for name in self.served:
            if missing:
                reason = f"required MCP servers are not up: {', '.join(missing)}"
                graphs[name] = {"status": "failed", "reason": reason}
            elif self._offered.problem:
                graphs[name] = {"status": "degraded", "reason": self._offered.problem}
            else:
                graphs[name] = {"status": "ok", "reason": None}
        states = {graph["status"] for graph in graphs.values()}
        status = "failed" if states == {"failed"} else "degraded" if down or states != {"ok"} else "ok"
        return {
            "status": status,
            "snapshot": self.snapshot.id,
            "graphs": graphs,
            "servers": {
                name: {
                    "status": entry.status,
                    "reason": entry.reason or "; ".join(entry.left_out) or None,
                    "tools": list(entry.tools),
                }
                for name, entry in servers.items()
            },
        }


def may_use_graph(policy: Policy, caller: Caller, name: str) -> bool:
    """Whether all of the caller's roles may use the graph."""
    return all(policy.graph_allowed(role, name) for role in caller.roles)


def may_use_model(policy: Policy, caller: Caller, name: str) -> bool:
    """Whether all of the caller's roles may use the model."""
    return all(policy.model_allowed(role, name) for role in caller.roles)
