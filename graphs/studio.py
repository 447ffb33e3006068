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

from graphs.config.loader import DEFAULTS, Snapshot, load
from graphs.errors import GraphUnavailable
from graphs.nodes import Parts
from graphs.nodes.state import Context
from graphs.policy.rules import Caller
from graphs.runtime.compiler import Graph, assemble
from graphs.runtime.engine import Library, opened, settled_environment

Factory = Callable[[], Awaitable[Graph]]

NAME = "studio"


def configs_folder() -> Path:
    """The config folder of this process."""
    return Path(os.environ.get("INTERLOCK_CONFIGS", "configs"))


def data_folder() -> Path:
    """The data folder of this process."""
    return Path(os.environ.get("INTERLOCK_DATA", "data"))


def graph_names(folder: Path) -> list[str]:
    """The ids of the graphs in a config folder; the shipped ones where it has none."""
    names = sorted(file.stem for file in (folder / "graphs").glob("*.yaml"))
    return names or sorted(file.stem for file in (DEFAULTS / "graphs").glob("*.yaml"))


def variable(name: str) -> str:
    """The Python name of a graph's factory: langgraph wants an identifier."""
    return "graph_" + re.sub(r"\W", lambda match: f"_{ord(match[0]):x}_", name, flags=re.ASCII)


def studio_role(snapshot: Snapshot, env: Mapping[str, str]) -> str:
    """The role of Studio's caller: INTERLOCK_STUDIO_ROLE, or the demo's admin.

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


class Workshop:
    """The services behind Studio's graphs, opened when the first graph is asked for."""

    def __init__(self) -> None:
        self.model_url = ""
        """The endpoint to use where the gateway file names none; whoever runs the demo model sets it."""
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._graphs: dict[str, Graph] = {}

    async def graph(self, name: str) -> Graph:
        """One graph, compiled without a saver: langgraph brings its own. Raises InterlockError."""
        async with self._opening:
            if not self._graphs:
                self._graphs = await self._open()
        return self._graphs[name]

    async def close(self) -> None:
        """Closes MCP servers and the store."""
        self._graphs = {}
        await self._stack.aclose()

    async def _open(self) -> dict[str, Graph]:
        env = settled_environment(os.environ, data_folder())
        snapshot = await asyncio.to_thread(load, configs_folder(), env)
        caller = Caller(user=NAME, role=studio_role(snapshot, env), key=NAME)
        storage = env.get("INTERLOCK_STORAGE", "")
        library = await self._stack.enter_async_context(
            # `langgraph dev` stops whatever blocks its event loop, however short.
            opened(snapshot, storage=storage, data=data_folder(), demo=self._demo, may_block=False)
        )
        parts = parts_for(library, caller)
        return {name: assemble(plan, parts, checkpointer=None) for name, plan in snapshot.graphs.items()}

    async def _demo(self) -> str:
        return self.model_url


def parts_for(library: Library, caller: Caller) -> Parts:
    """The library's services, with the standing caller."""

    def standing(thread: str | None) -> Context:
        where = thread or NAME
        return Context(caller=caller, owner=f"studio:{where}", person=NAME, turn=where, thread=where, interactive=True)

    return Parts(
        snapshot=library.current.snapshot,
        toolbox=library.current.toolbox,
        model=library.current.model,
        store=library.store,
        metrics=library.metrics,
        evaluator=library.evaluator,
        standing=standing,
    )


workshop = Workshop()
"""The one of this process: langgraph calls the factories without arguments."""


def factory(name: str) -> Factory:
    """The factory of one graph, as `langgraph.json` names it."""

    async def make() -> Graph:
        return await workshop.graph(name)

    make.__name__ = variable(name)
    make.__doc__ = f"The graph {name!r}."
    return make


globals().update({variable(name): factory(name) for name in graph_names(configs_folder())})
