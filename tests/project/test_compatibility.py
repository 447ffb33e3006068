"""`make compat` runs, takes nothing for working that is not, and its page tells of everything that it tries."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from compat import trials
from compat.clients import CLIENTS, Client
from compat.environments import Environment
from compat.report import PAGE, short, write_page
from compat.results import WAYS, Asked, ClientResult, ServerResult
from compat.servers import SERVERS

ROOT = Path(__file__).resolve().parents[2]
MAKE = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES")
"""What a `make test ARGS=…` around this test would hand down."""
BROKEN = [server for server in SERVERS if server.down]
pytestmark = pytest.mark.timeout(180)


def test_make_compat_runs_the_program() -> None:
    env = {**os.environ, **dict.fromkeys(MAKE, ""), "PYTHON": sys.executable}
    command = ["make", "compat", "ARGS=--only time,nobody"]
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=170, check=False)
    assert ran.returncode != 0
    assert "there is no nobody; there are everything, everything-http" in " ".join(ran.stderr.replace("│", "").split())


def test_broken_servers_are_down_and_a_client_works_that_does_not_make_things_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar = tmp_path / "liar.py"
    liar.write_text(f"from json import dumps\nfor way in {WAYS}: print(dumps({{'way': way, 'pieces': ['Yes.']}}))\n")
    ours = Environment(Path(sys.prefix), "Python", {})
    monkeypatch.setattr(trials, "install", lambda *_, **__: ours)
    official = next(client for client in CLIENTS if client.name == "openai-python")
    asking = [official, Client(name="liar", packages=["liar"], program=str(liar))]
    found = list(trials.run(BROKEN, asking, renew=False, say=lambda _: None))
    assert write_page(found).count("| down, as it must |") == len(BROKEN) == 8
    works, lies = found[-2:]
    assert isinstance(works, ClientResult)
    assert isinstance(lies, ClientResult)
    assert works.failures() == {}
    assert [asked.calls for way, asked in works.asked.items() if way.startswith("tool")] == [1, 1]
    made_up = "the answer did not arrive, but 'Yes.'"
    assert lies.failures() == {way: "the tool ran 0 times" if "tool" in way else made_up for way in WAYS}


@pytest.mark.parametrize(
    ("asked", "way", "failure"),
    [
        (Asked(pieces=["say w1"], wanted="w1"), "whole", ""),
        (Asked(pieces=["say w2"], wanted="w1"), "whole", "the answer did not arrive, but 'say w2'"),
        (Asked(pieces=["anything"]), "whole", "the answer did not arrive, but 'anything'"),
        (Asked(wanted="w1"), "whole", "the answer did not arrive, but ''"),
        (Asked(pieces=["w1"], wanted="w1", error="Timeout"), "whole", "Timeout"),
        (Asked(pieces=["w", "1"], wanted="w1"), "streamed", ""),
        (Asked(pieces=["Hi: ", "w1"], wanted="w1"), "streamed", "the answer came in one piece"),
        (Asked(pieces=["w", "1"], wanted="w1", calls=1), "tool, streamed", ""),
        (Asked(pieces=["w", "1"], wanted="w1", calls=2), "tool, streamed", "the tool ran 2 times"),
        (Asked(pieces=["w1"], wanted="w1", calls=0), "tool", "the tool ran 0 times"),
        (Asked(pieces=["w1"], wanted="w1"), "tool", "the tool ran None times"),
    ],
)
def test_a_client_works_only_if_the_word_came_and_the_tool_ran_once(asked: Asked, way: str, failure: str) -> None:
    assert asked.failure(way) == failure


def test_a_server_works_only_if_the_tools_result_came() -> None:
    server = next(one for one in SERVERS if one.name == "time")
    good = ServerResult(server=server, status="up", tools=2, answer="It is 17:30.", wanted="17:30")
    bad = [
        replace(good, answer="It is late."),
        replace(good, status="down"),
        replace(good, tools=0),
        replace(good, wanted=""),
        replace(good, server=BROKEN[0]),
        ServerResult(server=BROKEN[0], status="down", reason="who knows"),
    ]
    assert good.works
    assert [result for result in bad if result.works] == []
    page = write_page([good, *bad])
    assert page.count("| works |") == 1
    assert page.count("**does not work**") == 4


def test_a_client_that_ended_early_works_in_no_way() -> None:
    result = ClientResult(client=CLIENTS[0], asked={})
    assert list(result.failures()) == list(WAYS)
    assert write_page([result]).count("**no**") == len(WAYS)


def test_an_answer_in_one_piece_is_said_and_needs_a_reason() -> None:
    asked = {way: Asked(pieces=["It is w1."], wanted="w1", calls=1 if "tool" in way else None) for way in WAYS}
    for client in (CLIENTS[0], replace(CLIENTS[0], whole="it waits")):
        result = ClientResult(client=client, asked=asked)
        failures = [] if client.whole else ["streamed", "tool, streamed"]
        assert list(result.failures()) == failures
        page = write_page([result])
        assert (page.count("| works "), page.count("in one piece |"), page.count("**no**")) == (
            2,
            2 - len(failures),
            len(failures),
        )
    empty = {way: replace(one, pieces=[], wanted="") for way, one in asked.items()}
    assert list(ClientResult(client=replace(CLIENTS[0], whole="it waits"), asked=empty).failures()) == list(WAYS)


def test_the_page_tells_of_every_server_and_client() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert "`make compat`" in page
    assert re.search(r"Tried on \d{4}-\d\d-\d\d, with Python 3\.\d+", page)
    rows = re.findall(r"^\| ([\w-]+) \|", page, re.MULTILINE)
    assert [row for row in rows if row not in ("server", "client", "---")] == [one.name for one in (*SERVERS, *CLIENTS)]
    assert "| not run" not in page


def test_nothing_on_the_page_is_of_one_machine_alone() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"/(?:root|home|tmp|usr|var|opt|work)/|https?://(?!127\.0\.0\.1)", page) == []
    assert short("GET https://registry.example/x failed") == "GET (an address) failed"
    assert short("in /home/x/y.py at http://127.0.0.1:4711/a/b\nend") == "in …/y.py at http://127.0.0.1:PORT/a/b end"
    assert short("failed: E1128 05:01:40.961578    8179 memcache.go:265] refused") == "failed: memcache.go:265] refused"


def test_every_program_of_a_client_is_there_and_no_other() -> None:
    folder = ROOT / "compat" / "clients"
    there = {file.name for file in folder.iterdir() if file.name.startswith("ask_")}
    assert sorted(there) == sorted({client.program for client in CLIENTS})
    assert len({one.name for one in (*SERVERS, *CLIENTS)}) == len(SERVERS) + len(CLIENTS)
