"""A person, the demo model and the demo tools: everything that goes round between a question and its answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openai
from mcp.server.fastmcp.exceptions import ToolError

from server.demo import database, filesystem, monitoring

SERVERS = {
    "filesystem": filesystem.create_server,
    "database": database.create_server,
    "monitoring": monitoring.create_server,
}


class Talk:
    """Rounds of calls until the model answers in words; the tools are the demo servers' own, called in this process."""

    def __init__(self, client: openai.AsyncOpenAI, data: Path, *, stream: bool) -> None:
        self.client = client
        self.stream = stream
        self.servers = {name: create(data) for name, create in SERVERS.items()}
        self.messages: list[Any] = [{"role": "system", "content": "You help ana."}]
        self.rounds: list[list[str]] = []
        self.refuse: dict[str, str] = {}
        self.hidden: set[str] = set()

    async def ask(self, question: Any, **more: Any) -> str:
        self.rounds = []
        self.messages.append({"role": "user", "content": question})
        for _ in range(10):
            content, calls = await self.answer(**more)
            if not calls:
                self.messages.append({"role": "assistant", "content": content})
                return content
            assert not content
            self.messages.append({"role": "assistant", "content": None, "tool_calls": calls})
            self.rounds.append([call["function"]["name"] for call in calls])
            for call in calls:
                result = await self.run(call["function"]["name"], json.loads(call["function"]["arguments"]))
                self.messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        raise AssertionError("ten rounds and no answer")

    async def tools(self) -> list[Any]:
        return [
            {"type": "function", "function": {"name": name, "parameters": tool.inputSchema}}
            for server, served in self.servers.items()
            for tool in await served.list_tools()
            if (name := f"{server}__{tool.name}") not in self.hidden
        ]

    async def answer(self, **more: Any) -> tuple[str, list[Any]]:
        asked: dict[str, Any] = {"model": "demo", "messages": self.messages, "tools": await self.tools(), **more}
        if not self.stream:
            completion = await self.client.chat.completions.create(**asked)
            message = completion.choices[0].message
            assert completion.choices[0].finish_reason == ("tool_calls" if message.tool_calls else "stop")
            return message.content or "", [call.model_dump() for call in message.tool_calls or []]
        content, calls = "", list[Any]()
        async for chunk in await self.client.chat.completions.create(**asked, stream=True):
            delta = chunk.choices[0].delta
            content += delta.content or ""
            for piece in delta.tool_calls or []:
                if piece.index == len(calls):
                    calls.append(piece.model_dump(exclude={"index"}))
                else:
                    calls[piece.index]["function"]["arguments"] += piece.function.arguments
        return content, calls

    async def run(self, name: str, args: dict[str, Any]) -> str:
        if name in self.refuse:
            return self.refuse[name]
        server, tool = name.split("__")
        try:
            result: Any = await self.servers[server].call_tool(tool, args)
        except ToolError as error:
            return str(error)
        blocks: Sequence[Any] = result[0] if isinstance(result, tuple) else result
        return "\n".join(block.text for block in blocks)
