"""What spans are called and what they bear, by OpenTelemetry's conventions for generative AI and for MCP (1.41).

Contents (messages, arguments, results) are opt-in there, and are not offered here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind

from graphs.events import Usage
from graphs.telemetry.tracing import SILENT, Span, Tracing, Value, current_tracing

PROVIDER = "litellm"

REQUEST_NUMBERS = ("temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty", "seed")
"""Fields of a request whose names are the conventions' as well."""


def agent(tracing: Tracing, graph: str, turn: str, conversation: str | None) -> Span:
    """One turn."""
    if not tracing.on:
        return SILENT
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.agent.name": graph,
        "interlock.turn.id": turn,
    }
    if conversation is not None:
        attributes["gen_ai.conversation.id"] = conversation
    return tracing.span(f"invoke_agent {graph}", attributes)


def node(graph: str, name: str, kind: str) -> Span:
    """One run of a node. There is no convention for it."""
    tracing = current_tracing()
    if tracing is None:
        return SILENT
    attributes = {"interlock.graph": graph, "interlock.node": name, "interlock.node.type": kind}
    return tracing.span(f"node {name}", attributes)


def chat(request: Mapping[str, Any], endpoint: str, conversation: str | None) -> Span:
    """One request to the model endpoint."""
    tracing = current_tracing()
    if tracing is None:
        return SILENT
    model = str(request["model"])
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": model,
        "gen_ai.request.stream": True,
        **address(endpoint),
    }
    if conversation is not None:
        attributes["gen_ai.conversation.id"] = conversation
    for name in REQUEST_NUMBERS:
        if isinstance(value := request.get(name), int | float):
            attributes[f"gen_ai.request.{name}"] = value
    return tracing.span(f"chat {model}", attributes, SpanKind.CLIENT)


def tool(name: str, call_id: str, verdict: str) -> Span:
    """One tool call; `name` is `server/tool`, or None's word for one that no server has."""
    tracing = current_tracing()
    if tracing is None:
        return SILENT
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "extension",
        "gen_ai.tool.call.id": call_id,
        "interlock.verdict": verdict,
    }
    return tracing.span(f"execute_tool {name}", attributes)


def mcp(server: str, tool: str, url: str | None) -> Span:
    """One `tools/call` on the wire. A call that is repeated has two."""
    tracing = current_tracing()
    if tracing is None:
        return SILENT
    attributes: dict[str, Value] = {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool,
        "interlock.server": server,
        "network.transport": "tcp" if url else "pipe",
        **(address(url) if url else {}),
    }
    return tracing.span(f"tools/call {tool}", attributes, SpanKind.CLIENT)


def used(usage: Usage) -> dict[str, Value]:
    """What a model call, or a turn of several, used."""
    return {"gen_ai.usage.input_tokens": usage.prompt, "gen_ai.usage.output_tokens": usage.completion}


def address(url: str) -> dict[str, Value]:
    """Host and port of an address; nothing else of it, which may hold secrets."""
    parts = urlsplit(url)
    if parts.hostname is None:
        return {}
    return {"server.address": parts.hostname, "server.port": parts.port or (443 if parts.scheme == "https" else 80)}
