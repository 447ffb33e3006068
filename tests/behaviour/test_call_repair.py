"""Calls that name a tool, or write its arguments, in another way than it was offered: what is certain is run."""

from __future__ import annotations

import json
from typing import Any

from support.facade import ADMIN, DEVELOPER, Facade, said
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

WEATHER: dict[str, Any] = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def encode_twice(arguments: dict[str, Any]) -> str:
    """A JSON text that holds a JSON object."""
    return json.dumps(json.dumps(arguments))


async def test_a_name_in_a_known_wrapping_is_the_tool_that_was_offered(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    names = [
        "functions.files__echo",
        "functions:files__echo",
        "default_api.files__echo",
        "files__echo<|channel|>commentary",
        "<|start|>assistant<|channel|>commentary to=functions.files__echo <|constrain|>json",
        " `files__echo`\n",
        "files/echo",
        "files.echo",
        "functions.files/echo",
        "Files__Echo",
    ]
    calls = [Call(name, {"text": f"x{number}"}, id=f"raw{number}") for number, name in enumerate(names)]
    model.script(Answer(calls=calls), "Done.")
    assert await facade.say("go") == "Done."
    texts = [f"x{number}" for number in range(len(names))]
    assert sorted(tools.ran()) == [f"echo {text}" for text in texts]
    assert model.requests[1].tool_results == texts
    # The endpoint gets back the name that it was offered, and the id that it gave.
    (sent,) = [message["tool_calls"] for message in model.requests[1].messages if message.get("tool_calls")]
    assert [call["id"] for call in sent] == [call.id for call in calls]
    assert {call["function"]["name"] for call in sent} == {"files__echo"}


async def test_what_is_not_certain_is_refused_in_words(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    names = ["files__ecko", "echo", "functions.", "other/echo"]
    names.append("files__echo<|channel|>commentary to=functions.files__write")
    arguments = [json.dumps(encode_twice({"text": "x"})), '"text=x"', "[]", "0"]
    calls = [Call(name, {"text": "x"}) for name in names] + [Call("files__echo", text) for text in arguments]
    model.script(Answer(calls=calls), "Sorry.")
    assert await facade.say("go") == "Sorry."
    assert tools.ran() == []
    sent = model.requests[1].messages
    (asked,) = [message["tool_calls"] for message in sent if message.get("tool_calls")]
    results = {message["tool_call_id"]: message["content"] for message in sent if message["role"] == "tool"}
    answers = [results[call["id"]] for call in asked]
    assert [call["function"]["name"] for call in asked[: len(names)]] == names
    assert all(f"there is no tool {name!r}" in answer for name, answer in zip(names, answers, strict=False))
    assert all("its arguments are not a JSON object (found" in answer for answer in answers[len(names) :])


async def test_rules_see_the_tool_that_is_meant_and_only_what_was_offered_is(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    calls = [
        Call("functions.files__echo", {"text": "secret"}),
        Call("functions.files__write", {"text": "x"}),
        Call("files/write", {"text": "x"}),
    ]
    model.script(Answer(calls=calls), "Refused.")
    assert await facade.say("go", key=DEVELOPER) == "Refused."
    secret, *hidden = model.requests[1].tool_results
    assert "holds only when" in secret
    assert all("there is no tool" in result for result in hidden)
    assert tools.ran() == []


async def test_people_approve_the_tool_and_the_arguments_that_are_meant(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("functions.files/write", encode_twice({"text": "x"}), id="raw")]), "Written.")
    paused = (await facade.ask("write")).json()
    (approval,) = paused["interlock"]["approvals"]
    headers = {"authorization": f"Bearer {ADMIN}"}
    kept = (await facade.http.get(f"{facade.url}/approvals/{approval}", headers=headers)).json()
    assert (kept["tool"], kept["args"]) == ("files/write", {"text": "x"})
    assert tools.ran() == []
    answer = await facade.say("write", said(paused["choices"][0]["message"]["content"]), f"approve {approval}")
    assert answer == "Written."
    assert tools.ran() == ["write x"]
    (sent,) = [message["tool_calls"] for message in model.requests[1].messages if message.get("tool_calls")]
    function = {"name": "files__write", "arguments": '{"text": "x"}'}
    assert sent == [{"type": "function", "id": "raw", "function": function}]


async def test_the_clients_own_tool_is_handed_over_by_the_name_that_it_gave(
    facade: Facade, model: ScriptedModel
) -> None:
    model.script(Answer(calls=[Call("functions.weather", encode_twice({"city": "Oslo"}))]))
    response = await facade.ask("weather?", tools=[WEATHER])
    (call,) = response.json()["choices"][0]["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("weather", {"city": "Oslo"})


async def test_arguments_that_say_nothing_are_none_and_those_encoded_twice_are_read(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    empty = ["null", '""', '"null"', " \n", '" "', '"{}"', ""]
    calls = [Call("files__pid", text) for text in empty] + [Call("files__echo", encode_twice({"text": "4711"}))]
    model.script(Answer(calls=calls), "Done.")
    assert await facade.say("go") == "Done."
    *pids, echoed = model.requests[1].tool_results
    assert (len(set(pids)), pids[0].isdigit(), echoed) == (1, True, "4711")
    (sent,) = [message["tool_calls"] for message in model.requests[1].messages if message.get("tool_calls")]
    assert [call["function"]["arguments"] for call in sent] == ["{}"] * len(empty) + ['{"text": "4711"}']
