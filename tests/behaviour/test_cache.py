"""`cache` on calls and models, over real HTTP: what was found is used again for a while, by the same person alone, and
only where it would be allowed now."""

from __future__ import annotations

import asyncio
import copy
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, ADMIN, DEVELOPER, KEYS, said, serving, write_configs
from support.metrics_page import scraped
from support.scripted_model import Answer, ScriptedModel
from support.tool_server import Tools
from test_calls import FAILED, SAY, call, ran, write
from test_calls import log as log  # a fixture
from test_reload import saved
from test_takeover import Pair, left
from test_takeover import pair as pair  # a fixture
from typer.testing import CliRunner

from graphs.nodes import result_cache
from server.cli.main import app

OTHER = "ilk_second-admin-of-the-tests"


def cached(tool: str, cache: str = "10m", **fields: Any) -> dict[str, Any]:
    return call(tool, cache=cache, **fields)


def count(cache: str = "10m", **fields: Any) -> dict[str, Any]:
    """Asks the tool that says how often it was called."""
    return cached("steps/grow", cache, pick="string(int(result.count))", **fields)


def read_audit(data: Path, *columns: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(data / "interlock.db")) as connection:
        return connection.execute(f"SELECT {', '.join(columns)} FROM audit ORDER BY seq").fetchall()


def count_journal(data: Path) -> int:
    with closing(sqlite3.connect(data / "interlock.db")) as connection:
        return connection.execute("SELECT count(*) FROM journal").fetchone()[0]


def set_rules(folder: Path, **rules: Any) -> None:
    """Give the administrator other rules."""
    (folder / "access.yaml").write_text(json.dumps(build_rules(**rules)))


def build_rules(**rules: Any) -> dict[str, Any]:
    access = copy.deepcopy(ACCESS)
    access["roles"] |= {"admin": rules, "developer": {"allow": ["steps/*"]}}
    return access


