"""The scripted model must be a model in a client's eyes, or every test that stands on it proves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from support.scripted_model import Answer, Call, ScriptedModel

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "files__read", "parameters": {"type": "object"}},
}


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as model:
        yield model


@pytest.fixture
async def client(model: ScriptedModel) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=model.url, api_key="any", max_retries=0) as client:
        yield client


async def test_answers_come_in_the_order_of_the_script_and_requests_are_kept(
    model: ScriptedModel, client: openai.AsyncOpenAI
) -> None:
    model.script(Answer(calls=[Call("files__read", {"path": "a"}, id="call_1")]), lambda body: body["model"])
    first = await client.chat.completions.create(model="m", messages=QUESTION, tools=[TOOL])
    second = await client.chat.completions.create(model="m", messages=QUESTION)

    assert first.choices[0].finish_reason == "tool_calls"
    assert first.choices[0].message.tool_calls is not None
    assert first.choices[0].message.tool_calls[0].id == "call_1"
    assert second.choices[0].message.content == "m"
    assert [request.tools for request in model.requests] == [["files__read"], []]
    assert model.requests[0].headers["authorization"] == "Bearer any"
    assert await model.requests[0].ended() == "finished"


async def test_a_stream_has_text_calls_usage_and_one_finish_reason(
    model: ScriptedModel, client: openai.AsyncOpenAI
) -> None:
    model.script(Answer("I look.", calls=[Call("a", {"x": 1}), Call("b")], usage=(3, 4), reasoning="hm"))
    stream = await client.chat.completions.create(
        model="m", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == "I look."
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["tool_calls"]
    arguments = {0: "", 1: ""}
    for choice in choices:
        for call in choice.delta.tool_calls or []:
            assert call.function is not None
            arguments[call.index] += call.function.arguments or ""
    assert arguments == {0: '{"x": 1}', 1: "{}"}
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 7


async def test_a_failure_carries_its_status_words_and_headers(model: ScriptedModel, client: openai.AsyncOpenAI) -> None:
    model.script(Answer(status=429, error="slow down", headers={"retry-after": "7"}))
    with pytest.raises(openai.RateLimitError, match="slow down") as caught:
        await client.chat.completions.create(model="m", messages=QUESTION)
    assert caught.value.response.headers["retry-after"] == "7"


async def test_a_request_that_nobody_scripted_is_refused_in_words(
    model: ScriptedModel, client: openai.AsyncOpenAI
) -> None:
    with pytest.raises(openai.InternalServerError, match="request 1 was not expected"):
        await client.chat.completions.create(model="m", messages=QUESTION)


async def test_a_cut_stream_ends_without_its_end(model: ScriptedModel) -> None:
    model.script(Answer("one two three", cut_after=2))
    body = {"model": "m", "messages": QUESTION, "stream": True}
    seen = ""
    async with httpx.AsyncClient() as http, http.stream("POST", f"{model.url}/chat/completions", json=body) as response:
        with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012, what came before the cut is kept
            async for line in response.aiter_lines():
                seen += line
    assert "two" in seen
    assert "three" not in seen
    assert "[DONE]" not in seen


async def test_a_client_that_leaves_a_stalled_stream_is_noticed(
    model: ScriptedModel, client: openai.AsyncOpenAI
) -> None:
    model.script(Answer("one two", stall_after=1))
    stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)
    request = await model.arrived(1)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()
    assert await request.ended() == "cut"


async def test_a_stalled_answer_goes_on_when_released(model: ScriptedModel, client: openai.AsyncOpenAI) -> None:
    model.script(Answer("one two", stall_after=0))
    asking = asyncio.create_task(client.chat.completions.create(model="m", messages=QUESTION))
    await model.arrived(1)
    assert not asking.done()
    model.release()
    assert (await asking).choices[0].message.content == "one two"


def test_it_serves_from_a_thread_for_tests_without_a_loop() -> None:
    with ScriptedModel(models=["a", "b"]) as model, openai.OpenAI(base_url=model.url, api_key="any") as client:
        model.script("hi")
        assert [entry.id for entry in client.models.list()] == ["a", "b"]
        assert client.chat.completions.create(model="a", messages=QUESTION).choices[0].message.content == "hi"
