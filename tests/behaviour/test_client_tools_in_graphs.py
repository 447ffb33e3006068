"""Graphs of several nodes in which a model calls the client's own tools: the graph goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.facade import DEVELOPER, Facade, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools
from test_asking import ids
from test_call_pauses import AGAIN
from test_client_tools import WEATHER, message_of, result
from test_takeover import Pair, left
from test_takeover import pair as pair  # a fixture

ASKED = Answer("Let me see.", calls=[Call("weather", {"city": "Oslo"})])
WORK = {"type": "agent", "prompt": "Found: {{ found }}", "tools": ["files/*"], "next": "end"}
LOOK = {"type": "call", "tool": "files/echo", "args": {"text": "{{ message }}"}, "into": "found", "next": "work"}


def write_graph(folder: Path, model: ScriptedModel, tools: Tools, nodes: Mapping[str, Any], **fields: Any) -> Path:
    """A folder with one graph, which begins with its first node."""
    graph = {"vars": {"found": "any"}, "start": next(iter(nodes)), "nodes": dict(nodes), **fields}
    return write_configs(folder, model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})


async def ask_for_weather(facade: Facade, *messages: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The message that calls the client's tool, and that call."""
    asked = (await message_of(facade, *messages))["message"]
    (call,) = asked["tool_calls"]
    return asked, call


@pytest.mark.usefixtures("keys")
class TestGoingOn:
    """What has run does not run again, and what was found is still known."""

    async def test_a_call_of_the_graph_does_not_run_again(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(ASKED, "It rains in Oslo.")
        async with serving(
            write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK}), tmp_path / "data"
        ) as facade:
            asked, call = await ask_for_weather(facade, "go")
            answer = await message_of(facade, "go", asked, result(call, "rain"))
        assert answer["message"]["content"] == "It rains in Oslo."
        assert tools.ran() == ["echo go"]
        roles = [message["role"] for message in model.requests[1].messages]
        assert roles == ["system", "user", "assistant", "tool"]
        assert model.requests[1].tool_results == ["rain"]
        assert model.requests[1].messages[0]["content"] == "Found: go"

    async def test_it_goes_on_after_a_restart(self, tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
        folder = write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK})
        model.script(ASKED, "It rains.")
        async with serving(folder, tmp_path / "data") as facade:
            asked, call = await ask_for_weather(facade, "go")
        async with serving(folder, tmp_path / "data") as facade:
            answer = await message_of(facade, "go", asked, result(call, "rain"))
        assert answer["message"]["content"] == "It rains."
        assert tools.ran() == ["echo go"]

    async def test_results_that_are_sent_again_are_answered_from_the_same_place(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(ASKED, "It rains.", "It snows.")
        async with serving(
            write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK}), tmp_path / "data"
        ) as facade:
            asked, call = await ask_for_weather(facade, "go")
            first = await message_of(facade, "go", asked, result(call, "rain"))
            second = await message_of(facade, "go", asked, result(call, "snow"))
        assert [each["message"]["content"] for each in (first, second)] == ["It rains.", "It snows."]
        assert model.requests[2].tool_results == ["snow"]
        assert tools.ran() == ["echo go"]

    async def test_a_mixed_round_goes_on_behind_its_tools(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        mixed = Answer(calls=[Call("weather", {"city": "Oslo"}), Call("files__echo", {"text": "here"})])
        model.script(mixed, "Rain, and here.")
        async with serving(
            write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK}), tmp_path / "data"
        ) as facade:
            asked, call = await ask_for_weather(facade, "go")
            answer = await message_of(facade, "go", asked, result(call, "rain"))
            assert answer["message"]["content"] == "Rain, and here."
            assert sorted(model.requests[1].tool_results) == ["here", "rain"]
            # Who then sends only the texts has the whole of it restored.
            model.script("Later.")
            await facade.ask("go", said("Rain, and here."), "and?")
            assert sorted(model.requests[2].tool_results) == ["here", "rain"]
        assert tools.ran() == ["echo go", "echo here", "echo and?"]

    async def test_several_rounds_of_the_client_follow_each_other(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(
            ASKED,
            Answer(calls=[Call("files__echo", {"text": "two"})]),
            Answer(calls=[Call("weather", {"city": "Rome"})]),
            "Rain, and sun.",
        )
        async with serving(
            write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK}), tmp_path / "data"
        ) as facade:
            asked, call = await ask_for_weather(facade, "go")
            again, other = await ask_for_weather(facade, "go", asked, result(call, "rain"))
            answer = await message_of(facade, "go", asked, result(call, "rain"), again, result(other, "sun"))
        assert answer["message"]["content"] == "Rain, and sun."
        assert model.requests[3].tool_results == ["rain", "two", "sun"]
        assert tools.ran() == ["echo go", "echo two"]

    async def test_a_loop_of_ones_own_goes_on_behind_its_tools_node(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        nodes = {
            "look": {**LOOK, "next": "ask"},
            "ask": {
                "type": "model",
                "tools": ["files/*"],
                "next": [{"when": "size(tool_calls) > 0", "to": "check"}, {"to": "end"}],
            },
            "check": {"type": "permission", "next": "act"},
            "act": {"type": "tools", "next": "count"},
            "count": {"type": "set", "set": {"looks": "looks + 1"}, "next": "show"},
            "show": {"type": "reply", "text": "Looked {{ looks }} times.", "next": "ask"},
        }
        folder = write_graph(
            tmp_path / "c", model, tools, nodes, vars={"found": "any", "looks": {"type": "int", "default": 0}}
        )
        model.script(ASKED, "Done.")
        async with serving(folder, tmp_path / "data") as facade:
            asked, call = await ask_for_weather(facade, "go")
            answer = await message_of(facade, "go", asked, result(call, "rain"))
        assert answer["message"]["content"] == "Looked 1 times.\n\nDone."
        assert tools.ran() == ["echo go"]

    async def test_limits_count_over_the_whole_turn(self, tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
        folder = write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK}, limits={"rounds": 1})
        model.script(ASKED, "It rains.")
        async with serving(folder, tmp_path / "data") as facade:
            asked, call = await ask_for_weather(facade, "go")
            answer = await message_of(facade, "go", asked, result(call, "rain"))
        assert answer["message"]["content"].startswith("It rains.\n\n_Stopped here: the limit of 1 rounds")
        assert "weather" in model.requests[0].tools
        assert model.requests[1].tools == []  # it was the last one

    async def test_an_approval_may_follow(self, tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
        model.script(ASKED, Answer(calls=[Call("files__write", {"text": "rain"})]), "Written.")
        async with serving(
            write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK}), tmp_path / "data"
        ) as facade:
            asked, call = await ask_for_weather(facade, "go")
            waits = (await message_of(facade, "go", asked, result(call, "rain")))["message"]
            assert "approve" in waits["content"]
            yes = f"approve {ids(waits['content'])[0]}"
            answer = await message_of(facade, "go", asked, result(call, "rain"), waits, yes)
        assert answer["message"]["content"] == "Written."
        assert tools.ran() == ["echo go", "write rain"]


