"""The main job on real parts: the official client, Interlock, a real LiteLLM, three real MCP servers, two roles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from support.gateway import ADMIN_KEY, DEVELOPER_KEY, Gateway
from support.litellm import LiteLLM
from support.mcp_servers import CallsSince, RealServer
from support.postgres import Postgres
from support.scripted_model import Answer, Body, Call, ScriptedModel, text_of

COUNT = {"sql": "SELECT count(*) AS n FROM customers"}
LOAD = {"query": "harbour_load"}
CONFIGS = Path(__file__).parent / "configs"


@pytest.fixture
def budget(servers: dict[str, RealServer]) -> dict[str, str]:
    """Arguments of the call that reads the budget."""
    return {"path": f"{servers['filesystem'].facts['workspace']}/budget.txt"}


def question(text: str = "How is the harbour?") -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def what_the_tools_said(body: Body) -> str:
    """The model's last word: the tool results, which it could not have known."""
    results = [text_of(message["content"]) for message in body["messages"] if message["role"] == "tool"]
    return "I found: " + " | ".join(results)


def three_rounds(budget: dict[str, str]) -> list[Any]:
    return [
        Answer(calls=[Call("filesystem__read_text_file", budget)]),
        Answer("Now the customers. ", calls=[Call("postgres__execute_sql", COUNT)]),
        Answer(calls=[Call("monitoring__execute_query", LOAD)]),
        what_the_tools_said,
    ]


def assert_all_three_were_called_once(calls: CallsSince, budget: dict[str, str]) -> None:
    assert calls() == [
        ("filesystem/read_text_file", budget),
        ("postgres/execute_sql", COUNT),
        ("monitoring/execute_query", LOAD),
    ]


def assert_holds_what_only_tools_know(answer: str) -> None:
    assert "73914" in answer
    assert "1307" in answer
    assert "62.375" in answer


def test_three_rounds_through_three_servers_are_one_whole_answer(
    interlock: Gateway, model: ScriptedModel, calls: CallsSince, budget: dict[str, str]
) -> None:
    model.script(*three_rounds(budget))
    with interlock.client() as client:
        answer = client.chat.completions.create(model="assistant", messages=question())

    assert answer.model == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert not answer.choices[0].message.tool_calls
    assert_holds_what_only_tools_know(answer.choices[0].message.content or "")
    assert_all_three_were_called_once(calls, budget)
    assert len(model.requests) == 4


def test_three_rounds_through_three_servers_are_one_stream(
    interlock: Gateway, model: ScriptedModel, calls: CallsSince, budget: dict[str, str]
) -> None:
    model.script(*three_rounds(budget))
    with interlock.client() as client:
        stream = client.chat.completions.create(
            model="assistant", messages=question(), stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)

    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert_holds_what_only_tools_know("".join(choice.delta.content or "" for choice in choices))
    assert [choice.delta.role for choice in choices if choice.delta.role] == ["assistant"]
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert not any(choice.delta.tool_calls for choice in choices), "the client must not see calls that ran here"
    assert {chunk.model for chunk in chunks} == {"assistant"}
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens
    assert_all_three_were_called_once(calls, budget)
    assert len(model.requests) == 4


def test_three_calls_of_one_round_all_run(
    interlock: Gateway, model: ScriptedModel, calls: CallsSince, budget: dict[str, str]
) -> None:
    together = [
        Call("filesystem__read_text_file", budget),
        Call("postgres__execute_sql", COUNT),
        Call("monitoring__execute_query", LOAD),
    ]
    model.script(Answer(calls=together), what_the_tools_said)
    with interlock.client() as client:
        answer = client.chat.completions.create(model="assistant", messages=question())

    assert_holds_what_only_tools_know(answer.choices[0].message.content or "")
    assert_all_three_were_called_once(calls, budget)
    assert len(model.requests) == 2


def test_a_model_of_litellm_gets_the_tools_through_the_default_graph(
    interlock: Gateway, model: ScriptedModel, calls: CallsSince
) -> None:
    model.script(Answer(calls=[Call("monitoring__execute_query", LOAD)]), what_the_tools_said)
    with interlock.client() as client:
        offered = {entry.id for entry in client.models.list()}
        answer = client.chat.completions.create(model="scripted-large", messages=question())

    assert offered >= {"assistant", "scripted", "scripted-large"}
    assert answer.model == "scripted-large"
    assert "62.375" in (answer.choices[0].message.content or "")
    assert [request.body["model"] for request in model.requests] == ["scripted-large", "scripted-large"]
    assert calls() == [("monitoring/execute_query", LOAD)]


def test_the_next_question_still_knows_what_the_tools_said(
    interlock: Gateway, model: ScriptedModel, budget: dict[str, str]
) -> None:
    read = Answer(calls=[Call("filesystem__read_text_file", budget)])
    model.script(read, "I have read it.", what_the_tools_said)
    with interlock.client() as client:
        first = client.chat.completions.create(model="assistant", messages=question("Read the budget."))
        said = first.choices[0].message.content or ""
        # As clients do: only what they showed comes back.
        history = [*question("Read the budget."), {"role": "assistant", "content": said}, *question("What is it?")]
        second = client.chat.completions.create(model="assistant", messages=history)

    assert said == "I have read it."
    assert "73914" in (second.choices[0].message.content or "")


