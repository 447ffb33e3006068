"""The official clients for Python and for Node hold the same conversations with one graph: turns and their tools."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from openai import DEFAULT_MAX_RETRIES
from support.facade import events
from support.gateway import DEVELOPER_KEY
from support.official_clients import OfficialClient, Way, gathered, turn_of
from support.scripted_model import Answer, Call, Request, ScriptedModel
from support.tool_server import Tools

TRANSCRIPTS = Path(__file__).parent / "transcripts"

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
OSLO = Call("weather", {"city": "Oslo"})
BERGEN = Call("weather", {"city": "Bergen"})

each_way = pytest.mark.parametrize("way", get_args(Way))


def echo(text: str) -> Call:
    return Call("files__echo", {"text": text})


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def shape(request: Request) -> list[str]:
    """What the model was sent, message by message: `assistant:weather,files__echo`, `tool:rain`, else the role."""
    told: list[str] = []
    for message in request.messages:
        names = [call["function"]["name"] for call in message.get("tool_calls") or ()]
        what = message["content"] if message["role"] == "tool" else ",".join(names)
        told.append(f"{message['role']}:{what}" if what else message["role"])
    return told


def test_models_are_listed_and_found(client: OfficialClient) -> None:
    assert {"assistant", "private", "scripted"} <= set(client.value("models"))
    assert client.value("model", job={"id": "assistant"})["id"] == "assistant"
    missing = client.refused("model", job={"id": "no-such-graph"})
    assert (missing["kind"], missing["status"], missing["code"]) == ("NotFoundError", 404, "model_not_found")


@each_way
def test_a_turn_with_server_tools_is_one_answer_with_the_usage_of_all_its_rounds(
    client: OfficialClient, way: Way, model: ScriptedModel, tools: Tools
) -> None:
    model.script(
        Answer("Let me look.", calls=[echo("one")], usage=(10, 5)),
        Answer(calls=[echo("two"), Call("files__add", {"a": 2, "b": 3})], usage=(20, 6)),
        Answer("It is 5.", usage=(40, 7)),
    )
    turn = client.turn(way, messages=[user("go")])

    assert turn.text == "Let me look.\n\nIt is 5."
    assert (turn.message["role"], turn.finish, turn.model) == ("assistant", "stop", "assistant")
    assert turn.calls == [], "the client must not see calls that ran here"
    assert turn.usage == usage(70, 18)
    assert sorted(tools.ran()) == ["add", "echo one", "echo two"]


@each_way
def test_a_turn_goes_on_with_what_the_client_answers(client: OfficialClient, way: Way, model: ScriptedModel) -> None:
    model.script(Answer("Let me see.", calls=[OSLO], usage=(10, 5)), Answer("It rains in Oslo.", usage=(20, 7)))
    first = client.turn(way, messages=[user("How is Oslo?")], tools=[WEATHER])
    assert (first.text, first.finish) == ("Let me see.", "tool_calls")
    assert first.asked() == [("weather", {"city": "Oslo"})]
    assert first.usage == usage(10, 5)
    assert model.requests[0].body["tools"][-1] == WEATHER

    second = client.turn(way, messages=[user("How is Oslo?"), *first.answered("rain")], tools=[WEATHER])
    assert (second.text, second.finish, second.calls) == ("It rains in Oslo.", "stop", [])
    assert second.usage == usage(20, 7)
    assert shape(model.requests[1]) == ["system", "user", "assistant:weather", "tool:rain"]
    assert model.requests[1].messages[2]["content"] == "Let me see."


@each_way
def test_a_round_of_both_kinds_runs_here_first_and_is_whole_for_the_model(
    client: OfficialClient, way: Way, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[OSLO, echo("here"), BERGEN], usage=(10, 5)), Answer("Wet, and here.", usage=(30, 8)))
    first = client.turn(way, messages=[user("both")], tools=[WEATHER])
    assert first.asked() == [("weather", {"city": "Oslo"}), ("weather", {"city": "Bergen"})]
    assert not first.text
    assert tools.ran() == ["echo here"]

    answer, oslo, bergen = first.answered("rain", "sleet")
    second = client.turn(way, messages=[user("both"), answer, bergen, oslo], tools=[WEATHER])
    assert second.text == "Wet, and here."
    assert second.usage == usage(30, 8)
    assert tools.ran() == ["echo here"]
    [asked] = [message for message in model.requests[1].messages if message.get("tool_calls")]
    results = {m["tool_call_id"]: m["content"] for m in model.requests[1].messages if m["role"] == "tool"}
    assert [(call["function"]["name"], results[call["id"]]) for call in asked["tool_calls"]] == [
        ("weather", "rain"),
        ("files__echo", "here"),
        ("weather", "sleet"),
    ]


@pytest.mark.parametrize("streaming", [False, True])
def test_the_clients_own_tool_loop_comes_to_its_end(
    client: OfficialClient, streaming: bool, model: ScriptedModel, tools: Tools
) -> None:
    model.script(
        Answer("First here.", calls=[echo("one")]),
        Answer(calls=[OSLO]),
        Answer("Now both.", calls=[BERGEN, echo("two")]),
        Answer(calls=[echo("three")]),
        "Rain and sleet.",
    )
    loop = {"streaming": streaming, "answers": {"weather": "wet"}}
    outcome = client.do("tools", job=loop, messages=[user("Oslo, then Bergen?")], tools=[WEATHER])

    assert outcome.error is None
    assert outcome.value == "Rain and sleet."
    assert outcome.seen == [["weather", {"city": "Oslo"}], ["weather", {"city": "Bergen"}]]
    assert tools.ran() == ["echo one", "echo two", "echo three"]
    assert shape(model.requests[-1]) == [
        "system",
        "user",
        *("assistant:files__echo", "tool:one"),
        *("assistant:weather", "tool:wet"),
        *("assistant:weather,files__echo", "tool:wet", "tool:two"),
        *("assistant:files__echo", "tool:three"),
    ]


@each_way
def test_every_turn_of_a_conversation_keeps_its_own_tool_results(
    client: OfficialClient, way: Way, model: ScriptedModel, tools: Tools
) -> None:
    model.script(
        Answer(calls=[echo("one")]),
        f"First, {way}.",
        Answer("Let me see.", calls=[OSLO, echo("two")]),
        "Second.",
        "Third.",
    )
    first = client.turn(way, messages=[user("one?")], tools=[WEATHER])
    history = [user("one?"), first.message, user("two?")]
    asked = client.turn(way, messages=history, tools=[WEATHER])
    history += asked.answered("rain")
    second = client.turn(way, messages=history, tools=[WEATHER])
    client.turn(way, messages=[*history, second.message, user("three?")], tools=[WEATHER])

    told = ["system", "user", "assistant:files__echo", "tool:one", "assistant", "user"]
    assert shape(model.requests[2]) == told
    told += ["assistant:weather,files__echo", "tool:rain", "tool:two"]
    assert shape(model.requests[3]) == told
    assert shape(model.requests[4]) == [*told, "assistant", "user"]
    assert tools.ran() == ["echo one", "echo two"]


@each_way
def test_a_round_that_also_waits_for_approval_is_whole_for_the_model(
    client: OfficialClient, way: Way, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[OSLO, Call("files__write", {"text": "x"})]), "Rain, and written.")
    paused = client.turn(way, messages=[user("write it")], tools=[WEATHER])
    found = re.search(r"approve [a-z2-7]{8}", paused.text)
    assert found, paused
    assert (paused.finish, tools.ran()) == ("stop", [])

    history = [user("write it"), paused.message, user(found[0])]
    asked = client.turn(way, messages=history, tools=[WEATHER])
    assert asked.asked() == [("weather", {"city": "Oslo"})]
    assert tools.ran() == ["write x"]

    done = client.turn(way, messages=[*history, *asked.answered("rain")], tools=[WEATHER])
    assert done.text == "Rain, and written."
    assert model.requests[-1].tool_results == ["rain", "written"]
    assert tools.ran() == ["write x"]


def test_the_streaming_helper_tells_text_and_calls_as_they_come(client: OfficialClient, model: ScriptedModel) -> None:
    model.script(Answer(calls=[echo("one")]), Answer("Let me see.", calls=[OSLO, BERGEN]))
    told = client.seen("helper", messages=[user("go")], tools=[WEATHER])

    assert "".join(event["delta"] for event in told if event["type"] == "content.delta") == "Let me see."
    assert [event["content"] for event in told if event["type"] == "content.done"] == ["Let me see."]
    calls = [event for event in told if event["type"] == "tool_calls.function.arguments.done"]
    assert [(call["index"], call["name"], call["parsed_arguments"]) for call in calls] == [
        (0, "weather", {"city": "Oslo"}),
        (1, "weather", {"city": "Bergen"}),
    ]


def test_a_client_that_leaves_stops_the_model(client: OfficialClient, model: ScriptedModel) -> None:
    model.script(Answer("one two three", stall_after=2))
    seen = client.seen("stream", job={"leave": True}, messages=[user("count")])
    assert seen[-1]["choices"][0]["delta"]["content"].startswith("one")
    assert model.requests[0].outcome.result(timeout=10) == "cut"


@pytest.mark.parametrize("include", [True, False])
def test_usage_comes_in_a_chunk_of_its_own_and_only_where_it_is_asked_for(
    client: OfficialClient, include: bool, model: ScriptedModel
) -> None:
    model.script(Answer(calls=[echo("x")], usage=(10, 5)), Answer("Done.", usage=(20, 7)))
    options = {"stream_options": {"include_usage": True}} if include else {}
    chunks = client.stream(messages=[user("go")], **options)
    told = [(bool(chunk["choices"]), chunk["usage"]) for chunk in chunks if "usage" in chunk]
    assert told == ([(True, None)] * 3 + [(False, usage(30, 12))] if include else [])


def test_the_wire_transcript_of_a_turn_with_both_kinds_of_tools(
    client: OfficialClient, model: ScriptedModel, tools: Tools, tmp_path: Path
) -> None:
    """Both ends of Interlock, whole: what the client sent and got, and what the model was sent in between.

    After a wanted change, copy the file that this test leaves in its temporary folder.
    """
    model.script(
        Answer(["Let me look."], calls=[echo("one")], usage=(10, 5)),
        Answer(["And outside."], calls=[OSLO, echo("two")], usage=(20, 6)),
        Answer(calls=[echo("three")], usage=(40, 7)),
        Answer(["It rains in Oslo."], usage=(80, 8)),
    )
    request: dict[str, Any] = {
        "messages": [{"role": "developer", "content": "Be short."}, user("How is it, in and out?")],
        "tools": [WEATHER],
        "stream_options": {"include_usage": True},
    }
    transcript: list[str] = []
    reached = 0

    def exchange() -> list[dict[str, Any]]:
        nonlocal reached
        answer = client.value("raw", key=DEVELOPER_KEY, **request)
        transcript.append(entry("client →", {"model": "assistant", "stream": True, **request}))
        transcript.extend(entry("model ←", sent.body) for sent in model.requests[reached:])
        transcript.append(f"client ← {answer['status']} {answer['type']}\n{answer['text']}")
        reached = len(model.requests)
        return events(answer["text"])

    turn = gathered(exchange())
    request["messages"] = [*request["messages"], *turn.answered("rain")]
    exchange()

    name = "mixed_turn.txt"
    (tmp_path / name).write_text(masked("\n".join(transcript)))
    assert (tmp_path / name).read_text() == (TRANSCRIPTS / name).read_text(), f"there is now {tmp_path / name}"
    assert tools.ran() == ["echo one", "echo two", "echo three"]


def entry(who: str, body: dict[str, Any]) -> str:
    """A request, with a line for each field and for each entry of a list."""
    lines = [f"{who} POST /chat/completions"]
    for name, value in body.items():
        if isinstance(value, list):
            lines += [f"{name}:", *(f"  {json.dumps(item, ensure_ascii=False)}" for item in value)]
        else:
            lines.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def masked(text: str) -> str:
    """Ids become numbers in the order they appear in, so that the same one stays the same; times are left out."""
    numbers: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        kind = found[1]
        return numbers.setdefault(found[0], f"{kind}{sum(name.startswith(kind) for name in numbers) + 1}")

    return re.sub(
        r'"created":\d+',
        '"created":…',
        re.sub(r"\b(call_(?:scripted)?|chatcmpl-)(?:(?<=scripted)[0-9]+|[0-9a-f]{24,32})\b", number, text),
    )


def test_the_clients_own_retries_repeat_no_call(client: OfficialClient, upstream: ScriptedModel, tools: Tools) -> None:
    upstream.script(
        Answer("Ordering.", calls=[Call("files__order", {"item": "tea"})]),
        Answer(["It is"], stall_after=1),
        Answer("Paying.", calls=[Call("files__order", {"item": "bill"})]),
        Answer(["It is"], stall_after=1),
        "Ordered.",
    )
    turn = turn_of(client.create(messages=[user("order tea")], job={"timeout": 1.0, "retries": DEFAULT_MAX_RETRIES}))
    assert turn.text == "Ordering.\n\nPaying.\n\nOrdered."
    assert upstream.requests[-1].tool_results == ["ordered tea", "ordered bill"]
    assert tools.ran() == ["order tea", "order bill"]
