"""What vendors want back with an answer: their own ids, thoughts with their signatures, and messages in their order."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from support.facade import ASSISTANT, Facade, content, events, said, serving, write_configs
from support.scripted_model import Answer, ScriptedModel
from support.tool_server import Tools

FIELDS = ("reasoning_content", "reasoning", "thinking_blocks", "reasoning_details", "extra_content")
THOUGHT = {"type": "thinking", "thinking": "I look first.", "signature": "c2ln"}


def stream(*deltas: dict[str, Any], finish: str = "tool_calls") -> Answer:
    """An answer whose stream has these deltas, one an event."""
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    lines = [b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n" for choice in choices]
    return Answer(raw=[*lines, b"data: [DONE]\n\n"])


def call(name: str, args: dict[str, Any], id: str, **more: Any) -> dict[str, Any]:
    """A delta with a whole call."""
    function = {"name": name, "arguments": json.dumps(args)}
    return {"tool_calls": [{"index": 0, "id": id, "type": "function", "function": function, **more}]}


THINKING = (
    {"reasoning_content": "I look ", "thinking_blocks": [{"type": "thinking", "thinking": "I look ", "index": 0}]},
    {"reasoning_content": "first.", "thinking_blocks": [{"type": "thinking", "thinking": "first.", "index": 0}]},
    {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "c2ln", "index": 0}]},
)
"""As LiteLLM streams what Anthropic thinks."""


def carried(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name in FIELDS}


async def test_thoughts_and_ids_go_back_within_the_turn_and_in_the_next(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    final = {"type": "thinking", "thinking": "Enough.", "signature": "ZW5k"}
    model.script(
        stream(*THINKING, call("files__echo", {"text": "4711"}, "toolu_01")),
        stream(
            {"reasoning_content": "Enough.", "thinking_blocks": [final]},
            {"content": "It is 4711."},
            finish="stop",
        ),
        "Yes.",
    )
    raw = await facade.stream("look it up", headers={"x-interlock-tools": "items"})
    answer = content(raw)
    asked, result = model.requests[1].messages[-2:]
    assert carried(asked) == {"reasoning_content": "I look first.", "thinking_blocks": [THOUGHT]}
    assert asked["tool_calls"][0]["id"] == result["tool_call_id"] == "toolu_01"
    assert "toolu_01" not in raw
    assert "provider_fields" not in json.dumps(model.requests[1].body)

    assert await facade.say("look it up", said(answer), "sure?") == "Yes."
    _, _, again, result, told, _ = model.requests[2].messages
    assert carried(again) == carried(asked)
    assert again["tool_calls"][0]["id"] == result["tool_call_id"] == "toolu_01"
    assert (told["content"], carried(told)) == (
        "It is 4711.",
        {"reasoning_content": "Enough.", "thinking_blocks": [final]},
    )


async def test_thoughts_of_an_answer_without_tools_go_back_in_the_next_turn(
    facade: Facade, model: ScriptedModel
) -> None:
    model.script(stream(*THINKING, {"content": "Hello."}, finish="stop"), "Again.")
    answer = await facade.say("hi")
    await facade.say("hi", said(answer), "and?")
    assert carried(model.requests[1].messages[2]) == {
        "reasoning_content": "I look first.",
        "thinking_blocks": [THOUGHT],
    }


async def test_thoughts_and_ids_go_back_after_an_approval_in_another_process(
    configs: Path, tmp_path: Path, keys: None, model: ScriptedModel, tools: Tools
) -> None:
    model.script(stream(*THINKING, call("files__write", {"text": "x"}, "D681PevKs")), "Written.", "Yes.")
    async with serving(configs, tmp_path / "data") as facade:
        question = await facade.say("write x")
    async with serving(configs, tmp_path / "data") as facade:
        approval = re.findall(r"`approve ([a-z2-7]{8})`", question)[0]
        conversation = ("write x", said(question), f"approve {approval}")
        answer = await facade.say(*conversation)
        assert tools.ran() == ["write x"]
        await facade.say(*conversation, said(answer), "sure?")
    for request in model.requests[1:]:
        asked = next(message for message in request.messages if message.get("tool_calls"))
        result = next(message for message in request.messages if message["role"] == "tool")
        assert carried(asked) == {"reasoning_content": "I look first.", "thinking_blocks": [THOUGHT]}
        assert asked["tool_calls"][0]["id"] == result["tool_call_id"] == "D681PevKs"


async def test_what_another_model_wrote_stays_here(
    tmp_path: Path, keys: None, model: ScriptedModel, tools: Tools
) -> None:
    agent = {**ASSISTANT["nodes"]["agent"], "model": "another"}
    other = {**ASSISTANT, "nodes": {**ASSISTANT["nodes"], "agent": agent}}
    configs = write_configs(
        tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": ASSISTANT, "other": other}
    )
    id = "call_5__thought__" + "c2ln" * 100
    model.script(stream(*THINKING, call("files__echo", {"text": "1"}, id)), "It is 1.", "Yes.", "Yes.")
    async with serving(configs, tmp_path / "data") as facade:
        answer = await facade.say("look")
        await facade.say("look", said(answer), "sure?", model="other")
        await facade.say("look", said(answer), "sure?")
    foreign, own = (next(m for m in request.messages if m.get("tool_calls")) for request in model.requests[2:])
    assert carried(foreign) == {}
    assert re.fullmatch(r"[0-9A-Za-z]{9}", foreign["tool_calls"][0]["id"])
    assert model.requests[2].messages[3]["tool_call_id"] == foreign["tool_calls"][0]["id"]
    assert carried(own)["thinking_blocks"] == [THOUGHT]
    assert own["tool_calls"][0]["id"] == id


async def test_fields_of_calls_and_of_a_whole_answer_go_back_as_they_came(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    google = {"google": {"thought_signature": "Z29v"}}
    details = [
        {"type": "reasoning.text", "text": "a", "index": 0},
        {"type": "reasoning.text", "text": "b", "index": 0},
    ]
    asked = {
        "id": "c1",
        "type": "function",
        "extra_content": google,
        "function": {"name": "files__echo", "arguments": '{"text": "1"}', "provider_specific_fields": {"a": [1]}},
        "provider_specific_fields": {"thought_signature": "Z29v"},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [asked], "reasoning_details": details}
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).encode()
    model.script(Answer(raw=[body], headers={"content-type": "application/json"}), "Done.")
    assert await facade.say("look") == "Done."
    sent = model.requests[1].messages[2]
    assert sent["tool_calls"] == [asked]
    assert sent["reasoning_details"] == details


async def test_details_that_come_in_pieces_go_back_as_blocks(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    def detail(**fields: Any) -> dict[str, Any]:
        return {"reasoning_details": [{"index": 0, "format": "f", **fields}]}

    model.script(
        stream(
            detail(type="reasoning.text", text="Let", signature=None),
            detail(type="reasoning.text", text=" me see."),
            detail(type="reasoning.text", signature="c2ln"),
            detail(type="reasoning.text", text="Then"),
            detail(type="reasoning.text", text=" this.", signature="ZW5k"),
            detail(type="reasoning.encrypted", data="QUJD", id="e1"),
            detail(type="reasoning.encrypted", data="REVG", id="e2"),
            call("files__echo", {"text": "1"}, "c1"),
        ),
        "Done.",
    )
    await facade.say("look")
    kind = {"index": 0, "format": "f", "type": "reasoning.text"}
    assert model.requests[1].messages[2]["reasoning_details"] == [
        {**kind, "text": "Let me see.", "signature": "c2ln"},
        {**kind, "text": "Then this.", "signature": "ZW5k"},
        {"index": 0, "format": "f", "type": "reasoning.encrypted", "data": "QUJD", "id": "e1"},
        {"index": 0, "format": "f", "type": "reasoning.encrypted", "data": "REVG", "id": "e2"},
    ]


async def test_ids_that_are_the_same_or_empty_are_told_apart(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    def pair(first: str, second: str) -> Answer:
        one = call("files__echo", {"text": "1"}, first)["tool_calls"][0]
        two = call("files__echo", {"text": "2"}, second)["tool_calls"][0]
        return stream({"tool_calls": [one, {**two, "index": 1}]})

    model.script(pair("c1", "c1"), pair("c1", ""), "Done.")
    assert await facade.say("look") == "Done."
    messages = model.requests[2].messages
    asked = [each["id"] for message in messages for each in message.get("tool_calls") or ()]
    answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert asked == answered
    assert len(set(asked)) == 4
    assert asked[0] == "c1"
    assert model.requests[2].tool_results == ["1", "2", "1", "2"]


async def test_what_a_client_sends_of_this_goes_on_as_it_is(facade: Facade, model: ScriptedModel) -> None:
    earlier = {**said("Hello."), "reasoning_content": "Greet.", "thinking_blocks": [THOUGHT]}
    model.script("ok")
    await facade.say("hi", {**earlier, "provider_fields": {"model": "scripted", "message": {"x": 1}}}, "and?")
    assert model.requests[0].messages[2] == earlier


async def test_there_is_one_system_message_and_it_is_the_first(facade: Facade, model: ScriptedModel) -> None:
    marked = [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]
    model.script("ok", "ok")
    await facade.say(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "right."}]},
        {"role": "system", "content": ""},
        "hi",
    )
    assert model.requests[0].messages == [
        {"role": "system", "content": "You help admin.\n\nBe brief.\n\nBe right."},
        {"role": "user", "content": "hi"},
    ]
    await facade.say({"role": "system", "content": marked}, "hi")
    assert model.requests[1].messages[0] == {
        "role": "system",
        "content": [{"type": "text", "text": "You help admin.\n\n"}, *marked],
    }


async def test_a_thought_is_shown_once_whatever_its_name(facade: Facade, model: ScriptedModel) -> None:
    model.script(
        stream(
            {"reasoning": "One. "},
            {"reasoning": "Two. ", "reasoning_content": "Two. "},
            {"content": "Hi."},
            finish="stop",
        )
    )
    raw = await facade.stream("hi")
    deltas = [choice["delta"] for event in events(raw) for choice in event.get("choices") or ()]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "One. Two. "
    assert content(raw) == "Hi."
