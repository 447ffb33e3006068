"""Graphs with `input` that are chatted with, over real HTTP: what the message does not give is asked as a form."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.facade import ADMIN, content, said, serving, write_configs
from support.metrics_page import scraped
from support.scripted_model import Answer, ScriptedModel
from test_openwebui import answer, asked, panel
from test_question_panels import stream
from test_questions import Chat, talk
from test_questions_api import get, list_pending, post
from test_takeover import Pair, left, pair
from test_variables import EXAMPLES

__all__ = ["pair"]

NEEDS = "The graph 'assistant' needs its input first."


def take(**inputs: Any) -> dict[str, Any]:
    """A graph with this input, which says it beside the message."""
    listed = ", ".join(f"{name}={{{{ {name} }}}}" for name in inputs)
    say = {"type": "reply", "text": f"{listed} ({{{{ message }}}})", "next": "end"}
    return {"input": inputs, "start": "say", "nodes": {"say": say}}


def configure(folder: Path, model: ScriptedModel, graph: Mapping[str, Any], **more: Mapping[str, Any]) -> Path:
    return write_configs(folder / "configs", model.url, {}, graphs={"assistant": graph, **more})


@pytest.mark.usefixtures("keys")
class TestWhatIsAsked:
    async def test_the_inputs_are_asked_one_at_a_time_before_the_graph_starts(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        answers = await talk(tmp_path, model, take(pull="int", strict="bool"), "review it", "many", "7", "no")
        assert answers == [
            f"{NEEDS}\n\n**pull** (1 of 2): Reply with a whole number.",
            "“many” does not fit; expected a whole number.\n\n**pull** (1 of 2): Reply with a whole number.",
            "**strict** (2 of 2): Reply with yes or no.",
            "pull=7, strict=false (review it)",
        ]

    async def test_each_turn_is_asked_for_its_own(self, tmp_path: Path, model: ScriptedModel) -> None:
        answers = await talk(tmp_path, model, take(pull="int"), "one", "1", "two", "2")
        assert answers[1] == "pull=1 (one)"
        assert answers[2].startswith(NEEDS)
        assert answers[3] == "pull=2 (two)"

    async def test_what_has_a_default_may_be_left_out(self, tmp_path: Path, model: ScriptedModel) -> None:
        graph = take(pull="int", depth={"type": "int", "default": 3}, marks={"type": "string[]", "default": ["a"]})
        left_out = await talk(tmp_path / "one", model, graph, "go", "7", "-")
        assert left_out[1] == "**depth** (2 of 2): Reply with a whole number. Reply `-` to leave it out."
        assert left_out[2] == 'pull=7, depth=3, marks=["a"] (go)'
        given = await talk(tmp_path / "two", model, graph, "go", "7", "1")
        assert given[2] == 'pull=7, depth=1, marks=["a"] (go)'

    @pytest.mark.parametrize(
        ("inputs", "expected"),
        [
            ({"topic": "string"}, "topic=tea (tea)"),
            ({"topic": "string", "depth": {"type": "int", "default": 3}}, "topic=tea, depth=3 (tea)"),
            ({"depth": {"type": "int", "default": 3}}, "depth=3 (tea)"),
        ],
    )
    async def test_nothing_is_asked_where_the_message_is_all_that_is_needed(
        self, inputs: dict[str, Any], expected: str, tmp_path: Path, model: ScriptedModel
    ) -> None:
        assert await talk(tmp_path, model, take(**inputs), "tea") == [expected]

    async def test_the_message_is_the_only_text_and_the_rest_is_asked_for(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        answers = await talk(tmp_path, model, take(topic="string", depth="int"), "tea", "2")
        assert answers[0].startswith(f"{NEEDS}\n\n**depth** (1 of 1)")
        assert answers[1] == "topic=tea, depth=2 (tea)"

    async def test_of_two_texts_none_is_the_message(self, tmp_path: Path, model: ScriptedModel) -> None:
        answers = await talk(tmp_path, model, take(topic="string", tone="string"), "go", "tea", "dry")
        assert answers[0] == f"{NEEDS}\n\n**topic** (1 of 2)"
        assert answers[2] == "topic=tea, tone=dry (go)"

    async def test_three_answers_that_do_not_fit_end_the_turn(self, tmp_path: Path, model: ScriptedModel) -> None:
        answers = await talk(tmp_path, model, take(pull="int"), "go", "a", "b", "c", "go")
        assert answers[3] == (
            "The graph stopped here: its input: 3 answers did not fit. “c” does not fit; expected a whole number."
        )
        assert answers[4].startswith(NEEDS), "the next message begins a new turn"

    @pytest.mark.parametrize("type_", ["any", "string[]", {"fields": {"name": "string"}}])
    async def test_what_has_no_form_is_refused_in_words(self, type_: Any, tmp_path: Path, model: ScriptedModel) -> None:
        (refused,) = await talk(tmp_path, model, take(pull="int", things=type_), "go")
        assert refused.startswith("The graph stopped here: graph 'assistant' needs 'things' (")
        assert refused.endswith(
            "), which a chat message does not give, and a form asks only for string, int, number, bool and choices; "
            "give it a default, or run it from another graph."
        )

    async def test_models_see_what_was_asked_and_answered(self, tmp_path: Path, model: ScriptedModel) -> None:
        graph = take(pull="int")
        graph["nodes"]["say"] = {"type": "model", "prompt": "Review {{ pull }}.", "next": "end"}
        model.script("Fine.", "Better.")
        async with serving(configure(tmp_path, model, graph), tmp_path / "data") as facade:
            chat = Chat(facade)
            assert [await chat.say(text) for text in ("review it", "7", "and another", "8")][1::2] == [
                "Fine.",
                "Better.",
            ]
        prompts = [[(m["role"], m["content"]) for m in request.messages] for request in model.requests]
        assert prompts == [
            [("system", "Review 7."), ("user", "review it"), ("assistant", NEEDS), ("user", '{"pull": 7}')],
            [
                ("system", "Review 8."),
                # What was before is as the client sends it.
                ("user", "review it"),
                ("assistant", f"{NEEDS}\n\n**pull** (1 of 1): Reply with a whole number."),
                ("user", "7"),
                ("assistant", "Fine."),
                ("user", "and another"),
                ("assistant", NEEDS),
                ("user", '{"pull": 8}'),
            ],
        ]

    async def test_a_graph_that_another_runs_asks_nobody(self, tmp_path: Path, model: ScriptedModel) -> None:
        deep = take(pull="int", depth="int")
        outer = {
            "start": "deep",
            "nodes": {"deep": {"type": "subgraph", "graph": "deep", "with": {"pull": 7, "depth": 1}, "next": "end"}},
        }
        async with serving(configure(tmp_path, model, outer, deep=deep), tmp_path / "data") as facade:
            assert await facade.say("go") == "pull=7, depth=1 (go)"
            assert (await facade.say("go", model="deep")).startswith("The graph 'deep' needs its input first.")


@pytest.mark.usefixtures("keys")
class TestWhereItIsAsked:
    async def test_open_webui_shows_buttons(self, tmp_path: Path, model: ScriptedModel) -> None:
        graph = take(strict="bool", style=["short", "long"], again={"type": "bool", "default": True})
        async with serving(configure(tmp_path, model, graph), tmp_path / "data") as facade:
            raw = await stream(facade, "go")
            call = panel(raw)
            assert content(raw) == ""
            assert [(each["header"], each["question"]) for each in asked(call)] == [
                (name, f"{NEEDS} ({name})") for name in ("strict", "style", "again")
            ]
            assert [option["label"] for option in asked(call)[2]["options"]] == ["No", "Yes", "Leave it out"]
            history = ["go", *answer(call, "Yes", "long", "Leave it out")]
            assert content(await stream(facade, *history)) == "strict=true, style=long, again=true (go)"

    async def test_texts_and_numbers_are_asked_in_its_chat(self, tmp_path: Path, model: ScriptedModel) -> None:
        async with serving(configure(tmp_path, model, take(pull="int", strict="bool")), tmp_path / "data") as facade:
            text = content(await stream(facade, "go"))
            assert text == f"{NEEDS}\n\n**pull** (1 of 2): Reply with a whole number."
            history: list[Any] = ["go", said(text), "7"]
            call = panel(await stream(facade, *history))
            assert [each["header"] for each in asked(call)] == ["strict"]
            assert content(await stream(facade, *history, *answer(call, "No"))) == "pull=7, strict=false (go)"

    async def test_cancel_ends_the_turn(self, tmp_path: Path, model: ScriptedModel) -> None:
        async with serving(configure(tmp_path, model, take(strict="bool")), tmp_path / "data") as facade:
            reply = answer(panel(await stream(facade, "go")), "Yes")
            reply[1]["content"] = "Error: tool call rejected by user."
            ended = content(await stream(facade, "go", *reply))
            assert ended == "The graph stopped here: its input: its question is not going to be answered."

    async def test_programs_give_it_whole(self, tmp_path: Path, model: ScriptedModel) -> None:
        graph = take(pull="int", depth={"type": "int", "default": 3})
        headers = {"x-interlock-approvals": "error"}
        async with serving(configure(tmp_path, model, graph), tmp_path / "data") as facade:
            paused = await facade.ask("go", headers=headers)
            assert (paused.status_code, paused.json()["error"]["code"]) == (409, "answer_required")
            (entry,) = await list_pending(facade)
            assert (entry["node"], entry["question"]) == ("(input)", NEEDS)
            assert entry["schema"]["required"] == ["pull", "depth"]
            assert (await post(facade, entry["id"], {"depth": 1})).status_code == 400
            assert (await post(facade, entry["id"], {"pull": 7})).status_code == 200
            assert (await facade.say("go", headers=headers)).endswith("pull=7, depth=3 (go)")
            assert (await get(facade, f"/{entry['id']}")).json()["answer"] == {"pull": 7}

    async def test_the_console_shows_it(self, tmp_path: Path, model: ScriptedModel) -> None:
        async with serving(configure(tmp_path, model, take(pull="int")), tmp_path / "data") as facade:
            await facade.say("go")
            address = f"{facade.url.removesuffix('/v1')}/console/api/state"
            state = (await facade.http.get(address, headers={"authorization": f"Bearer {ADMIN}"})).json()
            (shown,) = state["questions"]
            assert (shown["answerable"], [field["name"] for field in shown["fields"]]) == (True, ["pull"])
            waiting = await scraped(facade.http, facade.url)
            assert waiting("interlock_node_seconds_count", node="(input)", type="input") == 1


async def test_the_graph_of_the_guide_asks_for_its_input(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    (graph,) = [each for each in EXAMPLES if "pull" in each.get("input", {})]
    answers = await talk(tmp_path, model, graph, "review it", "7", "short", "-")
    assert answers[-1] == "A short review of 7. Note: nothing."


async def test_a_form_outlives_a_restart(storage: str, tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    configs = configure(tmp_path, model, take(pull="int", strict="bool"))
    async with serving(configs, tmp_path / "data", storage=storage) as facade:
        first = await facade.say("go")
        second = await facade.say("go", said(first), "7")
    async with serving(configs, tmp_path / "data", storage=storage) as facade:
        assert await facade.say("go", said(first), "7", said(second), "yes") == "pull=7, strict=true (go)"


async def test_a_graph_that_asks_no_more_says_that_it_was_changed(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    async with serving(configure(tmp_path, model, take(pull="int")), tmp_path / "data") as facade:
        first = await facade.say("go")
    changed = configure(tmp_path, model, take(pull={"type": "int", "default": 1}))
    async with serving(changed, tmp_path / "data") as facade:
        assert "was changed while this waited" in await facade.say("go", said(first), "7")


class TestTakenUp:
    @pytest.fixture
    def configs(self, tmp_path: Path, model: ScriptedModel) -> Path:
        graph = take(pull="int")
        graph["nodes"]["say"] = {"type": "model", "prompt": "Review {{ pull }}. {{ message }}", "next": "end"}
        return configure(tmp_path, model, graph)

    @pytest.mark.parametrize("has_checkpoint", [True, False])
    async def test_what_was_given_is_not_asked_for_again_where_a_process_dies(
        self, pair: Pair, model: ScriptedModel, has_checkpoint: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = await pair.first.say("go")
        model.script(Answer(["Fi"], stall_after=1))
        turn = asyncio.create_task(pair.first.stream("go", said(first), "7"))
        await model.arrived(1)
        pair.die()
        if not has_checkpoint:  # as if the rules had changed meanwhile
            monkeypatch.setattr("graphs.runtime.turn_entry.identify_request", lambda *_: {"rules": "other"})
        model.script("Fine.")
        again = await pair.second.say("go", said(first), "7")
        assert again.endswith("Fine.")
        assert model.requests[-1].messages[0]["content"].startswith("Review 7. ")
        await left(turn)
