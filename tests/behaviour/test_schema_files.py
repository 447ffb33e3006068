"""Variables whose type is a JSON Schema file, over real HTTP: models, questions, calls, functions, maps, reloads."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.facade import serving, write_configs
from support.scripted_model import Answer, Body, ScriptedModel
from test_calls import STEPS
from test_openwebui import asked, panel
from test_question_panels import stream
from test_questions import Chat
from test_questions_api import list_pending, post
from test_reload import saved, until_ready
from typer.testing import CliRunner

from server.cli.main import app

ORDER: dict[str, Any] = {
    "type": "object",
    "required": ["sku", "count"],
    "additionalProperties": False,
    "properties": {
        "sku": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]+$"},
        "count": {"type": "integer", "minimum": 1},
        "urgency": {"enum": ["low", "high"]},
    },
}
LOWER = {**ORDER, "properties": {**ORDER["properties"], "sku": {"type": "string", "pattern": "^[a-z]+$"}}}
READ: dict[str, Any] = {
    "vars": {"order": {"schema": "./order.schema.json"}},
    "start": "read",
    "nodes": {
        "read": {"type": "model", "prompt": "Read the order.", "into": "order", "on_error": "sorry", "next": "say"},
        "say": {"type": "reply", "text": "{{ order.count }} of {{ order.sku }}", "next": "end"},
        "sorry": {"type": "reply", "text": "{{ error.kind }}: {{ error.message }}", "next": "end"},
    },
}
ASK: dict[str, Any] = {
    **READ,
    "start": "ask",
    "nodes": {
        "ask": {"type": "question", "question": "What?", "into": "order", "next": "say"},
        "say": READ["nodes"]["say"],
    },
}


def write(
    folder: Path,
    model: ScriptedModel,
    graph: Mapping[str, Any],
    schema: Mapping[str, Any] = ORDER,
    servers: Mapping[str, Any] | None = None,
) -> Path:
    configs = write_configs(folder / "configs", model.url, servers or {}, graphs={"assistant": graph})
    (configs / "graphs" / "order.schema.json").write_text(json.dumps(schema))
    return configs


async def talk(folder: Path, model: ScriptedModel, graph: Mapping[str, Any], *scripted: Any, **more: Any) -> str:
    model.script(*scripted)
    async with serving(write(folder, model, graph, **more), folder / "data") as facade:
        return await facade.say("hello")


@pytest.mark.usefixtures("keys")
class TestModels:
    async def test_a_model_is_asked_with_the_schema_and_told_once_which_rules_its_answer_breaks(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        wrong = Answer('{"sku": "abc", "count": 0, "urgency": null}')
        right = Answer('{"sku": "ABC-1", "count": 2, "urgency": null}')
        assert await talk(tmp_path, model, READ, wrong, right) == "2 of ABC-1"
        asked, again = (request.body for request in model.requests)
        form = asked["response_format"]["json_schema"]
        assert form["strict"] is True
        assert form["schema"] == {
            "type": "object",
            "properties": {
                "sku": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]+$"},
                "count": {"type": "integer", "minimum": 1},
                "urgency": {"anyOf": [{"type": "string", "enum": ["low", "high"]}, {"type": "null"}]},
            },
            "required": ["sku", "count", "urgency"],
            "additionalProperties": False,
        }
        assert (
            "Your answer could not be used: it at 'count' is less than 1; at 'sku' does not match the pattern"
            " '^[A-Z]{3}-[0-9]+$'. Answer with JSON of this schema alone:"
        ) in again["messages"][-1]["content"]

    async def test_a_second_answer_that_breaks_a_rule_fails_the_node(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        wrong = Answer('{"sku": "abc", "count": 1, "urgency": null}')
        answer = await talk(tmp_path, model, READ, wrong, wrong)
        assert answer.startswith("invalid: node 'read': the model's answer for 'order' at 'sku' does not match")

    async def test_what_no_strict_schema_can_say_is_asked_for_as_a_function(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        more = {"type": "object", "additionalProperties": {"type": "integer"}}
        schema = {**ORDER, "properties": {**ORDER["properties"], "more": more}}
        answer = Answer('{"sku": "ABC-1", "count": 2, "more": {"a": 1}}')
        assert await talk(tmp_path, model, READ, answer, schema=schema) == "2 of ABC-1"
        [tool] = model.requests[0].body["tools"]
        assert tool["function"]["parameters"]["properties"]["more"] == {"anyOf": [more, {"type": "null"}]}

    @pytest.mark.parametrize("type_", ["model", "agent"])
    async def test_a_text_with_rules_is_asked_for_with_them(
        self, type_: str, tmp_path: Path, model: ScriptedModel
    ) -> None:
        say = {"type": "reply", "text": "It is {{ order }}.", "next": "end"}
        graph = {**READ, "nodes": {**READ["nodes"], "say": say, "read": {**READ["nodes"]["read"], "type": type_}}}
        schema = ORDER["properties"]["sku"]
        said = ["I have read it."] if type_ == "agent" else []
        assert await talk(tmp_path, model, graph, *said, "abc", Answer('"ABC-1"'), schema=schema) == "It is ABC-1."
        form = model.requests[-1].body["response_format"]["json_schema"]["schema"]
        assert form["properties"]["value"] == {"type": "string", "pattern": "^[A-Z]{3}-[0-9]+$"}
        assert "it does not match the pattern" in model.requests[-1].messages[-1]["content"]

    @pytest.mark.parametrize("said", ["123", '"123"', '{"value": "123"}', "  123\n"])
    async def test_a_text_is_understood_however_a_model_writes_it(
        self, said: str, tmp_path: Path, model: ScriptedModel
    ) -> None:
        say = {"type": "reply", "text": "It is {{ order }}.", "next": "end"}
        graph = {**READ, "nodes": {**READ["nodes"], "say": say}}
        schema = {"type": "string", "pattern": "^[0-9]+$"}
        assert await talk(tmp_path, model, graph, Answer(said), schema=schema) == "It is 123."

    async def test_an_object_that_may_be_null_stands_in_another(self, tmp_path: Path, model: ScriptedModel) -> None:
        say = {"type": "reply", "text": "{{ order == null }}", "next": "end"}
        graph = {**READ, "nodes": {**READ["nodes"], "say": say}}
        schema = {"anyOf": [ORDER, {"type": "null"}]}
        assert await talk(tmp_path, model, graph, Answer('{"value": null}'), schema=schema) == "true"
        form = model.requests[0].body["response_format"]["json_schema"]["schema"]
        assert (form["type"], form["properties"]["value"]["anyOf"][1]) == ("object", {"type": "null"})

    async def test_an_agent_gives_such_a_value_at_its_end(self, tmp_path: Path, model: ScriptedModel) -> None:
        graph = {**READ, "nodes": {**READ["nodes"], "read": {**READ["nodes"]["read"], "type": "agent"}}}
        right = Answer('{"sku": "ABC-1", "count": 2, "urgency": null}')
        assert await talk(tmp_path, model, graph, "I have read it.", right) == "2 of ABC-1"
        assert "response_format" in model.requests[1].body


@pytest.mark.usefixtures("keys")
class TestQuestions:
    async def test_a_person_is_asked_a_field_at_a_time_and_again_where_a_rule_is_broken(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        async with serving(write(tmp_path, model, ASK), tmp_path / "data") as facade:
            chat = Chat(facade)
            sku = "**sku** (1 of 3): Reply with a text that matches the pattern `^[A-Z]{3}-[0-9]+$`."
            assert await chat.say("go") == f"What?\n\n{sku}"
            assert await chat.say("abc") == f"That answer does not match the pattern '^[A-Z]{{3}}-[0-9]+$'.\n\n{sku}"
            count = "**count** (2 of 3): Reply with a whole number of at least 1."
            assert await chat.say("ABC-1") == count
            assert await chat.say("many") == f"“many” does not fit; expected a whole number of at least 1.\n\n{count}"
            assert await chat.say("0") == f"That answer is less than 1.\n\n{count}"
            assert (await chat.say("2")).startswith("**urgency** (3 of 3)")
            assert await chat.say("-") == "2 of ABC-1"

    async def test_a_person_reads_what_the_schema_says_of_a_field_before_and_after_a_mistake(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        described: dict[str, Any] = {
            "sku": {**ORDER["properties"]["sku"], "description": "Such as\n ABC-12"},
            "count": {"$ref": "#/$defs/count", "description": "How many?"},
            "urgency": {"enum": ["low", "high"], "description": "When it is needed."},
        }
        schema = {**ORDER, "properties": described, "$defs": {"count": {"type": "integer", "maximum": 9}}}
        async with serving(write(tmp_path, model, ASK, schema), tmp_path / "data") as facade:
            chat = Chat(facade)
            assert await chat.say("go") == "What?\n\n**sku** (1 of 3): Such as ABC-12."
            assert (await chat.say("abc")).endswith("'^[A-Z]{3}-[0-9]+$'.\n\n**sku** (1 of 3): Such as ABC-12.")
            count = "**count** (2 of 3): How many? Reply with a whole number of at most 9."
            assert await chat.say("ABC-1") == count
            assert await chat.say("10") == f"That answer is more than 9.\n\n{count}"
            urgency = "**urgency** (3 of 3): When it is needed.\n\n1. low\n2. high\n\nReply with one of these"
            assert (await chat.say("2")).startswith(urgency)

    async def test_a_question_for_one_value_says_what_its_schema_says(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        ask = {**ASK, "nodes": {**ASK["nodes"], "say": {"type": "reply", "text": "It is {{ order }}.", "next": "end"}}}
        schema = {"type": "string", "format": "date", "description": "The day of the delivery"}
        async with serving(write(tmp_path, model, ask, schema), tmp_path / "data") as facade:
            chat = Chat(facade)
            how = "The day of the delivery. Reply with a date, such as 2026-01-31."
            assert await chat.say("go") == f"What?\n\n{how}"
            assert await chat.say("soon") == f"That answer is no date.\n\nWhat?\n\n{how}"
            assert await chat.say("2026-02-28") == "It is 2026-02-28."

    @pytest.mark.parametrize(
        ("description", "shown"),
        [("Whether it is late", "What? (late: Whether it is late.)"), ("x" * 495, "What? (late)")],
    )
    async def test_open_webui_shows_the_description_where_there_is_room(
        self, description: str, shown: str, tmp_path: Path, model: ScriptedModel
    ) -> None:
        ask = {**ASK, "nodes": {**ASK["nodes"], "say": {"type": "reply", "text": "{{ order.late }}", "next": "end"}}}
        late = {"type": "boolean", "description": description}
        schema = {"type": "object", "required": ["late"], "properties": {"late": late}}
        async with serving(write(tmp_path, model, ask, schema), tmp_path / "data") as facade:
            (question,) = asked(panel(await stream(facade, "go")))
            assert question["question"] == shown

    async def test_an_answer_over_the_api_fits_the_schema_that_is_shown_there(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        async with serving(write(tmp_path, model, ASK), tmp_path / "data") as facade:
            await facade.say("go")
            (entry,) = await list_pending(facade)
            assert entry["schema"]["properties"]["sku"] == {"type": "string", "pattern": "^[A-Z]{3}-[0-9]+$"}
            wrong = await post(facade, entry["id"], {"sku": "ABC-1", "count": 0})
            assert wrong.status_code == 400
            assert wrong.json()["error"]["message"] == "The answer at 'count' is less than 1."
            assert (await post(facade, entry["id"], {"sku": "ABC-1", "count": 3})).status_code == 200


def give(node: Mapping[str, Any], **variables: Any) -> dict[str, Any]:
    """A graph whose first node gives an order."""
    nodes = {name: READ["nodes"][name] for name in ("say", "sorry")}
    first = {"on_error": "sorry", "next": "say", **node}
    return {"vars": {**READ["vars"], **variables}, "start": "first", "nodes": {"first": first, **nodes}}


@pytest.mark.usefixtures("keys")
class TestOtherNodes:
    async def test_what_a_node_computes_is_held_against_the_schema(self, tmp_path: Path, model: ScriptedModel) -> None:
        value = "{'sku': message, 'count': 1}"
        graph = give({"type": "set", "set": {"order": value}})
        answer = await talk(tmp_path, model, graph)
        assert answer.startswith("invalid: graphs/assistant.yaml, node 'first', set.order: what would go into 'order'")
        assert "at 'sku' does not match the pattern" in answer

    async def test_the_result_of_a_tool_may_have_fields_that_an_open_schema_does_not_name(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        schema = {"type": "object", "required": ["rows"], "properties": {"rows": {"type": "array"}}}
        node = {"type": "call", "tool": "steps/query", "args": {"sql": "S"}, "into": "order"}
        graph = give(node)
        graph["nodes"]["say"] = {"type": "reply", "text": "{{ size(order.rows) }} {{ order }}", "next": "end"}
        servers = {"steps": {"command": sys.executable, "args": [str(STEPS), str(tmp_path / "log")]}}
        answer = await talk(tmp_path, model, graph, schema=schema, servers=servers)
        assert answer == '2 {"rows":[["Germany",7],["France",5]],"limit":10}'

    async def test_a_map_gives_a_list_whose_items_a_schema_says(self, tmp_path: Path, model: ScriptedModel) -> None:
        do = {"type": "model", "prompt": "Read.", "input": "{{ item }}"}
        names = {"type": "string[]", "default": ["a", "b"]}
        graph = give({"type": "map", "over": "names", "do": do, "into": "order"}, names=names)
        graph["nodes"]["say"] = {
            "type": "reply",
            "text": '{{ order.map(one, one.sku).join(" ") }}',
            "next": "end",
        }
        answers = [Answer(f'{{"sku": "ABC-{at}", "count": 1, "urgency": null}}') for at in (1, 1)]
        schema = {"type": "array", "items": ORDER}
        assert await talk(tmp_path, model, graph, *answers, schema=schema) == "ABC-1 ABC-1"
        assert model.requests[0].body["response_format"]["json_schema"]["schema"]["properties"]["sku"]["pattern"]

    async def test_a_branch_is_asked_for_its_field_of_the_schema(self, tmp_path: Path, model: ScriptedModel) -> None:
        branches = {name: {"type": "model", "prompt": name, "input": "{{ message }}"} for name in ("sku", "count")}
        graph = give({"type": "parallel", "branches": branches, "into": "order"})

        def answer(body: Body) -> Answer:
            asked = body["response_format"]["json_schema"]["schema"]["properties"]["value"]
            return Answer(json.dumps({"value": "ABC-1" if "pattern" in asked else 2}))

        model.respond(answer)
        assert await talk(tmp_path, model, graph) == "2 of ABC-1"

    async def test_a_function_gets_and_gives_such_a_value(self, tmp_path: Path, model: ScriptedModel) -> None:
        node = {"type": "python", "run": "orders:make", "with": {"sku": "{{ message }}"}, "into": "order"}
        configs = write(tmp_path, model, give(node))
        (configs / "python").mkdir()
        (configs / "python" / "orders.py").write_text(
            "from typing_extensions import TypedDict\nclass Order(TypedDict):\n    sku: str\n    count: int\n"
            "def make(sku: str) -> Order:\n    return {'sku': sku, 'count': 1}\n"
        )
        async with serving(configs, tmp_path / "data") as facade:
            assert await facade.say("ABC-7") == "1 of ABC-7"
            answer = await facade.say("seven")
        assert "what orders:make returned at 'sku' does not match the pattern" in answer


@pytest.mark.usefixtures("keys")
class TestChats:
    @pytest.mark.parametrize(
        ("schema", "asked", "replies", "answer"),
        [
            ({"type": "string", "description": "What you like."}, None, [], "It is tea."),
            (
                {"type": "string", "pattern": "^[A-Z]{3}$"},
                "**order** (1 of 1): Reply with a text that matches the pattern `^[A-Z]{3}$`.",
                ["abc", "ABC"],
                "It is ABC.",
            ),
            (
                {"type": "string", "format": "date"},
                "**order** (1 of 1): Reply with a date",
                ["soon", "2026-01-31"],
                "It is 2026-01-31.",
            ),
            ({"type": ["string", "null"]}, "**order** (1 of 1): Reply `-` to leave it out.", ["ABC"], "It is ABC."),
            ({"type": ["string", "null"]}, "**order** (1 of 1): Reply `-` to leave it out.", ["-"], "It is null."),
        ],
    )
    async def test_only_a_text_without_rules_is_the_message(
        self, schema: Any, asked: str | None, replies: list[str], answer: str, tmp_path: Path, model: ScriptedModel
    ) -> None:
        nodes = {"say": {"type": "reply", "text": "It is {{ order }}.", "next": "end"}}
        graph = {"input": READ["vars"], "start": "say", "nodes": nodes}
        async with serving(write(tmp_path, model, graph, schema), tmp_path / "data") as facade:
            chat = Chat(facade)
            first, *later = [await chat.say(text) for text in ("tea", *replies)]
            if asked is not None:
                assert first.startswith(f"The graph 'assistant' needs its input first.\n\n{asked}")
            assert [first, *later][-1] == answer


CASES = """\
cases:
  an answer that breaks a rule goes back:
    say: Two of ABC-1
    model: {read: [{value: {sku: abc, count: 2}}, {value: {sku: ABC-1, count: 2}}]}
    expect: {route: [read, say, end], vars: {order: {sku: ABC-1, count: 2}}, answer: 'answer == "2 of ABC-1"'}
  a second one fails the node:
    say: Two of abc
    model: {read: [{value: {sku: abc, count: 2}}, {value: {sku: abc, count: 2}}]}
    expect: {route: [read, sorry, end], answer: answer.startsWith("invalid")}
