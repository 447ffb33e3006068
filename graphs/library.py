"""The graphs being served: one checked snapshot with its services, and what may be asked for by name."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphs import decisions
from graphs.assemble import Served, assemble
from graphs.chatmodel import ChatModel
from graphs.doctor import examine
from graphs.errors import ModelError, NotAllowed, UnknownModel
from graphs.loader import Snapshot, load
from graphs.nodes import Parts
from graphs.patterns import matches_any
from graphs.policy import Caller, Policy
from graphs.run import Runner
from graphs.spec.schemas import schemas
from graphs.store import AlreadyDecided, Approval, ApprovalStatus, Decision, Expired, NotFound, Store
from graphs.toolbox import Toolbox

__all__ = [
    "AlreadyDecided",
    "Approval",
    "ApprovalStatus",
    "Caller",
    "Decision",
    "Expired",
    "Library",
    "Listed",
    "NotFound",
    "Snapshot",
    "examine",
    "load",
    "opened",
    "schemas",
    "settled_environment",
]

log = logging.getLogger(__name__)

MODELS_FRESH = 30.0
"""Seconds for which LiteLLM's list of models is taken as it is."""
MODELS_RETRY = 2.0
"""Seconds between two questions for the list after a failure, or for a name it did not hold."""
SERVERS_PATIENCE = 5.0
"""Seconds that the start waits for MCP servers; the slower ones join when they are up."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One entry of the model list."""

    id: str
    description: str
    graph: bool
    """True for a graph, false for a LiteLLM model that runs through the default graph."""


class Library:
    """What is served. Open it with `opened()`."""

    def __init__(self, snapshot: Snapshot, toolbox: Toolbox, model: ChatModel, store: Store) -> None:
        self.snapshot = snapshot
        self.toolbox = toolbox
        self.model = model
        self.store = store
        parts = Parts(snapshot=snapshot, toolbox=toolbox, model=model, store=store)
        self._served = {
            name: Served(plan=plan, graph=assemble(plan, parts, checkpointer=store.saver), parts=parts)
            for name, plan in snapshot.graphs.items()
        }
        self.runner = Runner(store, self._served.get, self._may_use)
        self._models: list[str] = []
        self._asked_at = float("-inf")
        self._models_problem: str | None = None
        self._asking = asyncio.Lock()

    async def listing(self, caller: Caller) -> list[Listed]:
        """Every graph and every LiteLLM model that this caller may use, graphs first."""
        policy = self.snapshot.policy
        graphs = [
            Listed(id=name, description=served.plan.spec.description, graph=True)
            for name, served in self._served.items()
            if may_use_graph(policy, caller, name)
        ]
        if not may_use_graph(policy, caller, self.snapshot.gateway.default_graph):
            return graphs
        models = [
            Listed(id=name, description=f"{name} with your tools", graph=False)
            for name in await self._litellm_models(MODELS_FRESH)
            if name not in self._served and may_use_model(policy, caller, name)
        ]
        return graphs + models

    async def resolve(self, name: str, caller: Caller) -> tuple[Served, str | None]:
        """The graph behind a name, and the LiteLLM model where the name is one.

        Raises UnknownModel, or NotAllowed where the caller's role may not use it.
        """
        policy = self.snapshot.policy
        if (served := self._served.get(name)) is not None:
            if not may_use_graph(policy, caller, name):
                raise NotAllowed(f"The role {caller.role} may not use the graph {name!r} (access.yaml).")
            return served, None
        known = name in await self._litellm_models(MODELS_FRESH) or name in await self._litellm_models(MODELS_RETRY)
        if not known:
            raise UnknownModel(
                f"There is no model {name!r}. GET /v1/models lists what there is."
                + (f" LiteLLM's models are unknown at present: {self._models_problem}" if self._models_problem else "")
            )
        default = self.snapshot.gateway.default_graph
        if not may_use_model(policy, caller, name) or not may_use_graph(policy, caller, default):
            raise NotAllowed(f"The role {caller.role} may not use the model {name!r} (access.yaml).")
        return self._served[default], name

    async def approvals(self, caller: Caller, owner: str, status: ApprovalStatus | None) -> tuple[Approval, ...]:
        """What this caller asked for, and what waits for its role; newest first."""
        role = caller.role if caller.is_a(caller.role) else None
        return await self.store.approvals.list(status, owner=owner, approver=role)

    async def approval(self, approval_id: str, caller: Caller, owner: str) -> Approval:
        """One of them. Raises NotFound, or NotAllowed where it is somebody else's."""
        return await decisions.known(self.store, approval_id, caller, owner)

    async def decide(self, approval_id: str, decision: Decision, caller: Caller, owner: str, note: str) -> Approval:
        """Decides one. Raises NotFound, NotAllowed, AlreadyDecided or Expired."""
        return await decisions.by_api(self.store, approval_id, decision, caller, owner, note)

    def _may_use(self, graph: str, model: str | None, caller: Caller) -> bool:
        policy = self.snapshot.policy
        return may_use_graph(policy, caller, graph) and (model is None or may_use_model(policy, caller, model))

    async def readiness(self) -> dict[str, Any]:
        """The state of everything, as `GET /ready` shows it (DESIGN, READY)."""
        await self._litellm_models(MODELS_FRESH)
        servers = self.toolbox.status()
        down = [name for name, status in servers.items() if status.status != "up"]
        missing = [name for name in down if self.snapshot.servers[name].required]
        graphs: dict[str, dict[str, Any]] = {}
        for name in self._served:
            if missing:
                reason = f"required MCP servers are not up: {', '.join(missing)}"
                graphs[name] = {"status": "failed", "reason": reason}
            elif self._models_problem:
                graphs[name] = {"status": "degraded", "reason": self._models_problem}
            else:
                graphs[name] = {"status": "ok", "reason": None}
        states = {graph["status"] for graph in graphs.values()}
        status = "failed" if states == {"failed"} else "degraded" if down or states != {"ok"} else "ok"
        return {
            "status": status,
            "snapshot": self.snapshot.id,
            "graphs": graphs,
            "servers": {
                name: {"status": entry.status, "reason": entry.reason, "tools": list(entry.tools)}
                for name, entry in servers.items()
            },
            "problems": [],
        }

    async def prune_forever(self) -> None:
        """Deletes what is older than the retention, once an hour."""
        while True:
            kept = self.snapshot.gateway.retention
            await self.store.prune(conversations=kept.conversations, audit=kept.audit)
            await asyncio.sleep(3600)

    async def _litellm_models(self, fresh: float) -> list[str]:
        """LiteLLM's models that `offer` matches; the last known ones while LiteLLM does not answer."""
        fresh = MODELS_RETRY if self._models_problem else fresh
        if time.monotonic() - self._asked_at < fresh:
            return self._models
        async with self._asking:
            if time.monotonic() - self._asked_at < fresh:
                return self._models
            try:
                names = await self.model.models()
                self._models = [name for name in names if matches_any(self.snapshot.gateway.models.offer, name)]
                self._models_problem = None
            except ModelError as error:
                log.warning("%s", error)
                self._models_problem = str(error)
            self._asked_at = time.monotonic()
        return self._models


