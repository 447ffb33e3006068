"""Each real part works by itself, so that a failure of the whole is not a failure of theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent
from support.litellm import LiteLLM
from support.mcp_servers import RealServer
from support.postgres import Postgres
from support.scripted_model import Answer, Call, ScriptedModel


@asynccontextmanager
async def over_stdio(server: RealServer) -> AsyncIterator[ClientSession]:
    parameters = StdioServerParameters(**server.entry)
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session


def text_of(result: CallToolResult) -> str:
    assert not result.isError
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


async def test_litellm_streams_tool_calls_of_the_scripted_model(litellm: LiteLLM, model: ScriptedModel) -> None:
    model.script(Answer(calls=[Call("files__read", {"path": "a.txt"}, id="call_7")]))
    async with openai.AsyncOpenAI(base_url=litellm.url, api_key=litellm.key, max_retries=0) as client:
        offered = {entry.id async for entry in client.models.list()}
        stream = await client.chat.completions.create(
            model="scripted", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        deltas = [chunk.choices[0].delta async for chunk in stream if chunk.choices]

    assert {"scripted", "scripted-large"} <= offered
    calls = [call for delta in deltas for call in delta.tool_calls or []]
    assert [call.id for call in calls if call.id] == ["call_7"]
    assert "".join(call.function.arguments or "" for call in calls if call.function) == '{"path": "a.txt"}'


async def test_litellm_refuses_an_unknown_key(litellm: LiteLLM) -> None:
    async with openai.AsyncOpenAI(base_url=litellm.url, api_key="sk-wrong", max_retries=0) as client:
        with pytest.raises((openai.AuthenticationError, openai.BadRequestError)):  # 400 when it has no database
            await client.models.list()


async def test_the_filesystem_server_reads_its_workspace_and_notes_the_call(filesystem_server: RealServer) -> None:
    path = f"{filesystem_server.facts['workspace']}/budget.txt"
    before = len(filesystem_server.calls())
    async with over_stdio(filesystem_server) as session:
        assert filesystem_server.facts["budget"] in text_of(await session.call_tool("read_text_file", {"path": path}))
    assert filesystem_server.calls()[before:] == [("read_text_file", {"path": path})]


async def test_the_postgres_server_answers_through_mcp_proxy_over_http(
    database: Postgres, postgres_server: RealServer
) -> None:
    assert database.query("SELECT count(*) FROM customers") == "1307"
    sql = {"sql": "SELECT count(*) AS n FROM customers"}
    before = len(postgres_server.calls())
    async with streamable_http_client(postgres_server.url) as (read, write, _), ClientSession(read, write) as session:
        await session.initialize()
        assert "1307" in text_of(await session.call_tool("execute_sql", sql))
    assert postgres_server.calls()[before:] == [("execute_sql", sql)]


async def test_the_postgres_server_answers_through_mcp_proxy_over_sse(postgres_server: RealServer) -> None:
    async with sse_client(postgres_server.sse_url) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        assert "1307" in text_of(await session.call_tool("execute_sql", {"sql": "SELECT count(*) FROM customers"}))


async def test_the_monitoring_server_asks_a_real_prometheus(monitoring_server: RealServer) -> None:
    async with over_stdio(monitoring_server) as session:
        assert "62.375" in text_of(await session.call_tool("execute_query", {"query": "harbour_load"}))
