"""The graphs of the lean floor, written by hand on LangGraph: aiohttp and orjson, one kept MCP session, plain messages.

Each does what the graph of the same name does in Interlock, and nothing beside it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import aiohttp
import orjson
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

JSON = {"content-type": "application/json"}
ITEMS = 16
"""Items of the map."""


class Loop(TypedDict):
    """The state of the loop of model and tools."""

    messages: Annotated[list[Any], operator.add]


class Variables(TypedDict, total=False):
    """The state of the five nodes."""

    messages: Annotated[list[Any], operator.add]
    wish: str
    query: str
    looks: int
    found: str


class Map(TypedDict, total=False):
    """The state of the map."""

    messages: Annotated[list[Any], operator.add]
    outcomes: Annotated[list[tuple[int, str]], operator.add]


class Item(TypedDict):
    """What one task of the map is sent."""

    index: int
    item: str


class Endpoints:
    """The model and the MCP session."""

    def __init__(self, http: aiohttp.ClientSession, completions: str, session: Any) -> None:
        self.http, self.completions, self.session = http, completions, session

    async def ask(
        self, messages: list[Any], tools: list[Any] | None = None, write: Callable[[str], None] | None = None
    ) -> dict[str, Any]:
        """The model's message. Each piece of its text goes to `write`."""
        text: list[str] = []
        calls: dict[int, Any] = {}
        asked = {"model": "fake", "stream": True, "messages": messages} | ({"tools": tools} if tools else {})
        async with self.http.post(self.completions, data=orjson.dumps(asked), headers=JSON) as response:
            async for line in response.content:
                if not line.startswith(b"data: {"):
                    continue
                for choice in orjson.loads(line[6:])["choices"]:
                    delta = choice["delta"]
                    if delta.get("content"):
                        text.append(delta["content"])
                        if write:
                            write(delta["content"])
                    for part in delta.get("tool_calls") or ():
                        empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
                        call = calls.setdefault(part["index"], empty)
                        call["id"] = part.get("id") or call["id"]
                        for name, value in part["function"].items():
                            call["function"][name] += value or ""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(text) or None}
        if calls:
            message["tool_calls"] = list(calls.values())
        return message

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The text of a tool's result."""
        result = await self.session.call_tool(name, arguments)
        return "".join(part.text for part in result.content)


async def build_graphs(http: aiohttp.ClientSession, completions: str, session: Any) -> dict[str, Any]:
    """The compiled graphs by the model that a request names."""
    endpoints = Endpoints(http, completions, session)
    return {"fake": await build_loop(endpoints), "variables": build_variables(endpoints), "map": build_map(endpoints)}


async def build_loop(endpoints: Endpoints) -> Any:
    """The loop of model and tools."""
    schema = [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.inputSchema}}
        for t in (await endpoints.session.list_tools()).tools
    ]

    async def model(state):
        return {"messages": [await endpoints.ask(state["messages"], schema, get_stream_writer())]}

    async def tools(state):
        results = []
        for call in state["messages"][-1]["tool_calls"]:
            text = await endpoints.call(call["function"]["name"], orjson.loads(call["function"]["arguments"]))
            results.append({"role": "tool", "tool_call_id": call["id"], "content": text})
        return {"messages": results}

    graph = StateGraph(Loop)
    graph.add_node("model", model)
    graph.add_node("tools", tools)
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", lambda state: "tools" if state["messages"][-1].get("tool_calls") else END)
    graph.add_edge("tools", "model")
    return graph.compile()


def build_variables(endpoints: Endpoints) -> Any:
    """Five nodes that hand variables on: `graphs/variables.yaml`."""

    async def read(state):
        return {"wish": state["messages"][-1]["content"].strip()}

    async def write(state):
        prompt = {"role": "system", "content": "Write what to look for, and nothing else."}
        message = await endpoints.ask([prompt, {"role": "user", "content": state["wish"]}])
        return {"query": message["content"]}

    async def count(state):
        return {"looks": state.get("looks", 0) + 1}

    async def look(state):
        return {"found": await endpoints.call("echo", {"message": state["query"], "size": state["looks"] - 1})}

    async def say(state):
        return speak(state["found"])

    graph = StateGraph(Variables)
    for node in (read, write, count, look, say):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "read")
    for before, after in (("read", "write"), ("write", "count"), ("count", "look"), ("look", "say"), ("say", END)):
        graph.add_edge(before, after)
    return graph.compile()


def build_map(endpoints: Endpoints) -> Any:
    """A tool call for each item, at the same time, joined in order: `graphs/map.yaml`."""

    async def begin(state):
        return {}

    def send(state):
        said = state["messages"][-1]["content"]
        return [Send("call", {"index": at, "item": f"tok{said[4 + at % 10]} "}) for at in range(ITEMS)]

    async def call(task):
        return {"outcomes": [(task["index"], await endpoints.call("echo", {"message": task["item"]}))]}

    async def say(state):
        return speak("".join(text for _, text in sorted(state["outcomes"])))

    graph = StateGraph(Map)
    graph.add_node("begin", begin)
    graph.add_node("call", call, input_schema=Item)
    graph.add_node("say", say)
    graph.add_edge(START, "begin")
    graph.add_conditional_edges("begin", send, ["call"])
    graph.add_edge("call", "say")
    graph.add_edge("say", END)
    return graph.compile()


def speak(text: str) -> dict[str, Any]:
    """The update of a node that says a text."""
    get_stream_writer()(text)
    return {"messages": [{"role": "assistant", "content": text}]}
