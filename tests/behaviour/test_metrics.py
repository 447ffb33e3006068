"""`GET /metrics` after turns whose course is known: what ran, what was refused, what failed, and what runs now."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, ADMIN, ASSISTANT, DEVELOPER, Facade, said, serving, write_configs
from support.metrics_page import Seen, awaited, scraped
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

from graphs.telemetry.metrics import Metrics
from graphs.telemetry.multiprocess import FOLDER_VARIABLE, share_metrics


async def test_turns_are_counted_by_graph_and_by_how_they_ended(facade: Facade, model: ScriptedModel) -> None:
    model.script("Hello.", Answer(calls=[Call("files__write", {"text": "x"})]), Answer(status=400))
    await facade.say("hi")
    await facade.say("write x")
    assert (await facade.ask("and then?")).status_code == 400
    seen = await scraped(facade.http, facade.url)
    ended = {
        status: seen("interlock_turns_total", status=status)
        for status in seen.labels("interlock_turns_total", "status")
    }
    assert ended == {"finished": 1, "waiting": 1, "failed": 1, "stopped": 0}
    assert seen("interlock_turn_seconds_count", graph="assistant") == 3
    assert seen("interlock_first_token_seconds_count", graph="assistant") == 1
    assert seen("interlock_turns_running") == 0
    assert seen("interlock_approvals", status="pending") == 1
    assert 0 < seen("interlock_oldest_approval_seconds") < 60
    assert seen("interlock_store_up") == 1
    assert seen("interlock_disk_free_bytes") > 0


async def test_requests_are_counted_by_route_and_status_whatever_their_path(
    facade: Facade, model: ScriptedModel
) -> None:
    model.script("Hello.")
    root = facade.url.removesuffix("/v1")
    await facade.say("hi")
    await facade.ask("hi", key="wrong")
    for path in ("a", "b", "v1/models/no/such", "v1/approvals/aaaaaaaa"):
        await facade.http.get(f"{root}/{path}", headers={"authorization": f"Bearer {ADMIN}"})
    await facade.http.request("PROPFIND", f"{root}/health")
    seen = await awaited(
        facade.http, facade.url, lambda seen: seen("interlock_http_requests_total", method="_OTHER") == 1
    )
    answered = {
        (one.labels["method"], one.labels["route"], one.labels["status"]): one.value
        for one in seen.samples
        if one.name == "interlock_http_requests_total" and one.labels["route"] != "/metrics"
    }
    assert answered == {
        ("POST", "/v1/chat/completions", "200"): 1,
        ("POST", "/v1/chat/completions", "401"): 1,
        ("GET", "unmatched", "404"): 2,
        ("GET", "/v1/models/{name:path}", "404"): 1,
        ("GET", "/v1/approvals/{approval_id}", "404"): 1,
        ("_OTHER", "/health", "405"): 1,
    }


async def test_what_runs_now_is_told_by_graph_and_node_until_the_client_leaves(
    facade: Facade, model: ScriptedModel
) -> None:
    model.script(Answer("one two three", stall_after=1))
    body = {"model": "assistant", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with facade.http.stream("POST", f"{facade.url}/chat/completions", json=body, headers=headers):
        seen = await awaited(facade.http, facade.url, lambda seen: seen("interlock_node_running", node="agent") == 1)
        assert seen("interlock_turns_running", graph="assistant") == 1
        assert seen("interlock_node_running", node="act") == 0
    gone = await awaited(facade.http, facade.url, lambda seen: seen("interlock_turns_total", status="stopped") == 1)
    assert gone("interlock_turns_running") == gone("interlock_node_running") == 0
    assert gone("interlock_model_requests_total", model="scripted", outcome="cut") == 1
    assert gone("interlock_first_token_seconds_count") == 1


async def test_tools_verdicts_nodes_models_and_tokens_are_counted_once_each(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    calls = [
        Call("files__echo", {"text": "fine"}),
        Call("files__echo", {"text": "secret"}),
        Call("files__fails"),
        Call("files__of_my_own_making"),
        Call("files__echo", "{broken"),
    ]
    model.script(Answer(calls=calls, usage=(100, 20)), Answer("Done.", usage=(30, 4)))
    await facade.say("go", key=DEVELOPER)
    assert tools.ran() == ["echo fine"]
    seen = await scraped(facade.http, facade.url)
    outcomes = {
        (one.labels["server"], one.labels["tool"], one.labels["outcome"]): one.value
        for one in seen.samples
        if one.name == "interlock_tool_calls_total" and one.value
    }
    assert outcomes == {
        ("files", "echo", "ok"): 1,
        ("files", "echo", "refused"): 1,
        ("files", "fails", "refused"): 1,
        ("unknown", "unknown", "refused"): 2,
    }
    assert seen("interlock_tool_seconds_count") == seen("interlock_tool_seconds_count", tool="echo") == 1
    assert seen("interlock_verdicts_total", graph="assistant", tool="files/echo", verdict="allow") == 1
    assert seen("interlock_verdicts_total", tool="files/echo", verdict="deny") == 1
    assert seen("interlock_verdicts_total", tool="unknown", verdict="deny") == 1
    runs = {node: seen("interlock_node_seconds_count", node=node) for node in ASSISTANT["nodes"]}
    assert runs == {"agent": 2, "check": 1, "act": 1}
    assert seen("interlock_node_seconds_count", node="check", type="permission") == 1
    assert seen("interlock_model_requests_total", model="scripted", outcome="ok") == 2
    assert seen("interlock_tokens_total", graph="assistant", model="scripted", kind="prompt") == 130
    assert seen("interlock_tokens_total", kind="completion") == 24
    assert "of_my_own_making" not in seen.text


async def test_a_tool_that_fails_at_its_server_is_an_error(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer(calls=[Call("files__fails")]), "It failed.")
    await facade.say("go")
    seen = await scraped(facade.http, facade.url)
    assert seen("interlock_tool_calls_total", server="files", tool="fails", outcome="error") == 1
    assert seen("interlock_tool_calls_total") == 1


async def test_an_asked_call_is_counted_when_it_is_asked_and_when_it_is_decided(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("files__write", {"text": "x"})]), "Written.")
    asked = await facade.say("write x")
    verdicts = verdicts_of(await scraped(facade.http, facade.url))
    assert verdicts == {"ask": 1}
    found = re.search(r"approve ([a-z2-7]{8})", asked)
    assert found is not None
    await facade.say("write x", said(asked), f"approve {found[1]}")
    assert tools.ran() == ["write x"]
    seen = await scraped(facade.http, facade.url)
    assert verdicts_of(seen) == {"ask": 1, "approved": 1}
    assert (seen("interlock_approvals", status="approved"), seen("interlock_approvals", status="pending")) == (1, 0)
    assert seen("interlock_turns_total", status="finished") == 1


def verdicts_of(seen: Seen) -> dict[str, float]:
    return {
        one.labels["verdict"]: one.value for one in seen.samples if one.name == "interlock_verdicts_total" and one.value
    }


@pytest.mark.usefixtures("brief_pauses")
async def test_a_model_that_fails_is_counted_with_every_attempt(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer(status=503), "There you are.")
    await facade.say("hi")
    seen = await scraped(facade.http, facade.url)
    assert seen("interlock_model_requests_total", model="scripted", outcome="unavailable") == 1
    assert seen("interlock_model_requests_total", model="scripted", outcome="ok") == 1
    assert seen("interlock_turns_total", status="finished") == 1


async def test_a_title_for_the_chat_page_is_a_model_request_and_no_turn(
    tmp_path: Path, keys: None, model: ScriptedModel
) -> None:
    access = {**ACCESS, "keys": [{**key, "forwards_users": True} for key in ACCESS["keys"]]}
    configs = write_configs(tmp_path / "configs", model.url, {}, access=access)
    model.script(Answer("A title", usage=(7, 2)))
    async with serving(configs, tmp_path / "data") as facade:
        await facade.ask("### Task:\nGenerate a title.", headers={"x-openwebui-chat-id": "c"})
        seen = await scraped(facade.http, facade.url)
    assert seen("interlock_model_requests_total", model="scripted", outcome="ok") == 1
    assert seen("interlock_tokens_total", graph="assistant", kind="prompt") == 7
    assert seen("interlock_turns_total") == 0


async def test_a_server_that_is_away_is_told_until_it_is_configured_no_more(
    tmp_path: Path, keys: None, model: ScriptedModel, tools: Tools
) -> None:
    servers: dict[str, Any] = {"files": {"url": tools.url}, "gone": {"command": "interlock-has-no-such-program"}}
    configs = write_configs(tmp_path / "configs", model.url, servers)
    async with serving(configs, tmp_path / "data") as facade:
        seen = await awaited(facade.http, facade.url, lambda seen: seen("interlock_server_up", server="files") == 1)
        assert seen("interlock_server_up", server="gone") == 0
        assert seen.labels("interlock_server_up", "server") == {"files", "gone"}

        (configs / "servers.yaml").write_text("mcpServers: {gone: {comand: nonsense}}")
        await awaited(facade.http, facade.url, lambda seen: seen("interlock_reloads_total", outcome="failed") == 1)
        (configs / "servers.yaml").write_text(f"mcpServers: {{files: {{url: {tools.url!r}}}}}")
        seen = await awaited(facade.http, facade.url, lambda seen: seen("interlock_reloads_total", outcome="ok") == 1)
        assert seen.labels("interlock_server_up", "server") == {"files"}
        assert seen("interlock_server_up", server="files") == 1


async def test_prometheus_own_format_is_given_to_whoever_asks_for_it(facade: Facade, model: ScriptedModel) -> None:
    model.script("Hello.")
    await facade.say("hi")
    root = facade.url.removesuffix("/v1")
    response = await facade.http.get(
        f"{root}/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"}
    )
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")
    assert 'interlock_turns_total{graph="assistant",status="finished"} 1.0' in response.text
    assert "_created" not in response.text


def test_what_runs_is_also_told_to_the_program_itself() -> None:
    metrics = Metrics()
    meter = metrics.build_node_meter("assistant", "agent", "model")
    metrics.find_turn_meter("assistant").running.inc()
    meter.running.inc(2)
    assert metrics.read_running_turns() == {"assistant": {"": 1, "agent": 2}}


def test_a_folder_of_workers_ends_with_its_start_and_takes_those_of_killed_ones_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    left = tmp_path / "metrics-999999999-old"
    left.mkdir()
    other = tmp_path / f"metrics-{os.getppid()}-running"
    other.mkdir()
    with share_metrics(tmp_path):
        folder = Path(os.environ[FOLDER_VARIABLE])
        assert folder.is_dir()
        assert not left.exists()
    assert not folder.exists()
    assert FOLDER_VARIABLE not in os.environ
    assert other.is_dir()


async def test_a_storage_that_cannot_be_used_is_a_metric_and_costs_no_other(
    facade: Facade, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.script("Hello.")
    await facade.say("hi")
    monkeypatch.setattr("graphs.store.backends.sqlite.count_free_bytes", lambda _: 12)
    seen = await awaited(facade.http, facade.url, lambda seen: "interlock_store_up 0.0" in seen.text)
    assert seen("interlock_turns_total", status="finished") == 1
