"""The trace context on its way to an MCP server: in the message, and over HTTP in the request's header too."""

from __future__ import annotations

import httpx
import orjson
from mcp import McpError

from graphs.config.spec.servers import ServerSpec
from graphs.telemetry import spans
from graphs.tools.session import RawResult, Session


async def call_with_trace(
    session: Session, server: str, spec: ServerSpec, tool: str, arguments: dict[str, object]
) -> RawResult:
    """Calls a tool, as a span of its own. Raises what `Session.call` raises."""
    with spans.start_mcp_span(server, tool, spec.url) as span:
        try:
            raw = await session.call(tool, arguments)
        except McpError as error:
            span.record_failure(str(error.error.code))
            span.set_attributes({"rpc.response.status_code": str(error.error.code)})
            raise
        if raw.isError:
            span.record_failure("tool_error")
        return raw


async def repeat_in_header(request: httpx.Request) -> None:
    """An httpx hook: what the message says of its trace, for proxies that read headers alone.

    The message is sent by the connection's own task, which knows nothing of the turn's trace.
    """
    if b'"traceparent"' not in request.content:
        return
    try:
        meta = orjson.loads(request.content)["params"]["_meta"]
        request.headers.update({name: meta[name] for name in ("traceparent", "tracestate") if name in meta})
    except (ValueError, KeyError, TypeError):  # it was a word among the arguments
        return
