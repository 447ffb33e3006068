"""The set node: computes variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.runtime import Runtime

from graphs.expressions import TypeMismatch
from graphs.nodes.base import NodeSite, Services
from graphs.nodes.state import Context, State
from graphs.nodes.values import NodeValues


class SetNode:
    """Computes variables, all of them from the values before it."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._services = services
        self._values = NodeValues(site, services)
        self._outputs = site.spec.locate_outputs()

    async def run(self, state: State, runtime: Runtime[Context]) -> Mapping[str, Any]:
        """Compute them. Raises NodeFailure."""
        context = self._services.find_context(runtime)
        found: dict[str, Any] = {}
        for path, name in self._outputs.items():
            field = [str(step) for step in path]
            value = await self._values.evaluate(*field, state=state, context=context)
            try:
                found[name] = self._values.fit(name, value)
            except TypeMismatch as error:
                raise self._values.build_unfit(".".join(field), name, error) from error
        return found
