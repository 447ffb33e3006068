"""What Open WebUI sends and accepts (its requests are plain HTTP here; the browser is in tests/e2e)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, ADMIN, DEVELOPER, Facade, content, events, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

WEBUI = {"x-openwebui-chat-id": "chat-1"}
ASK_USER: dict[str, Any] = {"type": "function", "function": {"name": "ask_user", "parameters": {"type": "object"}}}
SEARCH: dict[str, Any] = {"type": "function", "function": {"name": "search_chats", "parameters": {"type": "object"}}}


def echo(text: str) -> Call:
    return Call("files__echo", {"text": text})


def write(text: str) -> Call:
    return Call("files__write", {"text": text})


def panel(raw: str) -> dict[str, Any]:
    """The `ask_user` call that ends a stream."""
    calls = [
        call
        for event in events(raw)
        for choice in event.get("choices") or ()
        for call in choice["delta"].get("tool_calls") or ()
    ]
    assert [call["function"]["name"] for call in calls] == ["ask_user"]
    assert '"finish_reason":"tool_calls"' in raw
    return calls[0]


def asked(call: dict[str, Any]) -> list[dict[str, Any]]:
    return json.loads(call["function"]["arguments"])["questions"]


def answer(call: dict[str, Any], *labels: str) -> list[dict[str, Any]]:
    """The two messages that Open WebUI sends back after a click."""
    answers = {
        question["id"]: {"type": "option", "option_index": index, "label": label, "description": ""}
        for index, (question, label) in enumerate(zip(asked(call), labels, strict=True))
    }
    message = {"role": "assistant", "content": "", "tool_calls": [{k: call[k] for k in ("id", "type", "function")}]}
    result = {"status": "answered", "answers": answers}
    return [message, {"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)}]


async def test_calls_are_shown_as_items_each_with_its_output_and_nothing_as_tool_calls(
    facade: Facade, model: ScriptedModel
) -> None:
    model.script(Answer("Look: ", calls=[echo("x")]), "Done.")
    raw = await facade.stream("go", headers=WEBUI)
    shape = [
        (event["type"].removeprefix("response.output_item."), event["output_index"], event["item"]["type"])
        for event in events(raw)
        if "item" in event
    ]
    assert shape == [
        ("added", 1, "function_call"),
        ("done", 1, "function_call"),
        ("added", 2, "function_call_output"),
    ]
    assert content(raw) == "Look: \n\nDone."
    assert '"tool_calls"' not in raw


async def test_injected_tools_are_ignored(facade: Facade, model: ScriptedModel) -> None:
    model.script("Hello.")
    await facade.stream("go", headers=WEBUI, tools=[SEARCH, ASK_USER])
    assert "search_chats" not in model.requests[0].tools
    assert "ask_user" not in model.requests[0].tools


async def test_a_write_asks_with_buttons_reject_first_and_approve_runs_it_once(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer("I will write.", calls=[write("x")]), "Written.", "Yes, it is.")
    raw = await facade.stream("write x", headers=WEBUI, tools=[ASK_USER])
    call = panel(raw)
    (question,) = asked(call)
    assert [option["label"] for option in question["options"]] == ["Reject", "Approve"]
    assert "files/write" in question["question"]
    assert '"text": "x"' in question["question"]
    assert "access.yaml:" in question["options"][1]["description"]
    assert "approve " not in content(raw)

    reply = answer(call, "Approve")
    again = await facade.stream("write x", *reply, headers=WEBUI, tools=[ASK_USER])
    assert content(again) == "Written."
    assert tools.ran() == ["write x"]
    assert model.requests[1].tool_results == ["written"]

    # What Open WebUI keeps of it: the panel, the call with its output, and the texts.
    item = next(event["item"] for event in events(again) if event.get("item", {}).get("type") == "function_call")
    kept = [
        "write x",
        *reply,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": item["call_id"], "type": "function", "function": {"name": item["name"], "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": item["call_id"], "content": "written"},
        {"role": "assistant", "content": "Written."},
        "is it?",
    ]
    await facade.stream(*kept, headers=WEBUI, tools=[ASK_USER])
    sent = model.requests[2].messages
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert [call["function"]["name"] for call in sent[2]["tool_calls"]] == ["files__write"]
    assert tools.ran() == ["write x"]


async def test_reject_cancel_and_anything_but_an_exact_approve_run_nothing(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    for label in ("Reject", "approve", "Approve!", "Yes"):
        model.script(Answer(calls=[write("x")]), "All right.")
        call = panel(await facade.stream("write x", headers=WEBUI, tools=[ASK_USER]))
        raw = await facade.stream("write x", *answer(call, label), headers=WEBUI, tools=[ASK_USER])
        assert content(raw) == "All right."
    model.script(Answer(calls=[write("x")]), "All right.")
    call = panel(await facade.stream("write x", headers=WEBUI, tools=[ASK_USER]))
    cancelled = answer(call, "Approve")
    cancelled[1]["content"] = "Error: tool call rejected by user."
    assert content(await facade.stream("write x", *cancelled, headers=WEBUI)) == "All right."
    assert tools.ran() == []


async def test_a_changed_replayed_or_foreign_answer_runs_nothing_and_says_why(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[write("x")]), "Written.")
    call = panel(await facade.stream("write x", headers=WEBUI, tools=[ASK_USER]))

    foreign = await facade.stream("write x", *answer(call, "Approve"), headers=WEBUI, key=DEVELOPER)
    assert "not asked of you" in content(foreign)

    changed = json.loads(json.dumps(call))
    changed["function"]["arguments"] = changed["function"]["arguments"].replace('\\"x\\"', '\\"y\\"')
    assert changed != call
    raw = await facade.stream("write x", *answer(changed, "Approve"), headers=WEBUI, key=ADMIN)
    assert "not the one that was asked" in content(raw)
    assert tools.ran() == []

    assert content(await facade.stream("write x", *answer(call, "Approve"), headers=WEBUI)) == "Written."
    replayed = await facade.stream("write x", *answer(call, "Approve"), headers=WEBUI)
    assert "already approved" in content(replayed)
    assert tools.ran() == ["write x"]


@pytest.mark.parametrize(("decision", "label"), [("approve", "Reject"), ("reject", "Approve"), ("approve", "Approve")])
async def test_a_click_after_a_decision_by_api_goes_on_from_that_decision(
    facade: Facade, model: ScriptedModel, tools: Tools, decision: str, label: str
) -> None:
    model.script(Answer(calls=[write("x")]), "Done.")
    call = panel(await facade.stream("write x", headers=WEBUI, tools=[ASK_USER]))
    approval = asked(call)[0]["id"]
    bearer = {"authorization": f"Bearer {ADMIN}"}
    address = f"{facade.url}/approvals/{approval}"
    assert (await facade.http.post(address, json={"decision": decision}, headers=bearer)).status_code == 200

    said_then = content(await facade.stream("write x", *answer(call, label), headers=WEBUI, tools=[ASK_USER]))
    assert said_then.endswith("Done.")
    assert ("already" in said_then) == (label.lower() != decision)
    assert tools.ran() == (["write x"] if decision == "approve" else [])


async def test_four_calls_are_asked_on_two_panels(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer(calls=[write(letter) for letter in "abcd"]), "Done.")
    first = panel(await facade.stream("write", headers=WEBUI, tools=[ASK_USER]))
    assert len(asked(first)) == 3
    reply = answer(first, "Approve", "Reject", "Approve")
    second = panel(await facade.stream("write", *reply, headers=WEBUI, tools=[ASK_USER]))
    assert len(asked(second)) == 1
    assert second["id"] != first["id"]
    raw = await facade.stream("write", *reply, *answer(second, "Approve"), headers=WEBUI, tools=[ASK_USER])
    assert content(raw) == "Done."
    assert sorted(tools.ran()) == ["write a", "write c", "write d"]


@pytest.fixture
async def for_people(tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None) -> AsyncIterator[Facade]:
    """A facade whose key `admin` is a chat page's, which asks for its people."""
    access = {**ACCESS, "keys": [{**key, "forwards_users": key["name"] == "admin"} for key in ACCESS["keys"]]}
    configs = write_configs(tmp_path / "people", model.url, {"files": {"url": tools.url}}, access=access)
    async with serving(configs, tmp_path / "data of people") as running:
        yield running


