"""The tools that a caller has at a node: everybody's, and those of the caller's own connections."""

from __future__ import annotations

from graphs.config.spec.graph import GraphSpec, ModelNodeSpec
from graphs.nodes.base import Parts
from graphs.nodes.state import Context
from graphs.policy.patterns import could_begin
from graphs.tools.toolset import Tools


class Reach:
    """What the callers of one graph may come to; worked out once for each set of roles."""

    def __init__(self, spec: GraphSpec, parts: Parts) -> None:
        self._parts = parts
        patterns = [each for node in spec.nodes.values() if isinstance(node, ModelNodeSpec) for each in node.tools]
        self._own = [name for name in parts.toolbox.fillings if any(could_begin(each, f"{name}/") for each in patterns)]
        self._by_roles: dict[tuple[str, ...], list[str]] = {}

    async def tools(self, context: Context) -> Tools:
        """The caller's tools. Their own connections are open then, or it is known why not."""
        if not self._own:
            return self._parts.toolbox
        tools = self._parts.tools(context)
        await tools.open(self._servers(context.caller.roles))
        return tools

    def _servers(self, roles: tuple[str, ...]) -> list[str]:
        """A connection that no rule would let the caller use is not worth a process."""
        found = self._by_roles.get(roles)
        if found is None:
            may_reach = self._parts.snapshot.policy.may_reach
            found = [name for name in self._own if all(may_reach(role, name) for role in roles)]
            self._by_roles[roles] = found
        return found
