"""Every worker of a start serves what was saved, and none of them what cannot be served."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.configs import write_configs
from support.gateway import ADMIN_KEY, Gateway, gateway
from support.scripted_model import ScriptedModel

GRAPH = "start: agent\nnodes:\n  agent: {type: model, prompt: PROMPT, next: end}\n"
SECONDS = 40


class Workers:
    """The workers of a start, each asked until it was the one that answered: the log says who did."""

    def __init__(self, served: Gateway, configs: Path) -> None:
        self.configs = configs
        self._served = served
        self._numbers = itertools.count()

    def save(self, prompt: str) -> None:
        """As editors do it: a new file takes the old one's place."""
        new = self.configs / ".new"
        new.write_text(GRAPH.replace("PROMPT", prompt))
        new.replace(self.configs / "graphs" / "assistant.yaml")

    def answer(self) -> tuple[int, str]:
        """Who answered a turn, and what."""
        name = f"turn-{next(self._numbers)}"
        body = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}]}
        headers = {"authorization": f"Bearer {ADMIN_KEY}", "x-request-id": name}
        # A connection of its own each time: who takes it is by chance.
        url = f"{self._served.url}/chat/completions"
        answer = httpx.post(url, json=body, headers=headers, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text
        by = self.lines(lambda line: line.get("request_id") == name and "status" in line)
        return by[0]["pid"], answer.json()["choices"][0]["message"]["content"]

    def until_both(self, prompt: str) -> set[int]:
        """Asks until two workers have answered by this prompt, and gives their processes."""
        seen: set[int] = set()
        until = time.monotonic() + SECONDS
        while len(seen) < 2:
            assert time.monotonic() < until, f"of two workers these answered by {prompt!r}: {seen}"
            pid, text = self.answer()
            seen |= {pid} if text == prompt else set()
        return seen

    def lines(self, wanted: Callable[[dict[str, Any]], bool], count: int = 1) -> list[dict[str, Any]]:
        """The first lines of the log that are wanted, once there are that many."""
        until = time.monotonic() + SECONDS
        while True:
            written = [line for line in self._served.process.text().splitlines() if line[:1] + line[-1:] == "{}"]
            found = [line for line in map(json.loads, written) if wanted(line)]
            if len(found) >= count:
                return found
            assert time.monotonic() < until, f"only {len(found)} lines of {count}"
            time.sleep(0.02)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    """Two of one start, behind them a model that repeats its prompt."""
    with ScriptedModel() as model:
        model.respond(lambda body: body["messages"][0]["content"])
        files = {
            "gateway.yaml": f"models: {{base_url: '{model.url}', default: scripted, offer: []}}\n",
            "servers.yaml": "mcpServers: {}\n",
            "access.yaml": "roles: {admin: {allow: ['*']}}\nkeys: [{name: a, role: admin, env: INTERLOCK_ADMIN_KEY}]\n",
            "graphs/assistant.yaml": GRAPH.replace("PROMPT", "One."),
        }
        configs = write_configs(tmp_path / "configs", files)
        with gateway(configs, tmp_path / "data", options=["--workers", "2", "--log", "json"]) as served:
            yield Workers(served, configs)


def test_all_workers_serve_what_was_saved_and_none_what_is_wrong(workers: Workers) -> None:
    both = workers.until_both("One.")
    workers.save("Two.")
    assert workers.until_both("Two.") == both
    workers.save("Three., nxt: end")
    refused = workers.lines(lambda line: "cannot be served" in line["message"], count=2)
    assert {line["pid"] for line in refused} == both
    assert workers.until_both("Two.") == both
    assert all(workers.answer()[1] == "Two." for _ in range(6))
    workers.save("Four.")
    assert workers.until_both("Four.") == both
    # What came after a worker had changed never went back.
    assert all(workers.answer()[1] == "Four." for _ in range(6))