@pytest.mark.parametrize("form", ["header", "shape"])
async def test_who_only_says_to_be_a_background_task_gets_the_graphs_prompt(
    for_people: Facade, model: ScriptedModel, form: str
) -> None:
    model.script("Hello.")
    headers = {**WEBUI, "x-openwebui-user-name": "Eve", "x-openwebui-user-role": "admin"}
    if form == "header":
        await for_people.ask("hi", key=DEVELOPER, headers={**headers, "x-openwebui-task": "title_generation"})
    else:
        await for_people.ask("### Task:\nSay anything.", key=DEVELOPER, headers=headers)
    assert model.requests[0].messages[0] == {"role": "system", "content": "You help developer."}
    assert model.requests[0].tools != []


async def test_background_tasks_go_to_the_model_alone(for_people: Facade, model: ScriptedModel, tools: Tools) -> None:
    facade = for_people
    prompt = "### Task:\nWrite a title for this chat: USER: echo x"
    model.script('{"title": "X"}', '{"title": "Y"}', "Hello.")
    by_shape = await facade.http.post(
        f"{facade.url}/chat/completions",
        json={"model": "assistant", "messages": [{"role": "user", "content": prompt}], "max_tokens": 1000},
        headers={"authorization": f"Bearer {ADMIN}", **WEBUI},
    )
    by_header = await facade.stream("anything", headers={**WEBUI, "x-openwebui-task": "title_generation"})
    chat = await facade.stream("### Task: look", headers={**WEBUI, "x-openwebui-task": ""})

    assert by_shape.json()["choices"][0]["message"]["content"] == '{"title": "X"}'
    assert content(by_header) == '{"title": "Y"}'
    assert content(chat) == "Hello."
    assert [bool(request.tools) for request in model.requests] == [False, False, True]
    assert [message["role"] for message in model.requests[0].messages] == ["user"]
    assert model.requests[0].body["max_tokens"] == 1000
    assert model.requests[0].body["model"] == "scripted"
    assert tools.ran() == []


