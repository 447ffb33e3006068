"""Arguments made to keep rules busy: the gateway goes on, and what is not decided in time is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.facade import ACCESS, write_configs
from support.gateway import Gateway, gateway
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools
from support.vitals import watch_vitals

ALLOW = "sql_read_only(args.text) || size(sql_tables(args.text)) == 1"
DENY = 'args.text.contains(args.text + "!") && size(args.text) > 3'
TEXTS = [
    "SELECT a" + "[1]" * 6600,
    "SELECT " + "+".join("1" * 9000),
    "SELECT x " + "JOIN t " * 25,
    "SELECT " + "(" * 9000,
    "[" * 60_000,
]


@pytest.fixture
def judging(tmp_path: Path, endpoint: ScriptedModel, tools: Tools) -> Iterator[Gateway]:
    """A gateway that lets nothing through but by a condition."""
    rules = {
        "allow": [{"tool": "files/echo", "when": ALLOW}],
        "deny": [{"tool": "files/echo", "when": DENY}],
    }
    access = {**ACCESS, "roles": {"admin": rules, "developer": rules}}
    folder = write_configs(tmp_path / "configs", endpoint.url, {"files": {"url": tools.url}}, access=access)
    with gateway(folder, tmp_path / "data") as running:
        yield running


def test_arguments_that_keep_rules_busy_stop_nobody(judging: Gateway, endpoint: ScriptedModel, tools: Tools) -> None:
    endpoint.script(*[Answer(calls=[Call("files__echo", {"text": text})]) for text in TEXTS], *["Done."] * len(TEXTS))
    answers: list[str | None] = []

    def ask() -> None:
        with judging.client() as client:
            asked = client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "go"}])
            answers.append(asked.choices[0].message.content)

    with watch_vitals(judging.process.popen.pid, judging.root):
        asking = [threading.Thread(target=ask) for _ in TEXTS]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(timeout=40)
    assert len(answers) == len(TEXTS)
    assert tools.ran() == []