@pytest.mark.usefixtures("keys")
class TestCalls:
    """A result is used again."""

    async def test_the_same_call_of_the_same_person_runs_once(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        folder = write(tmp_path, model, log, {"look": count(), "say": SAY})
        async with serving(folder, tmp_path / "data") as facade:
            assert [await facade.say("a"), await facade.say("b")] == ["1", "1"]
            page = await scraped(facade.http, facade.url)
        assert ran(log) == ["grow"]
        assert page("interlock_cache_hits_total", graph="assistant", node="look") == 1
        assert page("interlock_tool_calls_total", tool="grow", outcome="ok") == 1
        assert page("interlock_verdicts_total", tool="steps/grow", verdict="allow") == 2

    async def test_the_audit_says_where_the_result_came_from_and_the_journal_claims_no_run(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        folder = write(tmp_path, model, log, {"look": count(), "say": SAY})
        async with serving(folder, tmp_path / "data") as facade:
            await facade.say("a")
            await facade.say("b")
            headers = {"authorization": f"Bearer {ADMIN}"}
            shown = (
                await facade.http.get(f"{facade.url.removesuffix('/v1')}/console/api/turns", headers=headers)
            ).json()
        records = read_audit(tmp_path / "data", "kind", "verdict", "outcome", "note", "call_id")
        first = records[0][4]
        assert [record[:4] for record in records] == [
            ("decision", "allow", None, None),
            ("call", "allow", "ok", None),
            ("decision", "allow", "cached", f"the result of call {first}"),
        ]
        assert records[2][4] != first
        assert count_journal(tmp_path / "data") == 1
        assert [[one["outcome"] for one in turn["calls"]] for turn in shown["turns"]] == [["cached"], ["done"]]

    async def test_other_arguments_are_another_call(self, tmp_path: Path, model: ScriptedModel, log: Path) -> None:
        look = cached("steps/query", args={"sql": "{{ message }}"}, pick="string(result.limit)")
        folder = write(tmp_path, model, log, {"look": look, "say": SAY})
        async with serving(folder, tmp_path / "data") as facade:
            for text in ("a", "b", "a", "b"):
                await facade.say(text)
        assert ran(log) == ["query a 10 None", "query b 10 None"]

    async def test_two_nodes_share_nothing(self, tmp_path: Path, model: ScriptedModel, log: Path) -> None:
        folder = write(tmp_path, model, log, {"look": count(next="more"), "more": count(), "say": SAY})
        async with serving(folder, tmp_path / "data") as facade:
            assert await facade.say("a") == "2"
            assert await facade.say("a") == "2"
        assert len(ran(log)) == 2

    async def test_it_runs_again_once_its_time_is_over(self, tmp_path: Path, model: ScriptedModel, log: Path) -> None:
        folder = write(tmp_path, model, log, {"look": count("50ms"), "say": SAY})
        async with serving(folder, tmp_path / "data") as facade:
            assert await facade.say("a") == "1"
            await asyncio.sleep(0.1)
            assert await facade.say("a") == "2"

    async def test_a_failure_is_not_kept(self, tmp_path: Path, model: ScriptedModel, log: Path) -> None:
        look = cached("steps/stumble", args={"times": 1}, on_error="failed")
        folder = write(tmp_path, model, log, {"look": look, "say": SAY, "failed": FAILED})
        async with serving(folder, tmp_path / "data") as facade:
            assert (await facade.say("a")).startswith("look tool: ")
            assert [await facade.say("a"), await facade.say("a")] == ["done", "done"]
        assert ran(log) == ["stumble"] * 2

    async def test_a_result_that_does_not_fit_is_not_kept(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        """The tool succeeded, but the node failed."""
        look = cached("steps/grow", pick="result.count > 1 ? result.count : 'few'", on_error="failed")
        folder = write(tmp_path, model, log, {"look": look, "say": SAY, "failed": FAILED}, vars={"found": "int"})
        async with serving(folder, tmp_path / "data") as facade:
            assert (await facade.say("a")).startswith("look invalid: ")
            assert [await facade.say("a"), await facade.say("a")] == ["2", "2"]

    async def test_attempts_are_for_what_failed_and_the_one_that_worked_is_kept(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        look = cached("steps/stumble", args={"times": 1}, retry={"times": 3, "wait": "10ms"})
        folder = write(tmp_path, model, log, {"look": look, "say": SAY})
        async with serving(folder, tmp_path / "data") as facade:
            assert [await facade.say("a"), await facade.say("a")] == ["done", "done"]
        assert ran(log) == ["stumble"] * 2

    async def test_a_tool_that_is_not_known_to_read_only_runs_each_time_and_the_log_says_so_once(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools, caplog: pytest.LogCaptureFixture
    ) -> None:
        look = cached("files/order", args={"item": "tea"})
        graph = {"vars": {"found": "string"}, "start": "look", "nodes": {"look": look, "say": SAY}}
        folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
        async with serving(folder, tmp_path / "data") as facade:
            assert [await facade.say("a"), await facade.say("b")] == ["ordered tea"] * 2
        assert tools.ran() == ["order tea"] * 2
        lines = [line for line in caplog.messages if "files/order" in line and "cache" in line]
        assert lines == [
            "graph assistant, node look: files/order does not say that it only reads, so its results are not cached"
        ]

    async def test_what_is_in_the_cache_shows_in_no_log(
        self, tmp_path: Path, model: ScriptedModel, log: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        look = cached("steps/query", args={"sql": "hush-hush"})
        folder = write(tmp_path, model, log, {"look": look, "say": SAY})
        async with serving(folder, tmp_path / "data") as facade:
            await facade.say("a")
            await facade.say("b")
        assert "hush-hush" not in caplog.text

    async def test_more_than_there_is_room_for_forgets_what_was_not_used_for_longest(
        self, tmp_path: Path, model: ScriptedModel, log: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(result_cache, "MOST_ENTRIES", 2)
        look = cached("steps/query", args={"sql": "{{ message }}"}, pick="string(result.limit)")
        folder = write(tmp_path, model, log, {"look": look, "say": SAY})
        async with serving(folder, tmp_path / "data") as facade:
            for text in ("a", "b", "a", "c", "a", "b"):
                await facade.say(text)
        assert [line.split()[1] for line in ran(log)] == ["a", "b", "c", "b"]

    async def test_a_result_that_is_too_large_is_not_kept(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(result_cache, "LARGEST_RESULT", 1000)
        look = cached("files/echo", args={"text": "{{ message }}"})
        graph = {"vars": {"found": "string"}, "start": "look", "nodes": {"look": look, "say": SAY}}
        folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
        async with serving(folder, tmp_path / "data") as facade:
            for text in ("short", "short", "x" * 2000, "x" * 2000):
                assert await facade.say(text) == text
        assert [len(line) for line in tools.ran()] == [10, 2005, 2005]

    async def test_pictures_and_structure_come_out_as_they_went_in(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        folder = write(tmp_path, model, log, {"look": cached("steps/query", args={"sql": "S"}), "say": SAY})
        async with serving(folder, tmp_path / "data") as facade:
            first = await facade.say("a")
            assert (first, await facade.say("b")) == ('{"rows":[["Germany",7],["France",5]],"limit":10}', first)
        assert len(ran(log)) == 1

    async def test_items_of_a_map_use_it_too(self, tmp_path: Path, model: ScriptedModel, log: Path) -> None:
        do = {"type": "call", "tool": "steps/query", "args": {"sql": "{{ item }}"}, "cache": "10m"}
        nodes = {
            "read": {"type": "map", "over": "['x', 'y', 'x']", "do": do, "into": "found", "at_once": 1, "next": "say"},
            "say": {"type": "reply", "text": "{{ size(found) }}", "next": "end"},
        }
        folder = write(tmp_path, model, log, nodes, vars={"found": "any[]"})
        async with serving(folder, tmp_path / "data") as facade:
            assert [await facade.say("a"), await facade.say("b")] == ["3", "3"]
            page = await scraped(facade.http, facade.url)
        assert ran(log) == ["query x 10 None", "query y 10 None"]
        assert page("interlock_cache_hits_total", node="read.do") == 4


@pytest.mark.usefixtures("keys")
class TestPeople:
    """Nobody gets what another asked for."""

    async def test_two_people_of_one_role_share_nothing(
        self, tmp_path: Path, model: ScriptedModel, log: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("INTERLOCK_OTHER_KEY", OTHER)
        folder = write(tmp_path, model, log, {"look": count(), "say": SAY})
        keys = [*ACCESS["keys"], {"name": "other", "role": "admin", "env": "INTERLOCK_OTHER_KEY"}]
        (folder / "access.yaml").write_text(json.dumps({**ACCESS, "keys": keys}))
        async with serving(folder, tmp_path / "data") as facade:
            answers = [await facade.say("a", key=key) for key in (ADMIN, OTHER, ADMIN, OTHER)]
        assert answers == ["1", "2", "1", "2"]

    async def test_two_roles_share_nothing(self, tmp_path: Path, model: ScriptedModel, log: Path) -> None:
        folder = write(tmp_path, model, log, {"look": count(), "say": SAY})
        async with serving(folder, tmp_path / "data") as facade:
            answers = [await facade.say("a", key=key) for key in (ADMIN, DEVELOPER, ADMIN, DEVELOPER)]
        assert answers == ["1", "2", "1", "2"]


@pytest.mark.usefixtures("keys")
class TestRules:
    """A cached result passes no verdict."""

    async def test_what_a_rule_denies_now_is_not_given_out(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        again: list[Any] = [{"when": "visits < 2", "to": "look"}, {"to": "say"}]
        nodes = {"look": count(on_error="failed", next=again), "say": SAY, "failed": FAILED}
        folder = write(tmp_path, model, log, nodes)
        set_rules(folder, allow=[{"tool": "steps/*", "when": "turn.calls < 1"}])
        async with serving(folder, tmp_path / "data") as facade:
            answer = await facade.say("a")
        assert answer.startswith("look denied: steps/grow was not run: ")
        assert len(ran(log)) == 1
        assert ("deny", None) in read_audit(tmp_path / "data", "verdict", "outcome")

    async def test_what_a_rule_asks_about_now_waits_for_a_person_and_then_runs(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        again: list[Any] = [{"when": "visits < 2", "to": "look"}, {"to": "say"}]
        folder = write(tmp_path, model, log, {"look": count(next=again), "say": SAY})
        set_rules(folder, allow=["steps/*"], ask=[{"tool": "steps/*", "when": "turn.calls > 0"}])
        async with serving(folder, tmp_path / "data") as facade:
            asked = await facade.say("a")
            [approval] = re.findall(r"`approve ([a-z2-7]{8})`", asked)
            assert len(ran(log)) == 1
            assert await facade.say("a", said(asked), f"approve {approval}") == "2"

    async def test_what_a_person_approved_is_kept_for_nobody(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        folder = write(tmp_path, model, log, {"look": count(), "say": SAY})
        set_rules(folder, ask=[{"tool": "steps/*", "when": 'caller.user == "admin"'}])
        async with serving(folder, tmp_path / "data") as facade:
            for number in ("1", "2"):
                asked = await facade.say("a")
                [approval] = re.findall(r"`approve ([a-z2-7]{8})`", asked)
                assert await facade.say("a", said(asked), f"approve {approval}") == number

    async def test_what_comes_from_the_cache_counts_for_the_limit_of_calls(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        again: list[Any] = [{"when": "visits < 9", "to": "look"}, {"to": "say"}]
        nodes = {"look": count(on_error="failed", next=again), "say": SAY, "failed": FAILED}
        folder = write(tmp_path, model, log, nodes, limits={"tool_calls": 3})
        async with serving(folder, tmp_path / "data") as facade:
            answer = await facade.say("a")
        assert answer == "look limit: steps/grow was not run: the turn's limit of 3 tool calls."
        assert len(ran(log)) == 1

    async def test_after_a_reload_everything_is_asked_anew(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        folder = write(tmp_path, model, log, {"look": count(on_error="failed"), "say": SAY, "failed": FAILED})
        async with serving(folder, tmp_path / "data") as facade:
            assert [await facade.say("a"), await facade.say("a")] == ["1", "1"]
            before = (folder / "access.yaml").read_text()
            await saved(facade, folder / "access.yaml", build_rules(allow=["steps/*"]))
            assert [await facade.say("a"), await facade.say("a")] == ["2", "2"]
            await saved(facade, folder / "access.yaml", build_rules(allow=["*"], deny=["steps/grow"]))
            assert (await facade.say("a")).startswith("look denied: ")
            await saved(facade, folder / "access.yaml", before)
            assert await facade.say("a") == "1"  # the files are those of the first answer, word for word
        assert len(ran(log)) == 2


@pytest.mark.usefixtures("keys")
class TestModels:
    """A model's value is used again."""

    NODES: Mapping[str, Any] = {
        "sort": {"type": "model", "input": "{{ message }}", "into": "found", "cache": "10m", "next": "say"},
        "say": SAY,
    }

    async def test_the_same_question_of_the_same_person_is_asked_once(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        folder = write(tmp_path, model, log, self.NODES, vars={"found": ["low", "high"]})
        model.script("low", "high", "high")
        async with serving(folder, tmp_path / "data") as facade:
            assert [await facade.say(text) for text in ("a", "a", "b", "a")] == ["low", "low", "high", "low"]
            assert await facade.say("a", key=DEVELOPER) == "high"
            page = await scraped(facade.http, facade.url)
            response = (await facade.ask("a")).json()
        assert len(model.requests) == 3
        assert page("interlock_cache_hits_total", graph="assistant", node="sort") == 2
        assert response["usage"]["total_tokens"] == 0

    async def test_what_the_request_says_of_the_answer_is_part_of_the_question(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        folder = write(tmp_path, model, log, self.NODES, vars={"found": "string"})
        model.script("cold", "hot")
        async with serving(folder, tmp_path / "data") as facade:
            answers = [await facade.say("a", temperature=value) for value in (0, 1, 0, 1)]
        assert answers == ["cold", "hot", "cold", "hot"]

    async def test_a_model_that_sees_the_conversation_is_asked_again_when_that_went_on(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        nodes = {"sort": {"type": "model", "into": "found", "cache": "10m", "next": "say"}, "say": SAY}
        folder = write(tmp_path, model, log, nodes, vars={"found": "string"})
        model.script("one", "two")
        async with serving(folder, tmp_path / "data") as facade:
            assert [await facade.say("a"), await facade.say("a")] == ["one", "one"]
            assert await facade.say("a", said("one"), "a") == "two"

    async def test_an_answer_that_does_not_fit_is_not_kept(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        nodes = copy.deepcopy(dict(self.NODES))
        nodes["sort"]["on_error"] = "failed"
        folder = write(tmp_path, model, log, {**nodes, "failed": FAILED}, vars={"found": "int"})
        model.script("many", "very many", '{"value": 7}')
        async with serving(folder, tmp_path / "data") as facade:
            assert (await facade.say("a")).startswith("sort invalid: ")
            assert [await facade.say("a"), await facade.say("a")] == ["7", "7"]

    async def test_a_value_from_the_cache_is_a_round_so_that_no_circle_is_endless(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        nodes = copy.deepcopy(dict(self.NODES))
        nodes["sort"] |= {"next": {"go": "sort", "stop": "say"}, "on_error": "failed"}
        folder = write(
            tmp_path, model, log, {**nodes, "failed": FAILED}, vars={"found": ["go", "stop"]}, limits={"rounds": 3}
        )
        model.script("go")
        async with serving(folder, tmp_path / "data") as facade:
            answer = await facade.say("a")
        assert answer.startswith("sort limit: ")
        assert len(model.requests) == 1

    async def test_branches_of_a_parallel_use_it_too(self, tmp_path: Path, model: ScriptedModel, log: Path) -> None:
        branch = {"type": "model", "input": "{{ message }}", "cache": "10m"}
        nodes = {
            "both": {"type": "parallel", "branches": {"one": branch}, "into": "found", "next": "say"},
            "say": {"type": "reply", "text": "{{ found.one }}", "next": "end"},
        }
        folder = write(tmp_path, model, log, nodes, vars={"found": {"fields": {"one": "string"}}})
        model.script("Once.")
        async with serving(folder, tmp_path / "data") as facade:
            assert [await facade.say("a"), await facade.say("a")] == ["Once.", "Once."]
        assert len(model.requests) == 1


class TestCases:
    """`interlock test`: every case begins with an empty cache."""

    def test_a_case_sees_its_own_results_again_and_no_other_case_does(self, tmp_path: Path) -> None:
        model = {"type": "model", "input": "{{ message }}", "into": "kind", "cache": "10m", "next": "look"}
        look = cached("files/read", args={"path": "x"})
        say = {"type": "reply", "text": "{{ kind }} {{ found }}", "next": "end"}
        graph = {"vars": {"found": "string", "kind": "string"}, "start": "sort"}
        graph |= {"nodes": {"sort": model, "look": look, "say": say}}
        servers = {"files": {"url": "http://127.0.0.1:9/mcp"}}
        folder = write_configs(tmp_path / "c", "http://127.0.0.1:9/v1", servers, graphs={"assistant": graph})
        case = {"say": ["a", "a"], "expect": {"calls": ["files/read"], "verdicts": {"files/read": ["allow", "allow"]}}}
        cases = {
            name: {**case, "model": {"sort": [name]}, "tools": {"files/read": [{"result": name}]}}
            for name in ("one", "two")
        }
        for name, written in cases.items():
            written["expect"] = {**case["expect"], "answer": f'answer == "{name} {name}"'}
        hints = {"files/read": {"read_only": True}}
        (folder / "graphs" / "assistant.test.yaml").write_text(
            json.dumps({"as": {"role": "admin"}, "hints": hints, "cases": cases})
        )
        result = CliRunner().invoke(app, ["test", "--configs", str(folder)], env=KEYS)
        assert result.exit_code == 0, result.output


class TestKilledTurns:
    """A process that dies takes its cache with it."""

    @pytest.fixture
    def configs(self, tmp_path: Path, model: ScriptedModel, tools: Tools) -> Path:
        look = cached("files/echo", args={"text": "x"}, next="talk")
        nodes = {"look": look, "talk": {"type": "model", "prompt": "It is {{ found }}.", "next": "end"}}
        graph = {"vars": {"found": "string"}, "start": "look", "nodes": nodes}
        return write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})

    async def test_another_process_goes_on_with_what_was_found_and_keeps_only_what_it_ran_itself(
        self, pair: Pair, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(Answer("Lost", stall_after=1), "Found.", "Second.", "Third.")
        async with self._hanging(pair, model, 1):
            assert await pair.second.say("go") == "Found."
        assert tools.ran() == ["echo x"]
        assert await pair.second.say("next") == "Second."
        assert await pair.second.say("last") == "Third."
        assert tools.ran() == ["echo x"] * 2

    async def test_a_turn_that_had_its_result_from_the_cache_ends_in_another_process(
        self, pair: Pair, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script("First.", Answer("Lost", stall_after=1), "Found.")
        assert await pair.first.say("before") == "First."
        async with self._hanging(pair, model, 2):
            assert await pair.second.say("go") == "Found."
        assert model.requests[2].messages[0]["content"] == "It is x."
        assert set(tools.ran()) == {"echo x"}

    @asynccontextmanager
    async def _hanging(self, pair: Pair, model: ScriptedModel, number: int) -> AsyncIterator[None]:
        """A turn of the first process, which dies while this request to the model waits."""
        turn = asyncio.create_task(pair.first.stream("go"))
        await model.arrived(number)
        pair.die()
        try:
            yield
        finally:
            await left(turn)
