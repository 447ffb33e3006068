"""Names and attributes of spans, by OpenTelemetry's conventions for generative AI and for MCP (1.41).

Contents (messages, arguments, results) are opt-in there, and are not offered here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind

from graphs.events import TokenUsage
from graphs.telemetry.tracing import NULL_SPAN, AttributeValue, Span, Tracing, find_current_tracing

PROVIDER = "litellm"

REQUEST_NUMBERS = ("temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty", "seed")
"""Fields of a request whose names are the conventions' as well."""


def start_turn_span(tracing: Tracing, graph: str, turn: str, conversation: str | None) -> Span:
    """Start the span of one turn."""
    if not tracing.is_enabled:
        return NULL_SPAN
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.agent.name": graph,
        "interlock.turn.id": turn,
    }
    if conversation is not None:
        attributes["gen_ai.conversation.id"] = conversation
    return tracing.start_span(f"invoke_agent {graph}", attributes)


def start_node_span(graph: str, name: str, kind: str) -> Span:
    """Start the span of one run of a node. There is no convention for it."""
    tracing = find_current_tracing()
    if tracing is None:
        return NULL_SPAN
    attributes = {"interlock.graph": graph, "interlock.node": name, "interlock.node.type": kind}
    return tracing.start_span(f"node {name}", attributes)


def start_model_span(request: Mapping[str, Any], endpoint: str, conversation: str | None) -> Span:
    """Start the span of one request to the model endpoint: for an answer, or where it has `input` for embeddings."""
    tracing = find_current_tracing()
    if tracing is None:
        return NULL_SPAN
    model = str(request["model"])
    operation = "embeddings" if "input" in request else "chat"
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": model,
        "gen_ai.request.stream": operation == "chat",
        **build_address_attributes(endpoint),
    }
    if conversation is not None:
        attributes["gen_ai.conversation.id"] = conversation
    for name in REQUEST_NUMBERS:
        if isinstance(value := request.get(name), int | float):
            attributes[f"gen_ai.request.{name}"] = value
    return tracing.start_span(f"{operation} {model}", attributes, SpanKind.CLIENT)


def start_tool_span(name: str, call_id: str, verdict: str) -> Span:
    """Start the span of one tool call; `name` is `server/tool`, or UNKNOWN for one that no server has."""
    tracing = find_current_tracing()
    if tracing is None:
        return NULL_SPAN
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "extension",
        "gen_ai.tool.call.id": call_id,
        "interlock.verdict": verdict,
    }
    return tracing.start_span(f"execute_tool {name}", attributes)


def start_mcp_span(server: str, tool: str, url: str | None) -> Span:
    """Start the span of one `tools/call` on the wire. A call that is repeated has two."""
    tracing = find_current_tracing()
    if tracing is None:
        return NULL_SPAN
    attributes: dict[str, AttributeValue] = {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool,
        "interlock.server": server,
        "network.transport": "tcp" if url else "pipe",
        **(build_address_attributes(url) if url else {}),
    }
    return tracing.start_span(f"tools/call {tool}", attributes, SpanKind.CLIENT)


def build_usage_attributes(usage: TokenUsage) -> dict[str, AttributeValue]:
    """Build the attributes of what a model call, or a turn of several, used."""
    return {"gen_ai.usage.input_tokens": usage.prompt, "gen_ai.usage.output_tokens": usage.completion}


def build_address_attributes(url: str) -> dict[str, AttributeValue]:
    """Build the attributes of an address: host and port, and nothing else of it, which may hold secrets."""
    parts = urlsplit(url)
    if parts.hostname is None:
        return {}
    return {"server.address": parts.hostname, "server.port": parts.port or (443 if parts.scheme == "https" else 80)}
