"""The demo model, asked over real HTTP with OpenAI's own client; its tools are called on the real demo servers."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from support.demo_chat import Talk

from graphs.errors import InterlockError
from server.demo import data as demo_data
from server.demo.model.endpoint import create_demo_model
from server.demo.model.serving import read_demo_delay, serve_demo_model
from server.demo.model.wording import EXAMPLES, INTRODUCTION

# The model keeps nothing between requests, so one serves them all.
pytestmark = pytest.mark.asyncio(loop_scope="module")

REFUSED = "Not run: role developer, deny 'filesystem/*' (access.yaml:7)"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        serve_demo_model(delay=0) as url,
        openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client,
    ):
        yield client


@pytest.fixture(params=["streamed", "whole"])
def talk(client: openai.AsyncOpenAI, tmp_path: Path, request: pytest.FixtureRequest) -> Talk:
    return Talk(client, tmp_path, stream=request.param == "streamed")


async def test_files_are_listed(talk: Talk) -> None:
    answer = await talk.ask("list the files")
    assert talk.rounds == [["filesystem__list_directory"]]
    assert "`inventory.csv` (" in answer
    assert "`notes/`" in answer


async def test_a_file_is_read(talk: Talk) -> None:
    answer = await talk.ask([{"type": "text", "text": "read welcome.md"}])
    assert talk.rounds == [["filesystem__read_file"]]
    assert "heron named Quill" in answer


async def test_customers_are_counted_per_country(talk: Talk) -> None:
    answer = await talk.ask("how many customers per country")
    assert talk.rounds == [["database__query"]]
    assert "| Germany | 7 |" in answer
    assert "| Ireland | 1 |" in answer


async def test_the_machine_is_measured(talk: Talk) -> None:
    answer = await talk.ask("How busy is this machine?")
    assert talk.rounds == [["monitoring__metrics"]]
    assert f"cores: {os.cpu_count()};" in answer


async def test_two_tools_in_one_question_are_called_in_one_round(talk: Talk) -> None:
    answer = await talk.ask("how many customers are in Portugal and how busy is this machine?")
    assert talk.rounds == [["database__query", "monitoring__metrics"]]
    assert "customers = **5**" in answer
    assert "% busy" in answer


async def test_three_rounds_each_need_the_one_before(talk: Talk) -> None:
    answer = await talk.ask("list the files, then read the first one, then count the customers in that country")
    assert talk.rounds == [["filesystem__list_directory"], ["filesystem__read_file"], ["database__query"]]
    assert "Focus country: Portugal" in answer
    assert "customers = **5**" in answer


async def test_what_was_found_is_written_and_read_again(talk: Talk, tmp_path: Path) -> None:
    answer = await talk.ask("how many customers per country, then write the result to report.md, then read it")
    assert talk.rounds == [["database__query"], ["filesystem__write_file"], ["filesystem__read_file"]]
    assert "| Kenya | 2 |" in (tmp_path / "workspace/report.md").read_text()
    assert "I wrote `/workspace/report.md`" in answer


async def test_a_write_is_asked_for_and_told(talk: Talk, tmp_path: Path) -> None:
    answer = await talk.ask("write hello to notes.txt")
    assert talk.rounds == [["filesystem__write_file"]]
    assert answer == "I wrote `/workspace/notes.txt`: 5 bytes."
    assert (tmp_path / "workspace/notes.txt").read_text() == "hello"


async def test_sql_is_run_by_the_tool_it_needs(talk: Talk, tmp_path: Path) -> None:
    answer = await talk.ask("run DELETE FROM orders WHERE id < 4, then run `SELECT count(*) AS n FROM orders`")
    assert talk.rounds == [["database__execute"], ["database__query"]]
    assert "The DELETE ran; 3 rows changed." in answer
    assert "n = **57**" in answer
    with closing(sqlite3.connect(demo_data.ensure_database(tmp_path))) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (57,)


@pytest.mark.parametrize("question", [*EXAMPLES, "which tables are there", "revenue per month", "top 3 customers"])
async def test_every_example_it_names_ends_without_trouble(talk: Talk, question: str) -> None:
    answer = await talk.ask(question)
    assert talk.rounds
    assert "did not" not in answer
    assert "No rule" not in answer


async def test_a_refusal_is_told_as_one_and_the_rest_still_answered(talk: Talk) -> None:
    talk.refuse = {"filesystem__write_file": REFUSED, "filesystem__read_file": REFUSED}
    answer = await talk.ask("write hello to notes.txt, read welcome.md and tell me how many orders there are")
    assert talk.rounds == [["filesystem__write_file", "filesystem__read_file", "database__query"]]
    assert answer.count("did not give me what I asked for") == 2
    assert answer.count(REFUSED) == 2
    assert "I wrote" not in answer
    assert "says:\n\n```" not in answer
    assert "orders = **60**" in answer


async def test_what_leans_on_a_refused_step_is_not_made_up(talk: Talk) -> None:
    talk.refuse = {"filesystem__list_directory": REFUSED}
    answer = await talk.ask("list the files, then read the first one")
    assert talk.rounds == [["filesystem__list_directory"]]
    assert REFUSED in answer
    assert "I know of no file to read" in answer


async def test_an_error_of_a_tool_is_quoted(talk: Talk) -> None:
    answer = await talk.ask("read nothing.md")
    assert "did not give me what I asked for" in answer
    assert "'/workspace/nothing.md' does not exist" in answer


async def test_a_tool_that_is_not_offered_is_never_called(talk: Talk) -> None:
    talk.hidden = {"filesystem__write_file"}
    answer = await talk.ask("write hello to notes.txt and list the files")
    assert talk.rounds == [["filesystem__list_directory"]]
    assert "I would need a tool named `write_file`" in answer
    assert "`welcome.md`" in answer


async def test_when_no_more_calls_are_wanted_it_tells_what_it_has(talk: Talk) -> None:
    question = "list the files, then read the first one"
    talk.messages.append({"role": "user", "content": question})
    _, calls = await talk.answer()
    talk.messages.append({"role": "assistant", "content": None, "tool_calls": calls})
    result = await talk.run("filesystem__list_directory", {})
    talk.messages.append({"role": "tool", "tool_call_id": calls[0]["id"], "content": result})
    answer, calls = await talk.answer(tool_choice="none")
    assert calls == []
    assert "`welcome.md`" in answer
    assert "I would need a tool named `read_file`" in answer


async def test_one_call_at_a_time_when_asked_for(talk: Talk) -> None:
    answer = await talk.ask("list the files and how busy is this machine", parallel_tool_calls=False)
    assert talk.rounds == [["filesystem__list_directory"], ["monitoring__metrics"]]
    assert "`welcome.md`" in answer


async def test_without_a_rule_or_tools_it_says_what_it_is(talk: Talk) -> None:
    answer = await talk.ask("What is the meaning of life?")
    assert answer.startswith(INTRODUCTION)
    assert "No rule of mine fits “What is the meaning of life?”" in answer
    assert "`filesystem__read_file`" in answer
    talk.hidden = {tool["function"]["name"] for tool in await talk.tools()}
    answer = await talk.ask("hello")
    assert answer.startswith(INTRODUCTION)
    assert "No tools were offered" in answer
    assert "No rule" not in answer
    assert talk.rounds == []


async def test_what_tools_said_in_an_earlier_turn_is_known(talk: Talk) -> None:
    await talk.ask("read welcome.md")
    answer = await talk.ask("What did the file say again?")
    assert talk.rounds == []
    assert "heron named Quill" in answer


async def test_after_a_decision_the_question_before_it_is_answered(talk: Talk) -> None:
    talk.messages += [
        {"role": "user", "content": "write hello to notes.txt"},
        {"role": "assistant", "content": "Reply `approve abcd2345` to run it."},
        {"role": "user", "content": "approve abcd2345"},
    ]
    answer, calls = await talk.answer()
    assert calls == []
    assert "Nothing waits for that decision" in answer

    call = {"name": "filesystem__write_file", "arguments": '{"path": "/workspace/notes.txt", "content": "hello"}'}
    result = '{"path": "/workspace/notes.txt", "bytes": 5, "created": true}'
    talk.messages += [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": result},
    ]
    answer, calls = await talk.answer()
    assert calls == []
    assert answer == "I wrote `/workspace/notes.txt`: 5 bytes."


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ('{ "title": "your concise title here" }', {"title": "list the files"}),
        ('{ "tags": ["tag1", "tag2"] }', {"tags": ["General"]}),
        ('{ "queries": ["query1"] }', {"queries": []}),
        (
            '{ "follow_ups": ["Question 1?"] }',
            {"follow_ups": ["List the files", "How many customers per country?", "How busy is this machine?"]},
        ),
    ],
)
async def test_tasks_of_a_chat_page_get_the_json_they_ask_for(talk: Talk, form: str, expected: object) -> None:
    history = "<chat_history>\nUSER: list the files\nASSISTANT: Here they are.\n</chat_history>"
    answer = await talk.ask(f"### Task:\nDo it.\n### Output:\nJSON format: {form}\n### Chat History:\n{history}")
    assert json.loads(answer) == expected
    assert talk.rounds == []


async def test_usage_is_told_when_asked_for_and_the_same_in_both_ways(client: openai.AsyncOpenAI) -> None:
    asked: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "hello there"}]}
    whole = await client.chat.completions.create(**asked)
    with_usage = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = [chunk async for chunk in await client.chat.completions.create(**asked, **with_usage)]
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert whole.usage.prompt_tokens == 2
    assert len(chunks) > 50
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks[-3:-1]] == [None, "stop"]
    text = "".join(c.choices[0].delta.content or "" for c in chunks[:-1])
    assert text == whole.choices[0].message.content
    plain = [chunk async for chunk in await client.chat.completions.create(**asked, stream=True)]
    assert all(chunk.usage is None and chunk.choices for chunk in plain)


async def test_models_are_listed_and_others_not_known(client: openai.AsyncOpenAI) -> None:
    assert [model.id for model in (await client.models.list()).data] == ["demo"]
    assert (await client.models.retrieve("demo")).id == "demo"
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-4o' here"):
        await client.models.retrieve("gpt-4o")
    with pytest.raises(openai.NotFoundError, match="its name is 'demo'"):
        await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"{}", "model"),
        (b'{"model": "demo"}', "messages"),
        (b'{"model": "demo", "messages": []}', "messages"),
        (b'{"model": "demo", "messages": [{"role": "robot"}]}', "messages.0.role"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_a_body_that_is_not_valid_is_refused_by_field(body: bytes, param: str | None, prefix: str) -> None:
    transport = httpx.ASGITransport(create_demo_model(delay=0))
    async with httpx.AsyncClient(transport=transport, base_url="http://demo") as http:
        response = await http.post(f"{prefix}/chat/completions", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_the_delay_comes_from_the_environment() -> None:
    assert read_demo_delay({}) == 0.015
    assert read_demo_delay({"INTERLOCK_DEMO_DELAY": "0"}) == 0
    assert read_demo_delay({"INTERLOCK_DEMO_DELAY": "250"}) == 0.25
    for wrong in ("fast", "-1", "nan", "1e9"):
        with pytest.raises(InterlockError, match="INTERLOCK_DEMO_DELAY is"):
            read_demo_delay({"INTERLOCK_DEMO_DELAY": wrong})


async def test_what_goes_wrong_inside_the_block_comes_out_unchanged() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with serve_demo_model(delay=0):
            raise KeyError("mine")


async def test_it_runs_as_a_program_of_its_own_and_prints_its_url() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.demo", "model"), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        word, url = (await process.stdout.readline()).decode().split()
        assert word == "url"
        async with httpx.AsyncClient() as http:
            response = await http.get(f"{url}/models")
        assert response.json()["data"][0]["id"] == "demo"
    finally:
        process.terminate()
        await process.wait()


async def test_texts_with_the_same_words_have_embeddings_near_each_other(client: openai.AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="demo", input=["green tea", "tea, green", "a dog"])
    first, same, other = (entry.embedding for entry in answer.data)
    assert len(first) == 512
    assert sum(a * b for a, b in zip(first, same, strict=True)) == pytest.approx(1.0)
    assert sum(a * b for a, b in zip(first, other, strict=True)) < 0.5
    with pytest.raises(openai.NotFoundError, match="The built-in demo model has no /v1/audio/speech"):
        await client.audio.speech.create(model="demo", voice="alloy", input="Hello")
