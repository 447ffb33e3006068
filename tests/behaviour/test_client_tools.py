"""The caller's own function tools: the model may call them, the client runs them, and the turn goes on."""

from __future__ import annotations

import json
from typing import Any

from support.facade import DEVELOPER, Facade, events
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def result(call: dict[str, Any], text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call["id"], "content": text}


async def message_of(facade: Facade, *messages: Any, **body: Any) -> dict[str, Any]:
    response = await facade.ask(*messages, tools=[WEATHER], **body)
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]


async def test_a_call_of_the_clients_tool_is_handed_over_and_the_turn_goes_on(
    facade: Facade, model: ScriptedModel
) -> None:
    model.script(Answer("Let me see.", calls=[Call("weather", {"city": "Oslo"})]), "It rains in Oslo.")
    first = await message_of(facade, "weather in Oslo?")
    (call,) = first["message"]["tool_calls"]

    assert first["finish_reason"] == "tool_calls"
    assert first["message"]["content"] == "Let me see."
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("weather", {"city": "Oslo"})
    assert model.requests[0].tools[-1] == "weather"

    second = await message_of(facade, "weather in Oslo?", first["message"], result(call, "rain"))
    assert second["message"]["content"] == "It rains in Oslo."
    assert second["finish_reason"] == "stop"
    roles = [message["role"] for message in model.requests[1].messages]
    assert roles == ["system", "user", "assistant", "tool"]
    assert model.requests[1].tool_results == ["rain"]


async def test_in_a_mixed_round_the_servers_tools_run_before_the_clients_calls_are_handed_over(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(
        Answer(calls=[Call("weather", {"city": "Oslo"}), Call("files__echo", {"text": "here"})]), "Rain, and here."
    )
    first = await message_of(facade, "both")
    (call,) = first["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert tools.ran() == ["echo here"]

    second = await message_of(facade, "both", first["message"], result(call, "rain"))
    assert second["message"]["content"] == "Rain, and here."
    assert sorted(model.requests[1].tool_results) == ["here", "rain"]
    calls = [message["tool_calls"] for message in model.requests[1].messages if message.get("tool_calls")]
    assert [[entry["function"]["name"] for entry in calls] for calls in calls] == [["weather", "files__echo"]]
    assert tools.ran() == ["echo here"]


async def test_the_stream_hands_over_in_one_delta_with_its_finish_reason(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer(calls=[Call("weather", {"city": "Oslo"})]))
    raw = await facade.stream("go", tools=[WEATHER])
    choices = [event["choices"][0] for event in events(raw)]
    assert [choice["finish_reason"] for choice in choices] == [None, None, "tool_calls"]
    assert choices[1]["delta"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}


async def test_rounds_of_both_kinds_may_follow_each_other(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(
        Answer(calls=[Call("files__echo", {"text": "one"})]),
        Answer(calls=[Call("weather", {"city": "Oslo"})]),
        Answer(calls=[Call("files__echo", {"text": "two"})]),
        "All of it.",
        "Later.",
    )
    first = await message_of(facade, "go")
    (call,) = first["message"]["tool_calls"]
    second = await message_of(facade, "go", first["message"], result(call, "rain"))
    assert second["message"]["content"] == "All of it."
    assert tools.ran() == ["echo one", "echo two"]
    assert model.requests[3].tool_results == ["one", "rain", "two"]

    # A client that then resends only the texts still gets the whole of it restored.
    await facade.ask("go", {"role": "assistant", "content": "All of it."}, "and?")
    assert model.requests[4].tool_results == ["one", "rain", "two"]


async def test_a_forced_tool_is_forced_once(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer(calls=[Call("files__echo", {"text": "x"})]), "Done.")
    await facade.ask("go", tools=[WEATHER], tool_choice="required", parallel_tool_calls=False)
    assert model.requests[0].body["tool_choice"] == "required"
    assert model.requests[0].body["parallel_tool_calls"] is False
    assert "tool_choice" not in model.requests[1].body


async def test_a_name_that_is_taken_and_a_tool_that_is_none_are_refused(facade: Facade, model: ScriptedModel) -> None:
    taken = {"type": "function", "function": {"name": "files__echo"}}
    for tool, words in ((taken, "runs here already"), ({"type": "web_search"}, "expected")):
        response = await facade.ask("go", tools=[tool])
        assert response.status_code == 400
        assert words in response.json()["error"]["message"]
    assert model.requests == []


async def test_nothing_is_told_of_tools_that_the_role_may_not_use(facade: Facade, model: ScriptedModel) -> None:
    """`files__write` runs here, for others, and `files__nothing` does not: no client of the developer can tell."""
    for name in ("files__write", "files__nothing"):
        model.script(Answer(calls=[Call(name, {"path": "a"})]))
        tool = {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
        response = await facade.ask("go", tools=[tool], key=DEVELOPER)
        assert response.status_code == 200
        (call,) = response.json()["choices"][0]["message"]["tool_calls"]
        assert call["function"] == {"name": name, "arguments": '{"path":"a"}'}  # the client's, whatever runs here
        offered = [each["function"]["name"] for each in model.requests[-1].body["tools"]]
        assert offered.count(name) == 1
        headers = {"authorization": f"Bearer {DEVELOPER}"}
        turns = await facade.http.get(f"{facade.url.removesuffix('/v1')}/console/api/turns", headers=headers)
        assert turns.json()["turns"][0]["calls"][0]["tool"] == name
    taken = {"type": "function", "function": {"name": "files__echo"}}
    assert (await facade.ask("go", tools=[taken], key=DEVELOPER)).status_code == 400
