"""Two replicas on one store, one of them killed under 32 streams and some turns without: another goes on with each.

Real processes, a real MCP server over stdio in each of them, and one file to which every call that ran adds a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from support.facade import content, said, write_configs
from support.gateway import ADMIN_KEY, Gateway, gateway
from support.processes import descendants
from support.scripted_model import Answer, Body, Call, ScriptedModel, text_of
from support.tool_server import SERVER

STAGES = ("before the tool", "in the tool", "in one of two tools", "in the second tool", "after the tool")
STREAMS = 32
WHOLE = 8
"""As many more are asked for without a stream."""
UNKNOWN = "Whether it took effect is unknown"


@dataclass
class Shop:
    """What the model does, in each conversation by its own first message: `number, stage`."""

    hold: Path
    killed: threading.Event = field(default_factory=threading.Event)

    def answer(self, body: Body) -> Answer | str:
        texts = [text_of(message["content"]) for message in body["messages"] if message["role"] == "user"]
        number, stage = texts[0].split(", ")
        results = [text_of(message["content"]) for message in body["messages"] if message["role"] == "tool"]
        if texts[1:]:
            return f"You said {texts[-1]}; {results}."
        first, held = Call("shop__order", {"item": number}), {"item": f"{number}b", "hold": str(self.hold)}
        dying = not self.killed.is_set()
        if not results:
            if stage == "before the tool" and dying:
                return Answer(["Let me see."], stall_after=1)
            calls = {
                "in the tool": [Call("shop__order", held)],
                "in one of two tools": [first, Call("shop__order", held)],
            }.get(stage, [first])
            return Answer("Let me see.", calls=calls)
        if stage == "in the second tool" and len(results) == 1:
            return Answer("And more.", calls=[Call("shop__order", held)])
        return Answer(["Done:", f" {results}."], stall_after=1 if dying else None)


@dataclass
class Talk:
    """One conversation, as its client has it."""

    number: int
    stage: str
    stream: bool
    got: str = ""
    broke: bool = False

    @property
    def asked(self) -> str:
        return f"{self.number}, {self.stage}"

    @property
    def ran(self) -> list[str]:
        """The lines of its calls, where each ran once."""
        one, two = f"order {self.number}", f"order {self.number}b"
        return {"in the tool": [two], "in one of two tools": [one, two], "in the second tool": [one, two]}.get(
            self.stage, [one]
        )

    @property
    def model_calls(self) -> int:
        """How often the model is asked before the kill."""
        return 2 if self.stage in ("in the second tool", "after the tool") else 1

    async def ask(self, http: httpx.AsyncClient, url: str, *messages: Any) -> None:
        body = {
            "model": "assistant",
            "stream": self.stream,
            "messages": [
                message if isinstance(message, dict) else {"role": "user", "content": message} for message in messages
            ],
        }
        headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        self.got, self.broke, raw, done = "", False, "", False
        try:
            async with http.stream("POST", f"{url}/chat/completions", json=body, headers=headers) as response:
                assert response.status_code == 200, await response.aread()
                async for part in response.aiter_text():
                    raw += part
                    self.got = content(raw)
                done = True
        except httpx.TransportError:
            self.broke = True
        if done:
            self.broke = self.stream and "data: [DONE]" not in raw
            if not self.stream:
                self.got = httpx.Response(200, text=raw).json()["choices"][0]["message"]["content"]


@pytest.fixture
def model() -> Iterator[ScriptedModel]:  # in a thread: starting a process waits
    with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran.log"


@pytest.fixture
def configs(tmp_path: Path, model: ScriptedModel, ran: Path) -> Path:
    access = {
        "roles": {"admin": {"allow": ["*"]}},
        "keys": [{"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"}],
    }
    shop = {"shop": {"command": sys.executable, "args": [str(SERVER), "stdio", str(ran)], "concurrency": 64}}
    return write_configs(tmp_path / "configs", model.url, shop, access=access)


@pytest.fixture
def replicas(configs: Path, storage: str, tmp_path: Path) -> Iterator[tuple[Gateway, Gateway]]:
    """Two replicas; the first will be killed, and what it leaves behind is ended here."""
    env = {"INTERLOCK_STORAGE": storage}
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:  # they start side by side
        names = ("dying", "other")
        first, second = threads.map(lambda name: stack.enter_context(gateway(configs, tmp_path / name, env)), names)
        family = descendants(first.process.popen.pid)
        yield first, second
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=30, trust_env=False, limits=limits) as client:
        yield client


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.timeout(180)
async def test_one_of_two_replicas_killed_under_32_streams(
    replicas: tuple[Gateway, Gateway],
    model: ScriptedModel,
    ran: Path,
    tmp_path: Path,
    http: httpx.AsyncClient,
    configs: Path,
    storage: str,
) -> None:
    dying, other = replicas
    shop = Shop(tmp_path / "hold")
    model.respond(shop.answer)
    talks = [Talk(n, STAGES[n % 5], stream=n < STREAMS) for n in range(STREAMS + WHOLE)]
    asked = [asyncio.create_task(talk.ask(http, dying.url, talk.asked)) for talk in talks]

    def lines() -> list[str]:
        return ran.read_text().splitlines() if ran.exists() else []

    # Every call that is to run before the kill runs, and every model call that is to hang has begun.
    expected = Counter(line for talk in talks for line in talk.ran if talk.stage != "before the tool")
    await until(lambda: Counter(lines()) == expected)
    await until(lambda: all("Let me see." in talk.got for talk in talks if talk.stream))
    await until(lambda: all("Done:" in talk.got for talk in talks if talk.stream and talk.stage == "after the tool"))
    await until(lambda: len(model.requests) == sum(talk.model_calls for talk in talks))

    async def goes_on(talk: Talk, url: str) -> None:
        if talk.number // 5 % 2:
            await talk.ask(http, url, talk.asked)
        elif talk.got:
            await talk.ask(http, url, talk.asked, said(talk.got), "go on")
        else:
            await talk.ask(http, url, talk.asked, "go on")

    async def breaks_and_goes_on(talk: Talk, turn: asyncio.Task[None]) -> None:
        await turn
        assert talk.broke
        if talk.number % 3:  # at once; the others' clients come back when a replica has been started again
            await goes_on(talk, other.url)

    before = len(model.requests)
    shop.killed.set()
    dying.process.popen.kill()
    await asyncio.wait_for(asyncio.gather(*map(breaks_and_goes_on, talks, asked)), 40)
    with gateway(configs, tmp_path / "again", {"INTERLOCK_STORAGE": storage}) as again:
        later = [goes_on(talk, again.url) for talk in talks if talk.number % 3 == 0]
        await asyncio.wait_for(asyncio.gather(*later), 40)
    assert not any(talk.broke for talk in talks)
    last = {text_of(r.messages[1]["content"]): r.tool_results for r in model.requests[before:]}
    for talk in talks:
        retried = bool(talk.number // 5 % 2)
        done = [f"ordered {talk.number}"]
        if talk.stage == "before the tool":
            wanted = done if retried else []
        elif talk.stage == "after the tool":
            wanted = done
        elif talk.stage == "in the tool":
            wanted = [UNKNOWN]
        else:
            wanted = [*done, UNKNOWN]
        results = last[talk.asked]
        assert len(results) == len(wanted), (talk, results)
        assert all(part in result for part, result in zip(wanted, results, strict=True)), (talk, results)
        if retried:
            and_more = "\n\nAnd more." if talk.stage == "in the second tool" else ""
            assert re.fullmatch(rf"Let me see\.{and_more}\n\nDone: .*\.", talk.got), talk
        else:
            assert talk.got.startswith("You said go on; "), talk
    (tmp_path / "hold").touch()
    again_ran = Counter(f"order {t.number}" for t in talks if t.stage == "before the tool" and t.number // 5 % 2)
    assert Counter(lines()) == expected + again_ran
