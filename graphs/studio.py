"""What `langgraph.json` names: one factory per graph file, run as the caller `studio`.

langgraph looks its graphs up in a module's `__dict__`, so a module `__getattr__` would not be seen: the factories are
put there when this module is loaded, by the names of the graph files. Nothing else happens then.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from graphs.config.environment import build_environment
from graphs.config.loader import Snapshot, list_graph_files, load
from graphs.errors import GraphUnavailable
from graphs.nodes import Services
from graphs.nodes.state import Context
from graphs.policy.rules import Caller
from graphs.runtime.compiler import Graph, assemble
from graphs.runtime.engine import Engine, open_engine

Factory = Callable[[], Awaitable[Graph]]

NAME = "studio"


def find_configs_folder() -> Path:
    """Return the config folder of this process."""
    return Path(os.environ.get("INTERLOCK_CONFIGS", "configs"))


def find_data_folder() -> Path:
    """Return the data folder of this process."""
    return Path(os.environ.get("INTERLOCK_DATA", "data"))


def list_graph_names(folder: Path) -> list[str]:
    """List the ids of the graphs of a config folder, the shipped ones that stand beside its own too."""
    return [file.stem for file in list_graph_files(folder)]


def build_variable_name(name: str) -> str:
    """Build the Python name of a graph's factory: langgraph wants an identifier."""
    return "graph_" + re.sub(r"\W", lambda match: f"_{ord(match[0]):x}_", name, flags=re.ASCII)


def find_studio_role(snapshot: Snapshot, env: Mapping[str, str]) -> str:
    """Find the role of Studio's caller: INTERLOCK_STUDIO_ROLE, or the demo's admin.

    Raises GraphUnavailable where keys are configured and no role is chosen, or where there is no such role.
    """
    roles = sorted(snapshot.policy.roles)
    chosen = env.get("INTERLOCK_STUDIO_ROLE", "")
    configured = any(key.sha256 or (key.env and env.get(key.env)) for key in snapshot.keys)
    if not chosen and configured:
        raise GraphUnavailable(
            f"Keys are configured, so Studio must be told which role it runs as: set INTERLOCK_STUDIO_ROLE to one of "
            f"{', '.join(roles)}."
        )
    chosen = chosen or "admin"
    if chosen not in roles:
        raise GraphUnavailable(f"INTERLOCK_STUDIO_ROLE is {chosen!r}; the roles of access.yaml are {', '.join(roles)}.")
    return chosen


class StudioServices:
    """The services behind Studio's graphs, opened when the first graph is asked for."""

    def __init__(self) -> None:
        self._demo_model_url = ""
        self._lock = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._graphs: dict[str, Graph] = {}

    def use_demo_model(self, url: str) -> None:
        """Ask the model at `url` where the gateway file names none. Call it before the first graph is loaded."""
        self._demo_model_url = url

    async def load_graph(self, name: str) -> Graph:
        """Load one graph, compiled without a saver: langgraph brings its own. Raises InterlockError."""
        async with self._lock:
            if not self._graphs:
                self._graphs = await self._open()
        return self._graphs[name]

    async def close(self) -> None:
        """Close MCP servers and the store."""
        self._graphs = {}
        await self._stack.aclose()

    async def _open(self) -> dict[str, Graph]:
        env = build_environment(os.environ, find_data_folder())
        snapshot = await asyncio.to_thread(load, find_configs_folder(), env)
        caller = Caller(user=NAME, role=find_studio_role(snapshot, env), key=NAME)
        storage = env.get("INTERLOCK_STORAGE", "")
        engine = await self._stack.enter_async_context(
            # `langgraph dev` stops whatever blocks its event loop, however short.
            open_engine(
                snapshot,
                storage=storage,
                data=find_data_folder(),
                attach=lambda _: None,
                demo=self._find_model_url,
                may_block=False,
                # Who debugs rouses nobody. Where the store is shared, those who serve send what waits in it.
                notifies=False,
            )
        )
        services = build_services(engine, caller)
        return {name: assemble(plan, services, checkpointer=None) for name, plan in snapshot.graphs.items()}

    async def _find_model_url(self) -> str:
        return self._demo_model_url


def build_services(engine: Engine[object], caller: Caller) -> Services:
    """Build the engine's services with Studio's caller."""

    def build_default_context(thread: str | None) -> Context:
        where = thread or NAME
        return Context(
            caller=caller,
            owner=f"studio:{where}",
            verified_user=NAME,
            turn=where,
            thread=where,
            chat=where,
            interactive=True,
        )

    return Services(
        snapshot=engine.current_revision.snapshot,
        tool_registry=engine.current_revision.tool_registry,
        model=engine.current_revision.model,
        store=engine.store,
        metrics=engine.metrics,
        evaluator=engine.evaluator,
        default_context=build_default_context,
    )


studio_services = StudioServices()
"""The one of this process: langgraph calls the factories without arguments."""


def build_factory(name: str) -> Factory:
    """Build the factory of one graph, as `langgraph.json` names it."""

    async def make() -> Graph:
        return await studio_services.load_graph(name)

    make.__name__ = build_variable_name(name)
    make.__doc__ = f"The graph {name!r}."
    return make


globals().update({build_variable_name(name): build_factory(name) for name in list_graph_names(find_configs_folder())})
