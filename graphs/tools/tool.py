"""An MCP tool as a LangChain tool that finds its server's connection when it is called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException
from langchain_mcp_adapters.interceptors import MCPToolCallRequest
from langchain_mcp_adapters.sessions import StreamableHttpConnection
from langchain_mcp_adapters.tools import convert_mcp_tool_to_langchain_tool
from mcp.types import CallToolResult, Tool
from pydantic import Field

from graphs.redaction import ValueShape, read_shape
from graphs.tools.arguments import Arguments
from graphs.tools.call import ServerCall
from graphs.tools.connection import ServerConnection
from graphs.tools.names import make_model_name, make_people_name
from graphs.tools.portable import make_portable
from graphs.tools.schema_check import SchemaCheck

Content = str | list[dict[str, Any]]
ContentConverter = Callable[..., Awaitable[tuple[list[dict[str, Any]], Any]]]

_UNUSED_CONNECTION = StreamableHttpConnection(transport="streamable_http", url="http://pool.invalid")
"""The adapters insist on a connection; the interceptor answers before it would be used."""


@dataclass(frozen=True, kw_only=True)
class ServedTool:
    """One tool of one server, as it is now."""

    server: str
    name: str
    """As its server calls it."""
    model_name: str
    people_name: str
    description: str
    input_schema: dict[str, Any] = field(hash=False)
    secrets: ValueShape | None = field(hash=False)
    """Where its schema says that arguments hold secrets."""
    shown_schema: dict[str, Any] = field(compare=False, repr=False)
    """The schema in the words that every model API takes."""
    schema_check: SchemaCheck | None = field(compare=False, repr=False)
    """Holds arguments against the schema, where what models are shown is wider."""
    arguments: Arguments = field(compare=False, repr=False)
    """What its schema declares, to hold a call's arguments against."""
    read_only: bool
    idempotent: bool
    destructive: bool
    definition: str
    """`definition_digest` of the tool as its server listed it."""
    tool: BaseTool = field(compare=False, repr=False)
    """Answers a tool call with a ToolMessage; failures have the status "error". Raises nothing but cancellation."""


class PooledTool(BaseTool):
    """Hands the model's arguments to the adapters' tool exactly as they are."""

    convert: ContentConverter = Field(exclude=True, repr=False)
    """The adapters' own coroutine: calls, and turns MCP content into LangChain blocks."""
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = True

    def _to_args_and_kwargs(self, tool_input: str | dict[str, Any], tool_call_id: str | None) -> tuple[Any, Any]:
        # As keywords, arguments named `config`, `run_manager`, `runtime` or `self` would be lost or would clash.
        return (self._parse_input(tool_input, tool_call_id),), {}

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{self.name} can only be awaited: use ainvoke")

    async def ainvoke(
        self, input: str | dict[str, Any] | ToolCall, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """Answer a tool call with a ToolMessage. Where no callback listens, the way past them costs a tenth."""
        if not isinstance(input, dict) or input.get("type") != "tool_call" or is_watched(config):
            return await super().ainvoke(input, config, **kwargs)
        try:
            content, artifact = await self._arun(cast("dict[str, Any]", input["args"]))
        except ToolException as error:
            content, artifact, status = error.args[0] if error.args else str(error), None, "error"
        else:
            status = "success"
        if isinstance(content, ToolMessage):
            return content
        return ToolMessage(
            cast(Any, content), artifact=artifact, tool_call_id=str(input["id"]), name=self.name, status=status
        )

    async def _arun(self, arguments: dict[str, Any]) -> tuple[Content, Any]:
        blocks, artifact = await self.convert(arguments=arguments)
        if all(block["type"] == "text" for block in blocks):
            return "\n".join(block["text"] for block in blocks), artifact
        return blocks, artifact


def is_watched(config: RunnableConfig | None) -> bool:
    """Whether any of LangChain's callbacks listens to what runs with this."""
    callbacks = (config or {}).get("callbacks")
    return bool(callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks)


def build_served_tool(connection: ServerConnection, tool: Tool) -> ServedTool:
    """Build what a listed tool is to a model, to a policy and to the tools node."""
    hints = tool.annotations
    read_only = hints is not None and hints.readOnlyHint is True
    idempotent = read_only or (hints is not None and hints.idempotentHint is True)
    # What says nothing about itself must be thought capable of harm, as the protocol has it.
    destructive = not read_only and (hints is None or hints.destructiveHint is not False)
    shown = make_people_name(connection.name, tool.name)

    async def call_server(request: MCPToolCallRequest, handler: object) -> CallToolResult:
        return await ServerCall(connection, tool.name, request.args["arguments"], is_repeatable=idempotent).run()

    adapted = convert_mcp_tool_to_langchain_tool(
        None, tool, connection=_UNUSED_CONNECTION, tool_interceptors=[call_server], server_name=connection.name
    )
    schema = _normalize_schema(tool.inputSchema)
    portable = make_portable(schema)
    description = tool.description or tool.title or shown
    pooled = PooledTool(
        name=make_model_name(connection.name, tool.name),
        description=description,
        args_schema=schema,
        convert=adapted.coroutine,  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    )
    return ServedTool(
        server=connection.name,
        name=tool.name,
        model_name=pooled.name,
        people_name=shown,
        description=description,
        input_schema=schema,
        shown_schema=portable.schema,
        schema_check=None if portable.is_whole or not portable.is_checkable else SchemaCheck(schema),
        secrets=read_shape(schema),
        arguments=Arguments(schema),
        read_only=read_only,
        idempotent=idempotent,
        destructive=destructive,
        definition=compute_definition_digest(tool),
        tool=pooled,
    )


def compute_definition_digest(tool: Tool) -> str:
    """Compute the fingerprint of all that a tool says of itself to people, models and rules: sha256 in hex.

    An approval is bound to it: a server must not get a call approved under one description and serve another.
    """
    said = tool.model_dump(
        mode="json", include={"name", "title", "description", "inputSchema", "annotations"}, exclude_none=True
    )
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _normalize_schema(listed: dict[str, Any]) -> dict[str, Any]:
    """Make a tool's schema an object with properties: model APIs refuse a whole request for one that is not."""
    properties = listed.get("properties")
    return {**listed, "type": "object", "properties": properties if isinstance(properties, dict) else {}}
