"""The tools that a caller has at a node: everybody's, and those of the caller's own connections."""

from __future__ import annotations

from graphs.config.spec.graph import GraphSpec
from graphs.nodes.base import Services
from graphs.nodes.state import Context
from graphs.policy.caller import Caller
from graphs.policy.patterns import could_begin
from graphs.tools.toolset import Toolset


class GraphToolAccess:
    """What the callers of one graph may come to; worked out once for each set of roles."""

    def __init__(self, spec: GraphSpec, services: Services) -> None:
        self._parts = services
        patterns = [pattern for node in spec.nodes.values() for pattern in node.locate_tool_patterns().values()]
        self._own_servers = [
            name for name in services.tool_registry.fillings if any(could_begin(each, f"{name}/") for each in patterns)
        ]
        self._by_roles: dict[tuple[str, ...], list[str]] = {}

    async def open_tools(self, context: Context) -> Toolset:
        """The caller's tools. Their own connections are open then, or it is known why not."""
        if not self._own_servers:
            return self._parts.tool_registry
        tools = self._parts.find_tools(context)
        await tools.open(self._find_servers(context.caller))
        return tools

    def _find_servers(self, caller: Caller) -> list[str]:
        """A connection that no rule would let the caller use is not worth a process."""
        found = self._by_roles.get(caller.roles)
        if found is None:
            policy = self._parts.snapshot.policy
            found = [name for name in self._own_servers if policy.may_reach_server(caller, name)]
            self._by_roles[caller.roles] = found
        return found