@pytest.mark.parametrize(
    ("tool", "args"),
    [
        ("filesystem__read_text_file", {"path": "/etc/hostname"}),
        ("filesystem__read_text_file", {"path": "WORKSPACE/../outside.txt"}),
        ("filesystem__write_file", {"path": "WORKSPACE/new.txt", "content": "x"}),
        ("postgres__execute_sql", {"sql": "DELETE FROM customers"}),
        ("postgres__execute_sql", {"sql": "SELECT 1; DROP TABLE customers"}),
        ("postgres__search_objects", {"object_type": "table"}),
    ],
)
def test_a_developer_is_refused_what_the_role_withholds(
    interlock: Gateway,
    model: ScriptedModel,
    calls: CallsSince,
    servers: dict[str, RealServer],
    database: Postgres,
    tool: str,
    args: dict[str, str],
) -> None:
    workspace = servers["filesystem"].facts["workspace"]
    args = {name: value.replace("WORKSPACE", workspace) for name, value in args.items()}
    model.script(Answer(calls=[Call(tool, args)]), "I may not.")
    with interlock.client(DEVELOPER_KEY) as client:
        answer = client.chat.completions.create(model="assistant", messages=question())

    assert answer.choices[0].message.content == "I may not."
    [told] = model.requests[-1].tool_results
    assert "developer" in told
    assert re.search(r"access\.yaml:\d+", told), told
    assert calls() == []
    assert database.query("SELECT count(*) FROM customers") == "1307"


def test_a_deny_is_named_to_the_model_with_its_role_list_pattern_and_line(
    interlock: Gateway, model: ScriptedModel, calls: CallsSince
) -> None:
    line = (CONFIGS / "access.yaml").read_text().splitlines().index("      - filesystem/create_*") + 1
    model.script(Answer(calls=[Call("filesystem__create_directory", {"path": "/x"})]), "I may not.")
    with interlock.client(DEVELOPER_KEY) as client:
        client.chat.completions.create(model="assistant", messages=question())

    [told] = model.requests[-1].tool_results
    for part in ("developer", "deny", "filesystem/create_*", f"access.yaml:{line}"):
        assert part in told
    assert calls() == []


def test_of_one_round_only_what_the_role_allows_runs(
    interlock: Gateway, model: ScriptedModel, calls: CallsSince, budget: dict[str, str]
) -> None:
    allowed = [Call("filesystem__read_text_file", budget), Call("postgres__execute_sql", COUNT)]
    withheld = Call("postgres__execute_sql", {"sql": "UPDATE customers SET country = ''"})
    model.script(Answer(calls=[*allowed, withheld]), what_the_tools_said)
    with interlock.client(DEVELOPER_KEY) as client:
        answer = client.chat.completions.create(model="assistant", messages=question())

    said = answer.choices[0].message.content or ""
    assert "73914" in said
    assert "1307" in said
    assert "access.yaml:" in said
    assert calls() == [("filesystem/read_text_file", budget), ("postgres/execute_sql", COUNT)]


def test_a_role_sees_no_tool_that_it_could_never_call(interlock: Gateway, model: ScriptedModel) -> None:
    seen: dict[str, set[str]] = {}
    for key in (ADMIN_KEY, DEVELOPER_KEY):
        model.script("Hello.")
        with interlock.client(key) as client:
            client.chat.completions.create(model="assistant", messages=question("hello"))
        seen[key] = set(model.requests[-1].tools)

    assert seen[ADMIN_KEY] >= {"filesystem__write_file", "postgres__search_objects", "monitoring__execute_query"}
    assert seen[DEVELOPER_KEY] >= {
        "filesystem__read_text_file",
        "postgres__execute_sql",
        "monitoring__execute_query",
    }
    assert not seen[DEVELOPER_KEY] & {
        "filesystem__write_file",
        "filesystem__create_directory",
        "postgres__search_objects",
    }


@pytest.mark.parametrize("key", ["ilk_nobody", "nonsense", ADMIN_KEY[:-1], ADMIN_KEY + "x"])
def test_an_unknown_key_gets_401_and_reaches_nothing(interlock: Gateway, model: ScriptedModel, key: str) -> None:
    with interlock.client(key) as client:
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model="assistant", messages=question())
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    assert model.requests == []


def test_an_unknown_model_gets_404(interlock: Gateway, model: ScriptedModel) -> None:
    with interlock.client() as client, pytest.raises(openai.NotFoundError, match="no-such-graph"):
        client.chat.completions.create(model="no-such-graph", messages=question())
    assert model.requests == []


def test_ready_names_every_server_and_its_tools(interlock: Gateway) -> None:
    ready = interlock.ready()
    assert ready["status"] == "ok"
    assert ready["problems"] == []
    assert set(ready["servers"]) == {"filesystem", "postgres", "monitoring"}
    assert "execute_sql" in str(ready["servers"]["postgres"]["tools"])


def test_no_key_is_ever_logged(interlock: Gateway, litellm: LiteLLM) -> None:
    log = interlock.process.text()
    assert ADMIN_KEY not in log
    assert DEVELOPER_KEY not in log
    assert litellm.key not in log