SILENT = Answer(calls=[Call("weather", {"city": "Oslo"})])


@pytest.mark.usefixtures("keys")
class TestResultsThatComeAgain:
    """However the turn with the results ended, they go on from where the graph was: its own call ran once."""

    @pytest.mark.parametrize("asks", [ASKED, SILENT], ids=["with a text", "without one"])
    @pytest.mark.parametrize("headers", [{}, AGAIN], ids=["another request", "a retry"])
    @pytest.mark.parametrize(
        ("first", "ends"),
        [("It rains.", 200), (Answer(status=400), 400), (Answer(calls=[Call("files__write", {"text": "rain"})]), 200)],
        ids=["finished", "failed", "waits"],
    )
    async def test_results_that_are_sent_again(
        self,
        first: Any,
        ends: int,
        headers: dict[str, str],
        asks: Answer,
        tmp_path: Path,
        model: ScriptedModel,
        tools: Tools,
    ) -> None:
        model.script(asks, first, "It snows.")
        async with serving(
            write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK}), tmp_path / "data"
        ) as facade:
            asked, call = await ask_for_weather(facade, "go")
            messages = ["go", asked, result(call, "rain")]
            assert (await facade.ask(*messages, tools=[WEATHER])).status_code == ends
            again = await facade.ask(*messages, tools=[WEATHER], headers=headers)
            assert again.status_code == 200
        assert tools.ran() == ["echo go"]

    async def test_under_other_rules_the_graph_goes_on_there_too(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        folder = write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK})
        model.script(SILENT, Answer(calls=[Call("files__echo", {"text": "two"})]), Answer("It", stall_after=1), "Rain.")
        async with serving(folder, tmp_path / "data") as facade:
            asked, call = await ask_for_weather(facade, "go")
            messages = ["go", asked, result(call, "rain")]
            turn = asyncio.create_task(facade.stream(*messages, tools=[WEATHER]))
            await model.arrived(3)
            await left(turn)
        write_graph(tmp_path / "c2", model, tools, {"look": LOOK, "work": {**WORK, "prompt": "New: {{ found }}"}})
        async with serving(tmp_path / "c2", tmp_path / "data") as facade:
            response = await facade.ask(*messages, tools=[WEATHER], headers=AGAIN)
        assert response.json()["choices"][0]["message"]["content"].endswith("Rain.")
        assert tools.ran() == ["echo go", "echo two"]
        last = model.requests[3].messages
        assert last[0]["content"] == "New: go"
        assert model.requests[3].tool_results == ["rain", "two"]

    async def test_what_the_client_changed_since_is_what_the_model_sees(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(SILENT, Answer(calls=[Call("weather", {"city": "Rome"})]), "Snow, and sun.")
        system = {"role": "system", "content": "Be brief."}
        async with serving(
            write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK}), tmp_path / "data"
        ) as facade:
            asked, call = await ask_for_weather(facade, "go")
            again, other = await ask_for_weather(facade, "go", asked, result(call, "rain"))
            messages = [system, "go on", asked, result(call, "snow"), again, result(other, "sun")]
            answer = await message_of(facade, *messages)
        assert answer["message"]["content"] == "Snow, and sun."
        assert tools.ran() == ["echo go"]
        assert model.requests[2].tool_results == ["snow", "sun"]
        system_text, user_text = [message["content"] for message in model.requests[2].messages[:2]]
        assert (system_text, user_text) == ("Found: go\n\nBe brief.", "go on")

    async def test_a_call_that_could_not_be_read_gets_a_result_too(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        broken = Call("weather", "not json")
        model.script(Answer(calls=[Call("weather", {"city": "Oslo"}), broken]), "It rains.")
        async with serving(
            write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK}), tmp_path / "data"
        ) as facade:
            asked, call = await ask_for_weather(facade, "go")
            await message_of(facade, "go", asked, result(call, "rain"))
        assert model.requests[1].tool_results == ["rain", "No result was sent back for this call."]

    async def test_the_ways_of_a_tools_node_hold(self, tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
        nodes = {
            "look": {**LOOK, "next": "ask"},
            "ask": {
                "type": "model",
                "tools": ["files/*"],
                "next": [{"when": "size(tool_calls) > 0", "to": "check"}, {"to": "end"}],
            },
            "check": {"type": "permission", "next": "act"},
            "act": {"type": "tools", "next": [{"when": "turn.rounds >= 1", "to": "sum"}, {"to": "ask"}]},
            "sum": {"type": "reply", "text": "Summed up.", "next": "end"},
        }
        model.script(SILENT)
        async with serving(write_graph(tmp_path / "c", model, tools, nodes), tmp_path / "data") as facade:
            asked, call = await ask_for_weather(facade, "go")
            answer = await message_of(facade, "go", asked, result(call, "rain"))
        assert answer["message"]["content"] == "Summed up."

    async def test_another_graph_begins_with_them(self, tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
        folder = write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK})
        other = {"start": "talk", "nodes": {"talk": {"type": "model", "next": "end"}}}
        write_configs(
            tmp_path / "d",
            model.url,
            {"files": {"url": tools.url}},
            graphs={"assistant": yaml.safe_load((folder / "graphs/assistant.yaml").read_text()), "other": other},
        )
        model.script(SILENT, "It rains.")
        async with serving(tmp_path / "d", tmp_path / "data") as facade:
            asked, call = await ask_for_weather(facade, "go")
            answer = await message_of(facade, "go", asked, result(call, "rain"), model="other")
        assert answer["message"]["content"] == "It rains."


