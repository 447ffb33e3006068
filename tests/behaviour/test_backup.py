"""A backup of an Interlock that serves and writes, restored where nothing is: its conversations, keys and audit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import write_configs
from support.gateway import Gateway
from support.postgres import Postgres
from support.processes import free_port, running
from support.scripted_model import Answer, Body, Call, ScriptedModel
from support.tool_server import Tools

pytestmark = pytest.mark.timeout(240)  # whole programs start here, on machines that may be busy

INTERLOCK = Path(sys.executable).with_name("interlock")
ACCESS = {"roles": {"admin": {"allow": ["*"], "ask": [{"tool": "files/write"}]}}}
"""No key is configured, so that keys are generated."""


@pytest.fixture
def scripted() -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        model.respond(call_once)
        yield model


def call_once(body: Body) -> Answer | str:
    """Each turn calls one tool and ends."""
    last = body["messages"][-1]
    return "Done." if last["role"] == "tool" else Answer(calls=[Call("files__echo", {"text": str(last["content"])})])


@pytest.fixture
def configs(scripted: ScriptedModel, tools: Tools, tmp_path: Path) -> Path:
    return write_configs(tmp_path / "configs", scripted.url, {"files": {"url": tools.url}}, access=ACCESS)


class Place:
    """A data folder and a storage, and commands there."""

    def __init__(self, configs: Path, data: Path, storage: str, programs: str) -> None:
        self.configs, self.data, self.storage = configs, data, storage
        self.env = {"INTERLOCK_DATA": str(data), "INTERLOCK_CONFIGS": str(configs)}
        self.env |= {"INTERLOCK_STORAGE": storage} if storage else {}
        self.env |= {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def run(self, *words: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [INTERLOCK, *words], env=os.environ | self.env, input=stdin, capture_output=True, check=False, timeout=120
        )

    def succeed(self, *words: str | Path, stdin: bytes = b"") -> str:
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.decode()

    def fail(self, *words: str | Path, stdin: bytes = b"", code: int = 1) -> str:
        """What it says on stderr, as one line."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == code, done.stdout + done.stderr
        assert b"Traceback" not in done.stderr
        return done.stderr.decode().strip()


@pytest.fixture(params=["sqlite", "postgresql"])
def places(request: pytest.FixtureRequest, configs: Path, tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    """One that is used and an empty one, on a store of each kind in turn."""
    if request.param == "sqlite":
        yield Place(configs, tmp_path / "data", "", ""), Place(configs, tmp_path / "new", "", "")
        return
    server: Postgres = request.getfixturevalue("postgres_shared")
    programs = str(server.programs)
    with server.database(f"used_{os.getpid()}") as used, server.database(f"restored_{os.getpid()}") as empty:
        yield Place(configs, tmp_path / "data", used, programs), Place(configs, tmp_path / "new", empty, programs)


@contextmanager
def serve(place: Place) -> Iterator[Gateway]:
    """`interlock serve` there, with the keys that it makes, once its server is up."""
    port = free_port()
    command = [INTERLOCK, "serve", "--port", str(port)]
    place.data.mkdir(exist_ok=True)
    env = {**place.env, "PYTHONUNBUFFERED": "1"}
    with running("interlock serve", command, place.data.with_suffix(".log"), env=env, cwd=place.data) as process:
        key = process.wait_for_line(r"^key admin (\S+)$")[1]
        process.wait_for_json(f"http://127.0.0.1:{port}/ready", is_up, key=key)
        yield Gateway(f"http://127.0.0.1:{port}/v1", process, key)


def is_up(ready: dict[str, Any]) -> bool:
    return ready["servers"]["files"]["status"] == "up"


def read_key(place: Place) -> str:
    [key] = re.findall(r"(?m)^admin=(\S+)$", (place.data / "keys.env").read_text())
    return key


def ask(served: Gateway, key: str, *texts: str) -> str:
    """The answer to the last of these messages; the others are the conversation before it."""
    messages = [
        {"role": "user" if number % 2 == 0 else "assistant", "content": text} for number, text in enumerate(texts)
    ]
    answer = httpx.post(
        f"{served.url}/chat/completions",
        json={"model": "assistant", "messages": messages},
        headers={"authorization": f"Bearer {key}"},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


class Talk:
    """People who chat all the time, each in a thread, until the block ends."""

    def __init__(self, served: Gateway, key: str) -> None:
        self.turns = 0
        self._end = threading.Event()
        self._failures: list[BaseException] = []
        self._people = [threading.Thread(target=self._chat, args=(served, key, name)) for name in ("a", "b", "c")]

    def __enter__(self) -> Talk:
        for person in self._people:
            person.start()
        self.wait_for(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for person in self._people:
            person.join()
        assert self._failures == []

    def _chat(self, served: Gateway, key: str, name: str) -> None:
        number = 0
        while not self._end.is_set() and not self._failures:
            try:
                ask(served, key, f"{name}{number}")
            except BaseException as error:
                self._failures.append(error)
            number += 1
            self.turns += 1
            time.sleep(0.1)  # else they leave the commands no processor

    def wait_for(self, more: int) -> None:
        wanted = self.turns + more
        while self.turns < wanted and not self._failures:
            time.sleep(0.01)


def test_a_backup_of_a_busy_interlock_is_restored_into_an_empty_place(
    places: tuple[Place, Place], scripted: ScriptedModel, tmp_path: Path
) -> None:
    used, empty = places
    backups = tmp_path / "backups"
    backups.mkdir()
    with serve(used) as served:
        key = read_key(used)
        ask(served, key, "the first")
        with Talk(served, key) as talk:
            printed = used.succeed("backup", backups, "--include", used.configs / "access.yaml")
            talk.wait_for(5)
        after = used.succeed("audit", "verify")
    [archive] = backups.iterdir()
    assert archive.stat().st_mode & 0o777 == 0o600
    assert str(archive) in printed
    assert "keys as they are" in printed
    head = re.search(r"^audit head (\d+):", printed, re.MULTILINE)
    end = re.search(r"^head (\d+):", after, re.MULTILINE)
    assert head is not None
    assert end is not None
    assert 0 < int(head[1]) < int(end[1])

    restored = empty.succeed("restore", archive)
    assert f"head {head[0].removeprefix('audit head ')}" in restored
    assert "left in the archive: 1 included file" in restored
    assert head[0].removeprefix("audit ") in empty.succeed("audit", "verify", "--head", find_head(printed))
    assert (empty.data / "keys.env").read_text() == (used.data / "keys.env").read_text()
    assert {file.name: file.stat().st_mode & 0o777 for file in empty.data.iterdir() if file.is_file()}.keys() <= {
        "keys.env",
        "interlock.db",
    }
    assert all(file.stat().st_mode & 0o077 == 0 for file in empty.data.iterdir())

    # It serves: with the same key, and a conversation from before knows what its tool said.
    with serve(empty) as served:
        assert read_key(empty) == key
        ask(served, key, "the first", "Done.", "and then?")
    [result] = [message for message in scripted.requests[-2].body["messages"] if message["role"] == "tool"]
    assert "the first" in json.dumps(result)


def find_head(printed: str) -> str:
    found = re.search(r"^audit head (\S+)$", printed, re.MULTILINE)
    assert found is not None
    return found[1]
