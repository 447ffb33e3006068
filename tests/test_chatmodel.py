"""The road to LiteLLM: whole requests, streams in whatever pieces they come, failures in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from inline_snapshot import snapshot
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import SecretStr
from support.scripted_model import Answer, Call, ScriptedModel

from graphs import chatmodel
from graphs.chatmodel import ChatModel
from graphs.errors import ModelError
from graphs.events import Usage
from graphs.modelstream import StreamReader

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(["a", "b"]) as model:
        yield model


@pytest.fixture
async def chat(scripted: ScriptedModel) -> AsyncIterator[ChatModel]:
    model = ChatModel(scripted.url, SecretStr("sk-test"), silence=5)
    yield model
    await model.close()


class Heard(list[tuple[str, str]]):
    """What was said, in order."""

    def said(self, kind: str, text: str) -> None:
        self.append((kind, text))

    def cited(self, annotations: object) -> None:
        self.append(("cited", str(annotations)))

    def weighed(self, logprobs: object) -> None:
        self.append(("weighed", str(logprobs)))

    @property
    def text(self) -> str:
        return "".join(text for kind, text in self if kind == "text")


async def test_an_answer_is_said_as_it_comes_and_returned_whole(scripted: ScriptedModel, chat: ChatModel) -> None:
    scripted.script(Answer("one two three", calls=[Call("s__t", {"x": 1})], usage=(7, 5), reasoning="hm"))
    heard = Heard()

    answer = await chat.stream({**ASK, "temperature": 0.5}, heard)

    assert heard.text == answer.text == "one two three"
    assert ("reasoning", "hm") in heard
    assert [(call.name, call.arguments) for call in answer.calls] == [("s__t", '{"x": 1}')]
    assert answer.usage == Usage(7, 5)
    assert scripted.requests[0].headers["authorization"] == "Bearer sk-test"
    assert scripted.requests[0].body == snapshot(
        {
            "model": "m",
            "messages": [{"role": "user", "content": "hi"}],
            "temperature": 0.5,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )


def test_langchain_messages_become_openai_messages_whole() -> None:
    chat = ChatModel("http://127.0.0.1:9/v1", SecretStr(""), silence=1)
    assert chat.messages(
        [
            HumanMessage("hi"),
            AIMessage(
                "",
                tool_calls=[{"name": "a__b", "args": {"x": [1]}, "id": "c1", "type": "tool_call"}],
                invalid_tool_calls=[
                    {"name": "a__c", "args": "{", "id": "c2", "error": "bad", "type": "invalid_tool_call"}
                ],
            ),
            ToolMessage("r", tool_call_id="c1", name="a__b", artifact={"structured_content": {"k": 1}}),
            AIMessage("done"),
        ]
    ) == snapshot(
        [
            {"content": "hi", "role": "user"},
            {
                "content": None,
                "role": "assistant",
                "tool_calls": [
                    {"type": "function", "id": "c1", "function": {"name": "a__b", "arguments": '{"x": [1]}'}},
                    {"type": "function", "id": "c2", "function": {"name": "a__c", "arguments": "{"}},
                ],
            },
            {"content": "r", "role": "tool", "tool_call_id": "c1"},
            {"content": "done", "role": "assistant"},
        ]
    )


def call_line(call: str) -> str:
    """One event that holds a piece of a tool call."""
    return f'data: {{"choices":[{{"delta":{{"tool_calls":[{{{call}}}]}}}}]}}\n\n'


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100_000])
def test_a_stream_reads_the_same_in_pieces_of_any_size(size: int) -> None:
    raw = (
        'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\r\n\r\n'
        ": comment\n\n"
        'data: {"choices":[{"index":0,"delta":{"content":"Grüße "}}]}\n\n'
        'data: {"choices":[{"index":0,"delta":{"content":"日本"}}]}\n\n'
        + call_line('"index":0,"id":"x","function":{"name":"a","arguments":"{\\"p\\""}')
        + call_line('"index":0,"function":{"arguments":":1}"}')
        + 'data:{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}\n\n'
        'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
        "data: [DONE]\n\n"
    ).encode()
    heard = Heard()
    reader = StreamReader(heard)
    for start in range(0, len(raw), size):
        reader.feed(raw[start : start + size])
    answer = reader.answer()

    assert heard.text == answer.text == "Grüße 日本"
    assert [(call.name, call.arguments) for call in answer.calls] == [("a", '{"p":1}')]
    assert answer.usage == Usage(3, 4)


@pytest.mark.parametrize("ends", [True, False])
async def test_nobody_waits_for_what_comes_after_usage_and_the_connection_is_kept(
    ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chatmodel, "LINGER", 30.0 if ends else 0.05)
    connections: list[object] = []
    end = asyncio.Event()
    left = asyncio.Event()

    async def completions(request: web.Request) -> web.StreamResponse:
        connections.append(request.transport)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices":[{"delta":{"content":"hi"}}],"usage":{"completion_tokens":1}}\n\n')
        await response.write(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n')
        await response.write(b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n')
        try:
            await end.wait()
        except asyncio.CancelledError:
            left.set()
            raise
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/chat/completions", completions)
    async with TestServer(app, handler_cancellation=True) as server:
        chat = ChatModel(str(server.make_url("")).rstrip("/"), SecretStr("sk-test"), silence=5)
        answer = await chat.stream(ASK, Heard())
        assert (answer.text, answer.usage) == ("hi", Usage(3, 4))
        if ends:
            end.set()
            async with asyncio.timeout(10):
                while len(connections) < 2 or connections[-1] is not connections[0]:
                    await chat.stream(ASK, Heard())
        else:
            await asyncio.wait_for(left.wait(), 10)
        await chat.close()


def test_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    reader = StreamReader(Heard())
    reader.feed(
        (
            call_line('"id":"1","function":{"name":"a","arguments":"{}"}')
            + call_line('"id":"2","function":{"name":"b","arguments":"{"}')
            + call_line('"function":{"arguments":"}"}')
            + 'data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}\n\n'
        ).encode()
    )
    assert [(call.name, call.arguments) for call in reader.answer().calls] == [("a", "{}"), ("b", "{}")]


async def test_an_endpoint_that_does_not_stream_is_read_too(scripted: ScriptedModel, chat: ChatModel) -> None:
    body = b'{"choices":[{"message":{"role":"assistant","content":"whole"},"finish_reason":"stop"}]}'
    reader = StreamReader(heard := Heard())
    reader.whole(body)
    assert reader.answer().text == heard.text == "whole"


async def test_a_rate_limit_keeps_what_the_provider_said(scripted: ScriptedModel, chat: ChatModel) -> None:
    scripted.script(Answer(status=429, headers={"llm_provider-retry-after": "17"}))
    with pytest.raises(ModelError) as caught:
        await chat.stream(ASK, Heard())
    error = caught.value
    assert (error.kind, error.retry_after, error.retryable) == ("rate_limited", "17", False)


async def test_a_short_rate_limit_may_be_waited_out(scripted: ScriptedModel, chat: ChatModel) -> None:
    scripted.script(Answer(status=429, headers={"retry-after": "1"}))
    with pytest.raises(ModelError) as caught:
        await chat.stream(ASK, Heard())
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, "invalid_request", False),
        (404, "invalid_request", False),
        (500, "unavailable", True),
        (503, "unavailable", True),
    ],
)
async def test_refusals_are_sorted_by_their_status(
    scripted: ScriptedModel, chat: ChatModel, status: int, kind: str, retryable: bool
) -> None:
    scripted.script(Answer("no such thing", status=status))
    with pytest.raises(ModelError) as caught:
        await chat.stream(ASK, Heard())
    assert (caught.value.kind, caught.value.status, caught.value.retryable) == (kind, status, retryable)


async def test_a_refused_key_is_told_without_the_key(scripted: ScriptedModel, chat: ChatModel) -> None:
    scripted.script(Answer("bad key sk-test", status=401))
    with pytest.raises(ModelError) as caught:
        await chat.stream(ASK, Heard())
    assert caught.value.kind == "authentication"
    assert "sk-test" not in str(caught.value)
    assert "LITELLM_API_KEY" in str(caught.value)


async def test_a_cut_stream_is_an_interruption_once_something_was_said(
    scripted: ScriptedModel, chat: ChatModel
) -> None:
    scripted.script(Answer("one two three", cut_after=2))
    with pytest.raises(ModelError) as caught:
        await chat.stream(ASK, heard := Heard())
    assert heard.text
    assert (caught.value.kind, caught.value.retryable) == ("interrupted", False)


async def test_a_silent_stream_is_given_up(scripted: ScriptedModel) -> None:
    scripted.script(Answer("one two three", stall_after=2))
    chat = ChatModel(scripted.url, SecretStr(""), silence=0.2)
    with pytest.raises(ModelError, match=r"said nothing for 0\.2 seconds"):
        await chat.stream(ASK, Heard())
    await chat.close()


async def test_nobody_there_is_said_with_the_address_and_may_be_retried() -> None:
    chat = ChatModel("http://127.0.0.1:9/v1", SecretStr(""), silence=1)
    with pytest.raises(ModelError, match=r"http://127\.0\.0\.1:9/v1.*LITELLM_BASE_URL") as caught:
        await chat.stream(ASK, Heard())
    assert caught.value.retryable
    await chat.close()


async def test_an_error_inside_the_stream_is_raised_with_its_words(scripted: ScriptedModel, chat: ChatModel) -> None:
    scripted.script(
        Answer(
            raw=[
                b'data: {"choices":[{"index":0,"delta":{"content":"half"}}]}\n\n',
                b'data: {"error":{"message":"overloaded"}}\n\n',
            ]
        )
    )
    with pytest.raises(ModelError, match="overloaded") as caught:
        await chat.stream(ASK, heard := Heard())
    assert heard.text == "half"
    assert caught.value.kind == "interrupted"


async def test_models_are_listed(chat: ChatModel) -> None:
    assert await chat.models() == ["a", "b"]
