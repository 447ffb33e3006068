"""Turns as a client sees them: tool rounds, refusals, limits, one stream lifecycle, nothing left running."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest
from support.facade import ADMIN, ASSISTANT, DEVELOPER, Facade, content, events, said, serving, write_configs
from support.metrics_page import awaited
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import SERVER, Tools

from graphs.store.tool_journal import ToolJournal


def echo(text: str) -> Call:
    return Call("files__echo", {"text": text})


async def test_three_tool_rounds_end_in_an_answer_made_of_their_results(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(
        Answer(calls=[echo("one")]),
        Answer(calls=[Call("files__add", {"a": 2, "b": 3})]),
        Answer(calls=[echo("three")]),
        lambda body: " ".join(str(m["content"]) for m in body["messages"] if m["role"] == "tool"),
    )
    answer = await facade.say("go")

    assert "one" in answer
    assert "5" in answer
    assert "three" in answer
    assert tools.ran() == ["echo one", "add", "echo three"]


async def test_the_official_client_streams_the_same_turn(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer("Let me look.", calls=[echo("42")], usage=(10, 5)), Answer("It is 42.", usage=(20, 7)))
    async with facade.client() as client:
        stream = await client.chat.completions.create(
            model="assistant",
            messages=[{"role": "user", "content": "go"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Let me look.\n\nIt is 42."
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (30, 12)


async def test_a_stream_has_one_role_one_finish_and_never_shows_backend_calls(
    facade: Facade, model: ScriptedModel
) -> None:
    model.script(Answer(calls=[echo("x")]), "Done.")
    raw = await facade.stream("go")

    shown = re.sub(r'"(id|created)":("[^"]*"|\d+)', r'"\1":…', raw)
    head = 'data: {"id":…,"object":"chat.completion.chunk","created":…,"model":"assistant","choices":[{"index":0,'
    assert shown.split("\n\n") == [
        head + '"delta":{"role":"assistant","content":""},"finish_reason":null}]}',
        head + '"delta":{"content":"Done."},"finish_reason":null}]}',
        head + '"delta":{},"finish_reason":"stop"}]}',
        "data: [DONE]",
        "",
    ]


async def test_tool_calls_are_shown_only_where_they_are_asked_for(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer("Look: ", calls=[echo("x"), Call("files__nosuch")]), "Done.")
    raw = await facade.stream("go", headers={"x-interlock-tools": "items"})

    items = [event for event in events(raw) if "item" in event]
    shape = [(e["output_index"], e["item"]["type"], e["item"].get("name"), e["item"]["status"]) for e in items]
    assert sorted(shape) == [
        (1, "function_call", "files__nosuch", "failed"),
        (1, "function_call", "files__nosuch", "in_progress"),
        (2, "function_call_output", None, "failed"),
        (3, "function_call", "files/echo", "completed"),
        (3, "function_call", "files/echo", "in_progress"),
        (4, "function_call_output", None, "completed"),
    ] or sorted(shape) == [
        (1, "function_call", "files/echo", "completed"),
        (1, "function_call", "files/echo", "in_progress"),
        (2, "function_call", "files__nosuch", "failed"),
        (2, "function_call", "files__nosuch", "in_progress"),
        (3, "function_call_output", None, "failed"),
        (4, "function_call_output", None, "completed"),
    ]


async def test_calls_of_one_round_run_side_by_side(
    facade: Facade, model: ScriptedModel, tools: Tools, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    model.script(Answer(calls=[Call("files__busy", {"hold": str(hold)}) for _ in range(3)]), "Done.")
    turn = asyncio.create_task(facade.say("go"))
    while tools.ran().count("busy") < 3:
        assert not turn.done()
        await asyncio.sleep(0.01)
    hold.touch()
    assert await turn == "Done."


async def test_the_model_sees_only_what_the_callers_role_could_ever_call(facade: Facade, model: ScriptedModel) -> None:
    model.script("a", "b")
    await facade.say("go", key=DEVELOPER)
    await facade.say("go", key=ADMIN)
    assert model.requests[0].tools == ["files__echo"]
    assert "files__write" in model.requests[1].tools


async def test_a_withheld_tool_is_refused_at_the_call_and_the_rule_is_named(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("files__write", {"text": "x"}), echo("secret"), echo("fine")]), "Done.")
    await facade.say("go", key=DEVELOPER)

    results = {result.split(" ")[0]: result for result in model.requests[1].tool_results}
    assert tools.ran() == ["echo fine"]
    assert re.search(r"not run: .*developer.*access\.yaml:\d+", model.requests[1].tool_results[0])
    assert re.search(r"not run: .*developer.*access\.yaml:\d+", model.requests[1].tool_results[1])
    assert "fine" in results


async def test_a_path_around_the_permission_node_runs_nothing(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The loader refuses such a graph (test_mistakes.py): without it, the tools node is still a closed door.
    monkeypatch.setattr("graphs.config.compile_graph.find_mistakes", lambda outline: [])
    careless: dict[str, Any] = {**ASSISTANT, "nodes": {**ASSISTANT["nodes"]}}
    ways = [
        {"when": "size(tool_calls) > 5", "to": "check"},
        {"when": "size(tool_calls) > 0", "to": "act"},
        {"to": "end"},
    ]
    careless["nodes"]["agent"] = {**careless["nodes"]["agent"], "next": ways}
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": careless})
    model.script(Answer(calls=[echo("x")]), "Done.")
    async with serving(folder, tmp_path / "data") as facade:
        assert await facade.say("go") == "Done."
    assert tools.ran() == []
    assert "no permission node" in model.requests[1].tool_results[0]


async def test_arguments_that_are_no_json_are_told_to_the_model(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("files__echo", '{"text": ')]), "Done.")
    assert await facade.say("go") == "Done."
    assert "not a JSON object" in model.requests[1].tool_results[0]
    assert tools.ran() == []


async def test_a_model_that_never_stops_gets_one_last_answer_without_tools(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    graph = {**ASSISTANT, "limits": {"rounds": 2, "tool_calls": 40, "seconds": 300}}
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
    model.respond(lambda body: Answer(calls=[echo("again")]) if body.get("tools") else "I give up.")
    async with serving(folder, tmp_path / "data") as facade:
        answer = await facade.say("go")
    assert tools.ran() == ["echo again"] * 2
    assert answer == "I give up.\n\n_Stopped here: the limit of 2 rounds of tool calls in one turn is reached._"
    last = model.requests[-1].messages[-1]
    assert last["role"] == "tool"
    assert "No more tools" in last["content"]


async def test_models_that_never_agree_end_at_the_limit(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    graph = {
        "start": "writer",
        "nodes": {
            "writer": {"type": "model", "next": "critic"},
            "critic": {"type": "model", "next": [{"when": "text == 'good'", "to": "end"}, {"to": "writer"}]},
        },
        "limits": {"rounds": 4},
    }
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
    model.respond(lambda body: "no")
    async with serving(folder, tmp_path / "data") as facade:
        answer = await facade.say("go")
    assert len(model.requests) == 5
    assert answer.count("Stopped here: the limit of 4 rounds") == 1


async def test_calls_beyond_the_limit_are_refused(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    graph = {**ASSISTANT, "limits": {"rounds": 5, "tool_calls": 2, "seconds": 300}}
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
    model.script(Answer(calls=[echo("1"), echo("2"), echo("3")]), "Done.")
    async with serving(folder, tmp_path / "data") as facade:
        answer = await facade.say("go")
    assert sorted(tools.ran()) == ["echo 1", "echo 2"]
    assert "limit of 2 tool calls" in answer


async def test_a_condition_that_fails_ends_the_turn_naming_its_line(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    graph: dict[str, Any] = {**ASSISTANT, "nodes": {**ASSISTANT["nodes"]}}
    graph["nodes"]["agent"] = {
        **graph["nodes"]["agent"],
        "next": [{"when": "tool_calls[0].tool == 'x'", "to": "check"}, {"to": "end"}],
    }
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
    model.script("Hello.")
    async with serving(folder, tmp_path / "data") as facade:
        answer = await facade.say("go")
    assert re.search(r"Hello\.\n\nThe graph stopped here: .*assistant\.yaml:\d+", answer)


async def test_the_second_turn_knows_what_the_tools_of_the_first_returned(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[echo("4711")]), "I looked it up.", "As I said.")
    first = await facade.say("look it up")
    await facade.say("look it up", said("I  looked\nit up."), "and again?")

    assert first == "I looked it up."
    roles = [message["role"] for message in model.requests[-1].messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert model.requests[-1].tool_results == ["4711"]
    assert tools.ran() == ["echo 4711"]


async def test_another_caller_with_the_same_words_gets_nothing_of_it(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer(calls=[echo("4711")]), "I looked it up.", "Hm.")
    await facade.say("look it up")
    await facade.say("look it up", said("I looked it up."), "and again?", key=DEVELOPER)
    assert [message["role"] for message in model.requests[-1].messages] == ["system", "user", "assistant", "user"]


async def test_a_stopped_turn_is_remembered_by_what_the_client_saw_of_it(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[echo("4711")]), Answer("one two three four", stall_after=2), "Go on.")
    async with facade.http.stream(
        "POST",
        f"{facade.url}/chat/completions",
        json={"model": "assistant", "stream": True, "messages": [{"role": "user", "content": "go"}]},
        headers={"authorization": f"Bearer {ADMIN}"},
    ) as response:
        async for line in response.aiter_lines():
            if '"content":"one' in line:
                break
    assert await model.requests[1].ended(timeout=1) == "cut"
    for _ in range(100):  # the row is written while the run is being stopped
        await asyncio.sleep(0.01)
        if not model.requests[2:]:
            break
    await facade.say("go", said("one"), "and now?")
    assert model.requests[-1].tool_results == ["4711"]


@pytest.mark.parametrize("stream", [True, False])
async def test_the_client_leaving_cancels_the_models_stream_and_the_run(
    facade: Facade, model: ScriptedModel, stream: bool
) -> None:
    model.script(Answer("one two three", stall_after=2))
    body = {"model": "assistant", "stream": stream, "messages": [{"role": "user", "content": "go"}]}
    request = asyncio.create_task(
        facade.http.post(f"{facade.url}/chat/completions", json=body, headers={"authorization": f"Bearer {ADMIN}"})
    )
    arrived = await model.arrived(1)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert await arrived.ended(timeout=1) == "cut"


async def test_the_client_leaving_cancels_a_tool_that_runs(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer(calls=[Call("files__hang", {"mark": "m"})]))
    body = {"model": "assistant", "stream": True, "messages": [{"role": "user", "content": "go"}]}
    request = asyncio.create_task(
        facade.http.post(f"{facade.url}/chat/completions", json=body, headers={"authorization": f"Bearer {ADMIN}"})
    )
    while "hang m" not in tools.ran():
        await asyncio.sleep(0.01)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    model.script("Fine.")
    assert await facade.say("still there?") == "Fine."


async def test_the_client_leaving_does_not_lose_the_result_of_a_call_that_took_effect(
    hasty: Facade, model: ScriptedModel, tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, keeping, go_on = ToolJournal.finish, asyncio.Event(), asyncio.Event()

    async def slow(self: ToolJournal, *args: Any, **keywords: Any) -> None:
        keeping.set()
        await go_on.wait()
        await real(self, *args, **keywords)

    monkeypatch.setattr(ToolJournal, "finish", slow)
    model.script(Answer(calls=[echo("x")]))
    request = asyncio.create_task(hasty.ask("go"))
    await asyncio.wait_for(keeping.wait(), 10)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await awaited(hasty.http, hasty.url, lambda seen: seen("interlock_turns_total", status="stopped") == 1)
    go_on.set()
    with closing(sqlite3.connect(tmp_path / "data" / "interlock.db")) as database:
        async with asyncio.timeout(10):
            while database.execute("SELECT finished FROM journal").fetchall() != [(1,)]:
                await asyncio.sleep(0.01)
    assert "echo x" in tools.ran()


async def test_silence_is_bridged_with_comments(
    configs: Path, tmp_path: Path, keys: None, model: ScriptedModel, tools: Tools
) -> None:
    hold = tmp_path / "hold"
    model.script(Answer(calls=[Call("files__busy", {"hold": str(hold)})]), "Done.")
    lines: list[str] = []
    async with (
        serving(configs, tmp_path / "data", heartbeat=0.05) as facade,
        facade.http.stream(
            "POST",
            f"{facade.url}/chat/completions",
            json={"model": "assistant", "stream": True, "messages": [{"role": "user", "content": "go"}]},
            headers={"authorization": f"Bearer {ADMIN}"},
        ) as response,
    ):
        async for line in response.aiter_lines():
            lines.append(line)
            if line.startswith(":"):
                hold.touch()
    assert any(line.startswith(": ") for line in lines)
    assert content("\n".join(lines)) == "Done."


async def test_progress_that_the_client_does_not_see_is_no_sign_of_life(
    configs: Path, tmp_path: Path, keys: None, model: ScriptedModel, tools: Tools
) -> None:
    hold = tmp_path / "hold"
    model.script(Answer(calls=[Call("files__report", {"hold": str(hold)})]), "Done.")
    beats = 0
    async with (
        serving(configs, tmp_path / "data", heartbeat=0.05) as facade,
        facade.streaming("go") as lines,
    ):
        async for line in lines:
            beats += line.startswith(":")
            if beats == 5:
                hold.touch()
    assert beats >= 5


async def test_a_litellm_model_on_offer_runs_through_the_default_graph(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.models = ("gpt-x", "assistant")
    model.script(Answer(calls=[echo("x")]), "Done.")
    response = await facade.ask("go", model="gpt-x")
    assert response.json()["model"] == "gpt-x"
    assert model.requests[0].body["model"] == "gpt-x"
    assert tools.ran() == ["echo x"]


async def test_sampling_fields_reach_the_model_verbatim(facade: Facade, model: ScriptedModel) -> None:
    model.script("ok")
    fields = {
        "temperature": 0.1,
        "top_p": 0.2,
        "max_tokens": 33,
        "seed": 7,
        "stop": ["END"],
        "reasoning_effort": "low",
        "response_format": {"type": "json_object"},
        "user": "u",
    }
    await facade.say("go", **fields, unknown_field=1)
    sent = model.requests[0].body
    assert {name: sent[name] for name in fields} == fields
    assert sent["unknown_field"] == 1


async def test_the_official_client_gets_its_own_error_classes(facade: Facade, model: ScriptedModel) -> None:
    async with facade.client("ilk_wrong") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()
    async with facade.client() as client:
        with pytest.raises(openai.NotFoundError, match="nosuch"):
            await client.chat.completions.create(model="nosuch", messages=[{"role": "user", "content": "x"}])
        model.script(Answer(status=429, headers={"retry-after": "23"}))
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "x"}])
    assert caught.value.response.headers["retry-after"] == "23"


@pytest.mark.usefixtures("brief_pauses")
async def test_a_failure_before_the_first_word_is_retried(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer(status=503), Answer(status=500), "Here.")
    assert await facade.say("go") == "Here."


async def test_a_cut_stream_ends_with_one_error_chunk_and_done(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer("one two three", cut_after=2))
    raw = await facade.stream("go")
    assert content(raw)
    assert [event["error"]["code"] for event in events(raw) if "error" in event] == ["upstream_unavailable"]
    assert raw.endswith("data: [DONE]\n\n")


@pytest.mark.usefixtures("brief_pauses")
async def test_a_dead_model_endpoint_is_a_502_in_words(tmp_path: Path, tools: Tools, keys: None) -> None:
    folder = write_configs(tmp_path / "c", "http://127.0.0.1:9/v1", {"files": {"url": tools.url}})
    async with serving(folder, tmp_path / "data") as facade:
        response = await facade.ask("go")
        ready = (await facade.ready()).json()
    assert response.status_code == 502
    assert "LITELLM_BASE_URL" in response.json()["error"]["message"]
    assert ready["status"] == "degraded"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", ""),
        (b'{"messages": []}', "model"),
        (b'{"model": "assistant"}', "messages"),
        (b'{"model": "assistant", "messages": []}', "messages"),
        (b'{"model": "assistant", "messages": [{"role": "wizard", "content": "x"}]}', "messages.0.role"),
        (b'{"model": "assistant", "messages": [{"role": "user", "content": "x"}], "n": 2}', "n"),
    ],
)
async def test_a_body_that_is_not_valid_is_a_400_naming_the_field(facade: Facade, body: bytes, field: str) -> None:
    response = await facade.http.post(
        f"{facade.url}/chat/completions", content=body, headers={"authorization": f"Bearer {ADMIN}"}
    )
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert (error["param"] or "") == field


async def test_a_role_that_may_not_use_the_graph_gets_a_403(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    access = {
        "roles": {"admin": {"allow": ["*"]}, "developer": {"allow": ["*"], "graphs": ["other"]}},
        "keys": [
            {"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"},
            {"name": "developer", "role": "developer", "env": "INTERLOCK_DEVELOPER_KEY"},
        ],
    }
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=access)
    async with serving(folder, tmp_path / "data") as facade:
        response = await facade.ask("go", key=DEVELOPER)
        listed = await facade.http.get(f"{facade.url}/models", headers={"authorization": f"Bearer {DEVELOPER}"})
    assert response.status_code == 403
    assert "developer" in response.json()["error"]["message"]
    assert listed.json()["data"] == []


async def test_models_are_listed_for_those_who_may_use_them(facade: Facade, model: ScriptedModel) -> None:
    response = await facade.http.get(f"{facade.url}/models", headers={"authorization": f"Bearer {ADMIN}"})
    assert [(entry["id"], entry["owned_by"]) for entry in response.json()["data"]] == [
        ("assistant", "interlock"),
        ("scripted", "litellm"),
    ]
    one = await facade.http.get(f"{facade.url}/models/assistant", headers={"authorization": f"Bearer {ADMIN}"})
    assert one.json()["id"] == "assistant"
    assert (await facade.http.get(f"{facade.url}/models")).status_code == 401


async def test_ready_names_servers_and_graphs(facade: Facade) -> None:
    response = await facade.ready()
    ready = response.json()
    assert response.status_code == 200
    assert (ready["status"], ready["graphs"], ready["problems"]) == (
        "ok",
        {"assistant": {"status": "ok", "reason": None}},
        [],
    )
    assert ready["servers"]["files"]["status"] == "up"
    assert "files/echo" in ready["servers"]["files"]["tools"] or "echo" in ready["servers"]["files"]["tools"]


@pytest.mark.parametrize("key", [None, "ilk_nobody", "two words"])
async def test_ready_tells_strangers_only_that_it_works(facade: Facade, key: str | None) -> None:
    response = await facade.ready(key)
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "snapshot": (await facade.ready()).json()["snapshot"]}
    assert (await facade.ready(DEVELOPER)).json()["servers"]["files"]["status"] == "up"


async def test_ready_tells_everybody_where_the_operator_wants_that(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}})
    with (folder / "gateway.yaml").open("a") as gateway:
        gateway.write("ready: public\n")
    async with serving(folder, tmp_path / "data") as facade:
        assert (await facade.ready(None)).json() == (await facade.ready()).json()


async def test_a_dead_server_costs_only_its_own_tools(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    servers = {
        "files": {"url": tools.url},
        "gone": {"url": "http://127.0.0.1:9/mcp"},
        "missing": {"command": "no-such-program-anywhere"},
    }
    folder = write_configs(tmp_path / "c", model.url, servers)
    model.script(Answer(calls=[echo("x")]), "Done.")
    async with serving(folder, tmp_path / "data") as facade:
        assert await facade.say("go") == "Done."
        ready = (await facade.ready()).json()
    assert tools.ran() == ["echo x"]
    assert ready["status"] == "degraded"
    assert "no-such-program-anywhere: not found" in ready["servers"]["missing"]["reason"]
    assert ready["servers"]["gone"]["status"] == "down"


async def test_tool_failures_are_results_for_the_model(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer(calls=[Call("files__fails"), Call("files__big", {"size": 4_000_000})]), "Done.")
    assert await facade.say("go") == "Done."
    failed, big = model.requests[1].tool_results
    assert "no such table: customers" in failed
    assert len(big) < 100_000


async def test_unknown_paths_answer_in_openais_error_body(facade: Facade) -> None:
    response = await facade.http.get(f"{facade.url}/nothing")
    assert response.status_code == 404
    assert "error" in response.json()


async def test_a_model_that_falls_silent_is_given_up_in_words(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, timeout="0.3s")
    model.script(Answer("one two three", stall_after=2), Answer("x", stall_after=0))
    async with serving(folder, tmp_path / "data") as facade:
        raw = await facade.stream("go")
        before = await facade.ask("go")
    assert "said nothing for 0.3 seconds" in raw
    assert raw.endswith("data: [DONE]\n\n")
    assert before.status_code == 504


async def test_a_tool_that_hangs_and_one_that_dies_are_results_in_words(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    servers = {
        "files": {"url": tools.url, "timeout": "0.3s"},
        "frail": {"command": sys.executable, "args": [str(SERVER), "stdio"]},
    }
    folder = write_configs(tmp_path / "c", model.url, servers)
    model.script(Answer(calls=[Call("files__hang", {"mark": "h"}), Call("frail__die"), echo("fine")]), "Done.")
    async with serving(folder, tmp_path / "data") as facade:
        assert await facade.say("go") == "Done."
    hung, died, fine = model.requests[1].tool_results
    assert "0.3" in hung
    assert "unknown" in died
    assert fine == "fine"


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(
    configs: Path, tmp_path: Path, keys: None, model: ScriptedModel
) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 1000

    async with serving(configs, tmp_path / "data", max_body=10_000) as facade:
        headers = {"authorization": f"Bearer {ADMIN}"}
        known = await facade.http.post(f"{facade.url}/chat/completions", content=b" " * 20_000, headers=headers)
        chunked = await facade.http.post(f"{facade.url}/chat/completions", content=endless(), headers=headers)
    assert (known.status_code, chunked.status_code) == (413, 413)
    assert "10000 bytes" in known.json()["error"]["message"]


async def test_the_callers_key_is_passed_on_where_spend_is_to_be_theirs(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, key="caller")
    model.script(Answer(calls=[echo("x")]), "Done.")
    async with serving(folder, tmp_path / "data") as facade:
        assert await facade.say("go") == "Done."
        model.script("A title")
        await facade.say("### Task: a title", headers={"x-openwebui-task": "title_generation"})
    assert [request.headers["authorization"] for request in model.requests] == [f"Bearer {ADMIN}"] * 3
    assert ADMIN.encode() not in (tmp_path / "data" / "interlock.db").read_bytes()


async def test_a_road_that_leads_back_here_is_ended_in_words(facade: Facade, model: ScriptedModel) -> None:
    model.script("Hello.")
    await facade.say("hi")
    hop = {"x-interlock-hop": model.requests[0].headers["x-interlock-hop"]}
    response = await facade.ask("hi", headers=hop)
    assert response.status_code == 508
    assert "leads to Interlock itself" in response.json()["error"]["message"]


async def test_a_message_without_a_role_is_refused_by_name(facade: Facade, model: ScriptedModel) -> None:
    for message in ({"content": "hi"}, {"role": None, "content": "hi"}, {"role": "root", "content": "hi"}, {}):
        response = await facade.ask("hello", message)
        assert response.status_code == 400
        error = response.json()["error"]
        assert error["param"] == "messages.1.role"
        assert "messages.1.role: " in error["message"]
        assert all(
            role in error["message"] for role in ("system", "developer", "user", "assistant", "tool", "function")
        )
    assert model.requests == []


async def test_a_history_that_was_never_seen_gets_nobodys_results(facade: Facade, model: ScriptedModel) -> None:
    for number in range(3):
        model.script(Answer(calls=[echo(f"secret {number}")]), "Done.")
        assert await facade.say(f"look up {number}") == "Done."
    model.script("What?")
    await facade.say("never said", said("Done."), "and now?")
    assert [message["role"] for message in model.requests[-1].messages] == ["system", "user", "assistant", "user"]
    model.script("Yes.")
    await facade.say("look up 1", said("Done."), "and now?")
    assert model.requests[-1].tool_results == ["secret 1"]
