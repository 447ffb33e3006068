"""What one snapshot serves: its graphs, the services behind them, and what may be asked for by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from graphs.config.graph_plan import GraphPlan
from graphs.config.loader import Snapshot
from graphs.errors import MODEL_LIST_HINT, EndpointClosed, NotAllowed, UnknownModel
from graphs.expressions import Evaluator
from graphs.llm.client import ChatModel
from graphs.llm.model_info import CHAT_MODES, COMPLETION_MODE
from graphs.llm.model_list import ModelList
from graphs.llm.own_address import OwnAddress
from graphs.llm.pass_through import EndpointRoute
from graphs.nodes import Services
from graphs.nodes.result_cache import ResultCache
from graphs.policy.request_fields import FieldRefused, check_fields, list_fallbacks
from graphs.policy.rules import Caller
from graphs.runtime.admission import Admission
from graphs.runtime.compiler import ServedGraph, assemble
from graphs.runtime.in_flight import InFlight
from graphs.store.store import Store
from graphs.telemetry.metrics import Metrics
from graphs.tools.registry import ToolRegistry

Attachment = TypeVar("Attachment", covariant=True)
"""What the facade makes of a snapshot and swaps together with it."""


@dataclass(frozen=True, kw_only=True)
class ModelListEntry:
    """One entry of the model list."""

    id: str
    description: str
    is_graph: bool
    """True for a graph, false for a LiteLLM model that runs through the default graph."""


class Revision(Generic[Attachment]):
    """One snapshot with everything that serves it. A request takes the current one once and stays with it."""

    def __init__(
        self,
        snapshot: Snapshot,
        tool_registry: ToolRegistry,
        model: ChatModel,
        store: Store,
        metrics: Metrics,
        evaluator: Evaluator,
        attachment: Attachment,
        own_address: OwnAddress | None = None,
        most_tasks: int | None = None,
        result_cache: ResultCache | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.tool_registry = tool_registry
        self.model = model
        self.attachment = attachment
        self.in_flight = InFlight()
        """Held by every request and turn that uses this revision."""
        parts = Services(
            snapshot=snapshot,
            tool_registry=tool_registry,
            model=model,
            store=store,
            metrics=metrics,
            evaluator=evaluator,
            most_tasks=most_tasks,
            result_cache=result_cache or ResultCache(),
        )
        self.served_graphs: Mapping[str, ServedGraph] = MappingProxyType(
            {
                name: ServedGraph(
                    plan=plan,
                    graph=assemble(plan, parts, checkpointer=store.checkpoints),
                    services=parts,
                    in_flight=self.in_flight,
                )
                for name, plan in snapshot.graphs.items()
            }
        )
        self.admission = Admission(snapshot.policy, store.usage, metrics)
        self._model_list = ModelList(model, snapshot.gateway.models.offer, own_address or OwnAddress())

    async def list_models_of(self, mode: str | None, caller: Caller) -> list[ModelListEntry]:
        """List the LiteLLM models of one mode that this caller may use; None: the graphs, and models of every mode."""
        policy = self.snapshot.policy
        graphs = [entry for entry in await self.list_models(caller) if entry.is_graph] if mode is None else []
        if not policy.may_use_graph(caller, self.snapshot.gateway.default_graph):
            return graphs
        return graphs + [
            build_model_entry(name)
            for name in await self._model_list.list_names_of(mode)
            if name not in self.served_graphs and policy.may_use_model(caller, name)
        ]

    async def list_models(self, caller: Caller) -> list[ModelListEntry]:
        """List every graph and every LiteLLM model that this caller may chat with, graphs first."""
        policy = self.snapshot.policy
        graphs = [
            ModelListEntry(id=name, description=served.plan.spec.description, is_graph=True)
            for name, served in self.served_graphs.items()
            if policy.may_use_graph(caller, name)
        ]
        if not policy.may_use_graph(caller, self.snapshot.gateway.default_graph):
            return graphs
        models = [
            build_model_entry(name)
            for name in await self._model_list.list_names()
            if name not in self.served_graphs and policy.may_use_model(caller, name)
        ]
        return graphs + models

    async def find_model(self, name: str, caller: Caller) -> ModelListEntry:
        """Find an entry of the list, or a model that LiteLLM serves without listing it.

        Raises UnknownModel, also for what the caller may not use.
        """
        for entry in await self.list_models(caller):
            if entry.id == name:
                return entry
        try:
            await self.resolve(name, caller)
        except NotAllowed:
            raise UnknownModel(f"There is no model {name!r}.{MODEL_LIST_HINT}") from None
        return build_model_entry(name)

    async def resolve(self, name: str, caller: Caller) -> tuple[ServedGraph, str | None]:
        """Resolve a name to its graph, and to the LiteLLM model where the name is one.

        Raises UnknownModel, or NotAllowed where the caller's role may not use it.
        """
        policy = self.snapshot.policy
        if (served := self.served_graphs.get(name)) is not None:
            if not policy.may_use_graph(caller, name):
                raise NotAllowed(f"The role {caller.role} may not use the graph {name!r} (access.yaml).")
            return served, None
        if not await self._model_list.has(name):
            problem = self._model_list.problem
            fault = self._model_list.find_fault(name) if policy.may_use_model(caller, name) else None
            raise UnknownModel(
                (f"The model {name!r} is not offered: {fault}." if fault else f"There is no model {name!r}.")
                + MODEL_LIST_HINT
                + (f" LiteLLM's models are unknown at present: {problem}" if problem else "")
            )
        default = self.snapshot.gateway.default_graph
        if not policy.may_use_model(caller, name) or not policy.may_use_graph(caller, default):
            raise NotAllowed(f"The role {caller.role} may not use the model {name!r} (access.yaml).")
        return self.served_graphs[default], name

    async def check_endpoint_model(self, name: str, route: EndpointRoute, caller: Caller) -> None:
        """Check that the caller may have a request passed on to a model.

        Raises UnknownModel, NotAllowed, or FieldRefused where the name is a graph's or a model's that is asked in
        chats: there the graph's rules hold, and nothing goes round them.
        """
        policy = self.snapshot.policy
        if route.group not in self.snapshot.gateway.models.endpoints:
            raise EndpointClosed(
                f"/v1/{route.path} is not passed on here: `models.endpoints` in gateway.yaml does not name "
                f"{route.group}. Whoever runs Interlock can add it."
            )
        chats = "Ask it with POST /v1/chat/completions."
        if name in self.served_graphs and policy.may_use_graph(caller, name):
            raise FieldRefused(f"model: {name!r} is a graph. {chats}", "model")
        # Of a wildcard's other models nothing follows for one that must be known to be for this.
        is_strict = route.group == "completions"
        modes = (
            None if name in self.served_graphs else await self._model_list.find_modes(name, by_wildcard=not is_strict)
        )
        if modes is None:
            problem = self._model_list.problem
            raise UnknownModel(
                f"There is no model {name!r}. GET /v1/models?mode=all lists what there is."
                + (f" LiteLLM's models are unknown at present: {problem}" if problem else "")
            )
        if not policy.may_use_model(caller, name) or not policy.may_use_graph(
            caller, self.snapshot.gateway.default_graph
        ):
            raise NotAllowed(f"The role {caller.role} may not use the model {name!r} (access.yaml).")
        if is_strict:
            if modes != frozenset([COMPLETION_MODE]):
                known = ", ".join(sorted(mode for mode in modes if mode)) or "unknown"
                raise FieldRefused(
                    f"model: the mode of {name!r} is {known}, not {COMPLETION_MODE} (model_info.mode in LiteLLM's "
                    f"configuration). {chats}",
                    "model",
                )
        elif modes and modes <= CHAT_MODES:
            raise FieldRefused(f"model: {name!r} is a model for chats. {chats}", "model")

    async def check_fields(self, fields: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Return those fields of a request that go to the model endpoint.

        Raises FieldRefused for what a request may not set, and NotAllowed for a fallback that is not the caller's.
        """
        kept = check_fields(fields, self.snapshot.gateway.models.forbid)
        for name in list_fallbacks(kept):
            if name in self.served_graphs:
                raise FieldRefused(f"fallbacks: {name!r} is a graph; name models.", "fallbacks")
            if not await self._model_list.has(name):
                raise FieldRefused(f"fallbacks: there is no model {name!r}.{MODEL_LIST_HINT}", "fallbacks")
            if not self.snapshot.policy.may_use_model(caller, name):
                raise NotAllowed(f"The role {caller.role} may not use the model {name!r} (access.yaml) as a fallback.")
        return kept

    def find_plan(self, name: str, caller: Caller) -> GraphPlan:
        """Find the plan of a graph. Raises UnknownModel, also for one that the caller may not use."""
        if name not in self.served_graphs or not self.snapshot.policy.may_use_graph(caller, name):
            raise UnknownModel(f"There is no graph {name!r} that the role {caller.role} may use.")
        return self.served_graphs[name].plan

    def may_use(self, graph: str, model: str | None, caller: Caller) -> bool:
        """Whether the caller may use a graph, and a LiteLLM model where one was asked for by name."""
        policy = self.snapshot.policy
        return policy.may_use_graph(caller, graph) and (model is None or policy.may_use_model(caller, model))

    def is_taken(self, model_name: str, caller: Caller) -> bool:
        """Whether a client's tool may not have this name, since a tool that the caller may call here has it, or may.

        Of any other tool this tells nothing: a client's tool of its name stands, and is the client's.
        """
        policy = self.snapshot.policy
        return self.tool_registry.is_taken(
            model_name, partial(policy.may_see_tool, caller), partial(policy.may_reach_server, caller)
        )

    def find_people_name(self, model_name: str, caller: Caller) -> str:
        """Return `server/tool` for a model's name of a tool that the caller may call; any other name as it is."""
        return self.tool_registry.get_people_name(model_name) if self.is_taken(model_name, caller) else model_name

    async def check_readiness(self) -> dict[str, Any]:
        """Return the state of graphs and servers (docs/ARCHITECTURE.md, "Readiness")."""
        await self._model_list.list_names()
        servers = self.tool_registry.get_status()
        down = [name for name, status in servers.items() if status.status != "up"]
        missing = [name for name in down if self.snapshot.servers[name].required]
        graphs: dict[str, dict[str, Any]] = {}
        for name in self.served_graphs:
            if missing:
                reason = f"required MCP servers are not up: {', '.join(missing)}"
                graphs[name] = {"status": "failed", "reason": reason}
            elif self._model_list.problem:
                graphs[name] = {"status": "degraded", "reason": self._model_list.problem}
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
                    "reason": entry.reason or "; ".join((*entry.left_out, *entry.remarks)) or None,
                    "tools": list(entry.tools),
                }
                for name, entry in servers.items()
            },
        }


def build_model_entry(name: str) -> ModelListEntry:
    """Build the entry of a model of LiteLLM."""
    return ModelListEntry(id=name, description=f"{name} with your tools", is_graph=False)
