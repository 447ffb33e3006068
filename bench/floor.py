"""What a facade costs that does less: the floors that Interlock is held against, served by `uvicorn bench.floor:app`.

    /plain/v1   the bytes of the model's answer, through aiohttp
    /lean/v1    graphs written by hand (`lean.py`), `stream_mode="custom"`; the request's `model` chooses one. No keys,
                rules, checkpoints, conversations, audit or metrics.
    /chat/v1    the loop of model and tools the usual way: ChatOpenAI, langchain-mcp-adapters, `stream_mode="messages"`

Environment: UPSTREAM, the base URL of the model; MCP_URL, the tool server.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from bench.lean import JSON, build_graphs


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    upstream, mcp_url = os.environ["UPSTREAM"], os.environ["MCP_URL"]
    servers = MultiServerMCPClient({"bench": {"transport": "streamable_http", "url": mcp_url}})
    http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    async with http, servers.session("bench") as session:
        yield {
            "http": http,
            "completions": f"{upstream}/chat/completions",
            "lean": await build_graphs(http, f"{upstream}/chat/completions", session),
            "chat": {"fake": await usual_loop(upstream, servers)},
        }


async def usual_loop(upstream: str, servers: MultiServerMCPClient) -> Any:
    tools = await servers.get_tools()
    bound = ChatOpenAI(model="fake", base_url=upstream, api_key="x").bind_tools(tools)

    async def call(state):
        return {"messages": [await bound.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", call)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", lambda state: "tools" if state["messages"][-1].tool_calls else END)
    graph.add_edge("tools", "model")
    return graph.compile()


async def in_task(items: AsyncGenerator[Any]) -> AsyncIterator[Any]:
    """What `items` yields, in a task of its own that is cancelled when the reader leaves."""
    queue: asyncio.Queue[tuple[bool, Any]] = asyncio.Queue()

    async def pump() -> None:
        try:
            async for item in items:
                queue.put_nowait((True, item))
            queue.put_nowait((False, None))
        except Exception as error:  # noqa: BLE001  raised again where it is read
            queue.put_nowait((False, error))

    task = asyncio.create_task(pump())
    try:
        while True:
            more, item = await queue.get()
            if not more:
                if item:
                    raise item
                return
            yield item
    finally:
        task.cancel()


def sse(content: str | None = None, finish: str | None = None) -> bytes:
    delta = {} if content is None else {"content": content}
    return b"data: %s\n\n" % orjson.dumps(
        {
            "id": "chatcmpl-floor",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": "fake",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
    )


def whole(content: str) -> Response:
    message = {"role": "assistant", "content": content}
    body = {
        "id": "chatcmpl-floor",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "fake",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }
    return Response(orjson.dumps(body), media_type="application/json")


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/plain/v1/chat/completions")
async def plain(request: Request) -> Response:
    asked = await request.body()
    answer = await request.state.http.post(request.state.completions, data=asked, headers=JSON)
    if "event-stream" not in answer.content_type:
        return Response(await answer.read(), answer.status, media_type=answer.content_type)
    return StreamingResponse(answer.content.iter_any(), answer.status, media_type="text/event-stream")


@app.post("/{mode}/v1/chat/completions")
async def loop(mode: str, request: Request) -> Response:
    body = orjson.loads(await request.body())
    state = {"messages": body["messages"]}
    graph = getattr(request.state, mode)[body["model"]]
    if not body.get("stream"):
        last = (await graph.ainvoke(state))["messages"][-1]
        return whole(last["content"] if mode == "lean" else last.content)

    async def out() -> AsyncIterator[bytes]:
        if mode == "lean":
            async for text in in_task(graph.astream(state, stream_mode="custom")):
                yield sse(text)
        else:
            async for message, _ in in_task(graph.astream(state, stream_mode="messages")):
                if message.type == "AIMessageChunk" and message.content:
                    yield sse(message.content)
        yield sse(finish="stop") + b"data: [DONE]\n\n"

    return StreamingResponse(out(), media_type="text/event-stream")
