"""The reply node: says a text to the person, as an assistant message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.runtime import Runtime

from graphs.events import TextDelta
from graphs.nodes.base import NodeSite, Services, find_emitter
from graphs.nodes.state import Context, State
from graphs.nodes.values import NodeValues


class ReplyNode:
    """Says a text to the person."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._services = services
        self._values = NodeValues(site, services)

    async def run(self, state: State, runtime: Runtime[Context]) -> Mapping[str, Any]:
        """Say the text. One that comes out empty says nothing. Raises NodeFailure."""
        context = self._services.find_context(runtime)
        text = await self._values.render("text", state, context)
        if not text or not text.strip():
            return {"messages": []}
        find_emitter(context, runtime.stream_writer)(TextDelta(text, new_paragraph=True))
        return {"messages": [AIMessage(content=text)]}