@pytest.mark.usefixtures("keys")
class TestBeginningAnew:
    """Where the graph cannot go on, that is said, or it is the start of another turn."""

    async def test_words_instead_of_results_begin_a_turn(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(ASKED, "Never mind.")
        async with serving(
            write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK}), tmp_path / "data"
        ) as facade:
            asked, call = await ask_for_weather(facade, "go")
            answer = await message_of(facade, "go", asked, result(call, "rain"), "leave it")
        assert answer["message"]["content"] == "Never mind."
        assert tools.ran() == ["echo go", "echo leave it"]

    async def test_another_key_goes_on_with_nothing(self, tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
        folder = write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK})
        model.script(ASKED, "It rains.")
        async with serving(folder, tmp_path / "data") as facade:
            asked, call = await ask_for_weather(facade, "go")
            await message_of(facade, "go", asked, result(call, "rain"), key=DEVELOPER)
        assert tools.ran() == ["echo go", "echo go"]

    async def test_a_graph_that_lost_the_node_says_so(self, tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
        folder = write_graph(tmp_path / "c", model, tools, {"look": LOOK, "work": WORK})
        model.script(ASKED)
        async with serving(folder, tmp_path / "data") as facade:
            asked, call = await ask_for_weather(facade, "go")
        write_graph(tmp_path / "new", model, tools, {"look": {**LOOK, "next": "other"}, "other": WORK})
        async with serving(tmp_path / "new", tmp_path / "data") as facade:
            answer = await message_of(facade, "go", asked, result(call, "rain"))
        assert answer["message"]["content"] == (
            "The graph 'assistant' was changed while your client ran its tools, and the node 'work' that asked for "
            "them is not in it any more. Nothing was run."
        )
        assert tools.ran() == ["echo go"]

    async def test_a_value_that_no_longer_fits_is_named(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        nodes = {"look": LOOK, "work": WORK}
        folder = write_graph(tmp_path / "c", model, tools, nodes, vars={"found": "string"})
        model.script(SILENT)
        async with serving(folder, tmp_path / "data") as facade:
            asked, call = await ask_for_weather(facade, "go")
        write_graph(tmp_path / "new", model, tools, nodes, vars={"found": ["stop", "stay"]})
        async with serving(tmp_path / "new", tmp_path / "data") as facade:
            answer = await message_of(facade, "go", asked, result(call, "rain"))
        assert "the value of its variable 'found' no longer fits" in answer["message"]["content"]
        assert tools.ran() == ["echo go"]


@pytest.fixture
def configs(tmp_path: Path, model: ScriptedModel, tools: Tools) -> Path:
    return write_graph(tmp_path / "pair", model, tools, {"look": LOOK, "work": WORK})


async def test_a_turn_with_results_goes_on_in_another_process(pair: Pair, model: ScriptedModel, tools: Tools) -> None:
    model.script(ASKED, Answer(calls=[Call("files__echo", {"text": "two"})]), Answer("It", stall_after=1), "It rains.")
    asked, call = await ask_for_weather(pair.first, "go")
    messages = ["go", asked, result(call, "rain")]
    turn = asyncio.create_task(pair.first.stream(*messages, tools=[WEATHER]))
    try:
        await model.arrived(3)
        pair.die()
        answer = await message_of(pair.second, *messages, stream=False)
    finally:
        await left(turn)
    assert answer["message"]["content"] == "It rains."
    assert model.requests[3].tool_results == ["rain", "two"]
    assert tools.ran() == ["echo go", "echo two"]


async def test_who_leaves_after_the_results_and_asks_again_gets_the_rest(
    pair: Pair, model: ScriptedModel, tools: Tools
) -> None:
    model.script(ASKED, Answer(calls=[Call("files__echo", {"text": "two"})]), Answer("It", stall_after=1), "It rains.")
    asked, call = await ask_for_weather(pair.first, "go")
    messages = ["go", asked, result(call, "rain")]
    turn = asyncio.create_task(pair.first.stream(*messages, tools=[WEATHER]))
    await model.arrived(3)
    await left(turn)
    response = await pair.first.ask(*messages, tools=[WEATHER], headers=AGAIN)
    assert response.json()["choices"][0]["message"]["content"] == "It rains."
    assert model.requests[3].tool_results == ["rain", "two"]
    assert tools.ran() == ["echo go", "echo two"]
