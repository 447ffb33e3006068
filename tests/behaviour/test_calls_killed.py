"""A graph with calls of its own, a `map` and an approval, in a process that is killed at random moments: every turn
comes to its end, and nothing runs twice."""

from __future__ import annotations

import asyncio
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import said, write_configs
from support.gateway import ADMIN_KEY, PinnedGateway
from support.processes import descendants, free_port
from support.scripted_model import ScriptedModel
from support.tool_server import SERVER

TURNS = 200
KILLS = 12
GRAPH: dict[str, Any] = {
    "vars": {"first": "string", "found": "string", "parts": "string[]"},
    "start": "order",
    "nodes": {
        "order": {
            "type": "call",
            "tool": "shop/order",
            "args": {"item": "a{{ message }}"},
            "into": "first",
            "on_error": "failed",
            "next": "spread",
        },
        "spread": {
            "type": "map",
            "over": "['x', 'y', 'z']",
            "do": {"type": "call", "tool": "shop/order", "args": {"item": "{{ item }}{{ message }}"}},
            "into": "parts",
            "on_error": "failed",
            "next": "sort",
        },
        "sort": {"type": "model", "input": "{{ first }}", "into": "found", "next": "pay"},
        "pay": {
            "type": "call",
            "tool": "shop/write",
            "args": {"text": "{{ first }}"},
            "on_error": "failed",
            "next": "send",
        },
        "send": {
            "type": "call",
            "tool": "shop/order",
            "args": {"item": "b{{ first }}"},
            "on_error": "failed",
            "next": "done",
        },
        "done": {"type": "reply", "text": "Done with {{ first }}.", "next": "end"},
        "failed": {"type": "reply", "text": "{{ error.node }} {{ error.kind }}: {{ error.message }}", "next": "end"},
    },
}


@pytest.fixture
def model() -> Iterator[ScriptedModel]:  # in a thread: starting a process waits
    with ScriptedModel() as scripted:
        scripted.respond(lambda body: "sorted")
        yield scripted


@dataclass
class Talk:
    """One conversation, as its client has it: whatever breaks is asked once more."""

    number: int
    url: str
    up: asyncio.Event
    messages: list[Any] = field(default_factory=list[Any])
    broke: int = 0

    async def hold(self, http: httpx.AsyncClient) -> str:
        answer = await self._ask(http, str(self.number))
        found = re.search(r"`approve ([a-z2-7]{8})`", answer)
        return answer if found is None else await self._ask(http, f"approve {found[1]}")

    async def _ask(self, http: httpx.AsyncClient, text: str) -> str:
        self.messages.append({"role": "user", "content": text})
        while True:
            await self.up.wait()
            headers = {"authorization": f"Bearer {ADMIN_KEY}"}
            body = {"model": "assistant", "messages": self.messages}
            try:
                response = await http.post(f"{self.url}/chat/completions", json=body, headers=headers)
            except httpx.TransportError:
                self.broke += 1
                await asyncio.sleep(0.05)
                continue
            assert response.status_code == 200, response.text
            answer = response.json()["choices"][0]["message"]["content"]
            self.messages.append(said(answer))
            return answer


@pytest.mark.timeout(300)
async def test_turns_of_a_process_that_is_killed_again_and_again_end_and_run_nothing_twice(
    tmp_path: Path, model: ScriptedModel
) -> None:
    log, chance = tmp_path / "ran.log", random.Random(15)
    access = {
        "roles": {"admin": {"allow": ["*"], "ask": ["shop/write"]}},
        "keys": [{"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"}],
    }
    shop = {"shop": {"command": sys.executable, "args": [str(SERVER), "stdio", str(log)], "concurrency": 64}}
    configs = write_configs(tmp_path / "configs", model.url, shop, access=access, graphs={"assistant": GRAPH})
    served = await asyncio.to_thread(PinnedGateway, configs, tmp_path / "data", {}, free_port())
    up = asyncio.Event()
    up.set()
    talks = [Talk(number, served.url, up) for number in range(TURNS)]

    async def start_later(talk: Talk, http: httpx.AsyncClient) -> str:
        await asyncio.sleep(chance.uniform(0, 1.0 * KILLS))
        return await talk.hold(http)

    async def kill_and_restart() -> None:
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.15, 0.6))
            up.clear()
            family = descendants(served.now.process.popen.pid)
            served.now.process.popen.kill()
            await asyncio.to_thread(served.now.process.popen.wait)
            for child in family:  # what ran in them ends with them
                child.kill()
            await asyncio.to_thread(served.restart)
            up.set()

    try:
        async with httpx.AsyncClient(timeout=60, trust_env=False, limits=httpx.Limits(max_connections=None)) as http:
            killing = asyncio.create_task(kill_and_restart())
            answers = await asyncio.gather(*(start_later(talk, http) for talk in talks))
            await killing
    finally:
        await asyncio.to_thread(served.stop)
    assert sum(talk.broke for talk in talks) > KILLS
    counts = Counter(log.read_text().splitlines())
    assert {line: count for line, count in counts.items() if count > 1} == {}
    for talk, answer in zip(talks, answers, strict=True):
        one, two, three = (f"order a{talk.number}", f"write ordered a{talk.number}", f"order bordered a{talk.number}")
        if answer.endswith(f"Done with ordered a{talk.number}."):
            assert {one, two, three, *(f"order {item}{talk.number}" for item in "xyz")} <= counts.keys()
        else:
            assert "Whether it took effect is unknown" in answer, answer