"""


def test_cases_give_such_values(tmp_path: Path) -> None:
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "assistant.yaml").write_text(yaml.safe_dump(READ, sort_keys=False))
    (tmp_path / "graphs" / "order.schema.yaml").write_text(yaml.safe_dump(ORDER))
    (tmp_path / "graphs" / "assistant.test.yaml").write_text(f"as: {{role: admin}}\n{CASES}")
    assert "order.schema.json" in (missing := CliRunner().invoke(app, ["test", "--configs", str(tmp_path)])).output
    assert missing.exit_code == 2
    (tmp_path / "graphs" / "order.schema.json").write_text(json.dumps(ORDER))
    done = CliRunner().invoke(app, ["test", "--configs", str(tmp_path)])
    assert done.exit_code == 0, done.output


@pytest.mark.usefixtures("keys")
class TestReloads:
    async def test_a_turn_under_way_goes_on_with_the_schema_that_it_began_with(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        configs = write(tmp_path, model, READ)
        model.script(Answer('{"sku": "abc", "count": 2}', stall_after=1), Answer('{"sku": "ABC-1", "count": 2}'))
        async with serving(configs, tmp_path / "data") as facade:
            turn = asyncio.create_task(facade.say("go"))
            await model.arrived()
            await saved(facade, configs / "graphs" / "order.schema.json", json.dumps(LOWER))
            model.release()
            assert await turn == "2 of ABC-1"

    async def test_a_saved_schema_holds_for_the_next_turn_and_a_bad_one_for_none(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        configs = write(tmp_path, model, READ)
        file = configs / "graphs" / "order.schema.json"
        model.script(Answer('{"sku": "ABC-1", "count": 2}'), Answer('{"sku": "abc", "count": 2}'), Answer("{}"))
        async with serving(configs, tmp_path / "data") as facade:
            assert await facade.say("go") == "2 of ABC-1"
            await saved(facade, file, json.dumps(LOWER))
            assert await facade.say("go") == "2 of abc"
            file.write_text("{")
            state = await until_ready(facade, lambda state: state["problems"])
            assert "graphs/order.schema.json:1:2 is no JSON" in str(state["problems"])

    async def test_a_turn_that_waits_with_a_value_that_no_longer_fits_ends_in_words(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        nodes = {
            "read": {**READ["nodes"]["read"], "next": "sure", "on_error": None},
            "sure": {"type": "question", "question": "Sure?", "into": "sure", "next": "say"},
            "say": READ["nodes"]["say"],
        }
        del nodes["read"]["on_error"]
        graph = {**READ, "vars": {**READ["vars"], "sure": "bool"}, "nodes": nodes}
        configs = write(tmp_path, model, graph)
        model.script(Answer('{"sku": "ABC-1", "count": 2}'))
        async with serving(configs, tmp_path / "data") as facade:
            chat = Chat(facade)
            assert (await chat.say("go")).startswith("Sure?")
            await saved(facade, configs / "graphs" / "order.schema.json", json.dumps(LOWER))
            assert await chat.say("yes") == (
                "The graph 'assistant' was changed while this waited, and the value of its variable 'order' no longer"
                " fits: it at 'sku' does not match the pattern '^[a-z]+$'. Nothing was run."
            )