async def test_two_user_messages_in_a_row_after_an_error_are_accepted(facade: Facade, model: ScriptedModel) -> None:
    model.script("Hello.")
    assert content(await facade.stream("first", "second", headers=WEBUI)) == "Hello."
    assert [message["role"] for message in model.requests[0].messages] == ["system", "user", "user"]


async def test_regenerate_sends_the_model_the_same_request_again(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[echo("4711")]), "One.", "Two.", "Three.")
    first = await facade.stream("look", headers=WEBUI)
    item = next(event["item"] for event in events(first) if event.get("item", {}).get("type") == "function_call")
    kept = [
        "look",
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": item["call_id"],
                    "type": "function",
                    "function": {"name": item["name"], "arguments": item["arguments"]},
                }
            ],
        },
        {"role": "tool", "tool_call_id": item["call_id"], "content": "4711"},
        {"role": "assistant", "content": "One."},
        "and now?",
    ]
    await facade.stream(*kept, headers=WEBUI)
    await facade.stream(*kept, headers=WEBUI)
    assert model.requests[2].messages == model.requests[3].messages
    assert tools.ran() == ["echo 4711"]


async def test_the_model_list_keeps_injected_tools_away(facade: Facade) -> None:
    response = await facade.http.get(f"{facade.url}/models", headers={"authorization": f"Bearer {ADMIN}", **WEBUI})
    meta = response.json()["data"][0]["info"]["meta"]
    assert meta["capabilities"]["usage"] is True
    switched = meta["builtinTools"]
    assert switched["user_input"] is True
    assert not any(value for name, value in switched.items() if name != "user_input")


async def test_reasoning_is_passed_through(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer("Four.", reasoning="two and two"))
    raw = await facade.stream("2+2", headers=WEBUI)
    thoughts = [
        choice["delta"]["reasoning_content"]
        for event in events(raw)
        for choice in event.get("choices") or ()
        if "reasoning_content" in choice["delta"]
    ]
    assert "".join(thoughts) == "two and two"


async def test_a_long_tool_reports_its_progress_as_status_events(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer(calls=[Call("files__steps")]), "Done.", Answer(calls=[Call("files__steps")]), "Done.")
    raw = await facade.stream("go", headers=WEBUI)
    shown = [event["event"]["data"]["description"] for event in events(raw) if "event" in event]
    assert shown == ["files/steps: half way (1 of 2)", "files/steps: 2 of 2"]
    assert "half way" not in await facade.stream("go")


async def test_tool_images_reach_the_model_and_the_page_and_come_back_without_harm(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("files__picture")]), "A pixel.", "As I said.")
    raw = await facade.stream("show", headers=WEBUI)
    (output,) = [event["item"] for event in events(raw) if event.get("item", {}).get("type") == "function_call_output"]
    assert [part["type"] for part in output["output"]] == ["input_text", "input_image"]
    image = output["output"][1]["image_url"]
    assert image.startswith("data:image/png;base64,")

    sent = model.requests[1].messages
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert sent[3]["content"] == "a picture"
    assert sent[5]["content"][1] == {"type": "image_url", "image_url": {"url": image}}

    invented = "Here are the images from the tool results above. Please analyze them."
    kept = [
        "show",
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": output["call_id"], "type": "function", "function": {"name": "files/picture", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": output["call_id"], "content": "a picture"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": invented},
                {"type": "image_url", "image_url": {"url": image}},
            ],
        },
        {"role": "assistant", "content": "A pixel."},
        "sure?",
    ]
    await facade.stream(*kept, headers=WEBUI)
    again = model.requests[2].messages
    assert [message["role"] for message in again] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert again[:6] == sent