def may_use_graph(policy: Policy, caller: Caller, name: str) -> bool:
    """Whether all of the caller's roles may use the graph."""
    return all(policy.graph_allowed(role, name) for role in caller.roles)


def may_use_model(policy: Policy, caller: Caller, name: str) -> bool:
    """Whether all of the caller's roles may use the model."""
    return all(policy.model_allowed(role, name) for role in caller.roles)


@asynccontextmanager
async def opened(
    snapshot: Snapshot, *, storage: str, data: Path, model_url: str | None = None
) -> AsyncGenerator[Library]:
    """A library with its MCP servers, store and model endpoint; all are closed at the end.

    `model_url` is the endpoint to use where the gateway file names none (the demo model). Raises InterlockError when
    the store cannot be opened.
    """
    models = snapshot.gateway.models
    async with AsyncExitStack() as stack:
        store = await Store.open(storage or snapshot.gateway.storage, data)
        stack.push_async_callback(store.close)
        model = ChatModel(models.base_url or model_url or "", models.api_key, silence=models.timeout)
        stack.push_async_callback(model.close)
        toolbox = Toolbox(snapshot.servers)
        stack.push_async_callback(toolbox.close)
        await toolbox.start()
        await toolbox.ready(SERVERS_PATIENCE)
        library = Library(snapshot, toolbox, model, store)
        stack.push_async_callback(library.runner.close)
        pruning = asyncio.create_task(library.prune_forever())
        stack.callback(pruning.cancel)
        yield library


def settled_environment(env: Mapping[str, str], data: Path) -> dict[str, str]:
    """The environment that config files read, with the data folder as an absolute path: servers run elsewhere."""
    return {**env, "INTERLOCK_DATA": str(data.resolve())}