async def test_a_key_or_header_of_the_client_does_not_reach_the_model_unless_asked(
    facade: Facade, model: ScriptedModel
) -> None:
    model.script("Hello.")
    await facade.stream("hi", headers=WEBUI)
    assert model.requests[0].headers["authorization"] == "Bearer sk-of-the-tests"
    assert ADMIN not in json.dumps(dict(model.requests[0].headers))


async def test_citations_of_the_model_are_passed_through(facade: Facade, model: ScriptedModel) -> None:
    note = {"type": "url_citation", "url_citation": {"url": "https://example.org/a", "title": "A"}}
    lines = [
        {"choices": [{"index": 0, "delta": {"content": "So it says."}}]},
        {"choices": [{"index": 0, "delta": {"annotations": [note]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    chunks = [f"data: {json.dumps(line)}\n\n".encode() for line in lines] + [b"data: [DONE]\n\n"]
    model.script(Answer(raw=chunks), Answer(raw=chunks))
    raw = await facade.stream("source?", headers=WEBUI)
    whole = (await facade.ask("source?")).json()["choices"][0]["message"]
    assert [
        choice["delta"]["annotations"]
        for event in events(raw)
        for choice in event["choices"]
        if "annotations" in choice["delta"]
    ] == [[note]]
    assert whole["annotations"] == [note]


def masked(raw: str) -> str:
    """A stream without what differs from run to run: times, and ids, which are numbered instead."""
    seen: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        kind = "approval" if len(match[0]) == 8 else match[0].split("_")[0].split("-")[0]
        return seen.setdefault(match[0], f"<{kind} {len(seen) + 1}>")

    raw = re.sub(r'"created":\d+', '"created":…', raw)
    raw = re.sub(r"chatcmpl-[0-9a-f]+|call_[0-9a-f]{32}(_[a-z2-7]{8})?", number, raw)
    return re.sub(r'(?<=\\"id\\":\\")[a-z2-7]{8}(?=\\")', number, raw)


async def test_the_whole_stream_of_a_turn_with_a_card_a_refusal_and_a_question(
    facade: Facade, model: ScriptedModel, tools: Tools, tmp_path: Path
) -> None:
    model.script(
        Answer("Looking.", calls=[echo("x")], reasoning="hm", usage=(10, 5)),
        Answer("More.", calls=[Call("files__nosuch", {"a": 1}), write("y")], usage=(20, 6)),
    )
    raw = await facade.stream("go", headers=WEBUI, tools=[SEARCH, ASK_USER], stream_options={"include_usage": True})
    raw += "=== after Approve\n\n"
    model.script(Answer("Written.", usage=(30, 7)))
    call = panel(raw)
    raw += await facade.stream("go", *answer(call, "Approve"), headers=WEBUI, tools=[ASK_USER])
    found = tmp_path / "openwebui_turn.txt"
    found.write_text(masked(raw))
    kept = (Path(__file__).parents[1] / "transcripts") / found.name
    assert found.read_text() == kept.read_text(), f"if this change is wanted, read it and copy {found}"


async def test_two_models_in_one_chat_each_go_on_with_what_their_own_tools_said(
    facade: Facade, model: ScriptedModel
) -> None:
    model.models = ("left", "right")

    def respond(body: dict[str, Any]) -> Answer | str:
        results = [message for message in body["messages"] if message["role"] == "tool"]
        return "Looked." if results else Answer(calls=[echo(f"seen by {body['model']}")])

    model.respond(respond)
    await asyncio.gather(
        *(
            facade.stream("look", model=name, headers={**WEBUI, "x-openwebui-message-id": f"answer-{name}"})
            for name in ("left", "right")
        )
    )
    for name in ("left", "right"):
        follows = {**WEBUI, "x-openwebui-user-message-parent-id": f"answer-{name}"}
        await facade.stream("look", said("Looked."), "and?", model=name, headers=follows)
        assert model.requests[-1].tool_results == [f"seen by {name}"]


async def test_a_question_that_was_rewritten_for_retrieval_is_still_the_same_conversation(
    facade: Facade, model: ScriptedModel
) -> None:
    model.script(Answer(calls=[echo("4711")]), "Looked.", "As I said.")
    await facade.stream("Use this context: …\n\nlook", headers=WEBUI)
    await facade.stream("look", said("Looked."), "Use this context: …\n\nand?", headers=WEBUI)
    assert model.requests[-1].tool_results == ["4711"]
