"""The road to LiteLLM: whole requests, streams in whatever pieces they come, failures in words."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import SecretStr
from support.scripted_model import Answer, Call, ScriptedModel

from graphs.errors import ModelError
from graphs.events import TokenUsage
from graphs.llm import client
from graphs.llm.client import ChatModel, build_model_error, clean_error
from graphs.llm.stream import Answer as ReadAnswer
from graphs.llm.stream import StreamReader, parse_usage
from graphs.redaction import Redaction

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

    def add_text(self, kind: str, text: str) -> None:
        self.append((kind, text))

    def add_annotations(self, annotations: object) -> None:
        self.append(("cited", str(annotations)))

    def add_logprobs(self, logprobs: object) -> None:
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
    assert answer.usage == TokenUsage(7, 5)
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
    assert chat.convert_messages(
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
    answer = reader.build_answer()

    assert heard.text == answer.text == "Grüße 日本"
    assert [(call.name, call.arguments) for call in answer.calls] == [("a", '{"p":1}')]
    assert answer.usage == TokenUsage(3, 4)


@pytest.mark.parametrize("ends", [True, False])
async def test_nobody_waits_for_what_comes_after_usage_and_the_connection_is_kept(
    ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LINGER", 30.0 if ends else 0.05)
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
        assert (answer.text, answer.usage) == ("hi", TokenUsage(3, 4))
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
    assert [(call.name, call.arguments) for call in reader.build_answer().calls] == [("a", "{}"), ("b", "{}")]


def test_a_long_id_of_a_call_is_kept_once_however_often_it_comes() -> None:
    """Some endpoints write a signature of kilobytes into it."""
    reader = StreamReader(Heard())
    ids = ["a" * 100_000, "a" * 100_001]
    tracemalloc.start()
    for identity in ids * 30:
        index = ids.index(identity)
        reader.feed(call_line(f'"index":{index},"id":"{identity}","function":{{"name":"","arguments":"1"}}').encode())
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2 * len(ids[0]) + 100_000
    reader.feed(b'data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}\n\n')
    assert [call.arguments for call in reader.build_answer().calls] == ["1" * 30] * 2


TABLE = "1,[2],{3}\n" * 35_000


@pytest.mark.parametrize("whole", [False, True])
def test_a_long_text_of_commas_and_brackets_is_an_answer_like_others(whole: bool) -> None:
    choice = {"message" if whole else "delta": {"content": TABLE}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice]}).encode()
    reader = StreamReader(heard := Heard())
    if whole:
        reader.read_whole_answer(body)
    else:
        reader.feed(b"data: " + body + b"\n\n")
    assert reader.build_answer().text == heard.text == TABLE


def test_arguments_of_many_commas_may_come_in_one_event() -> None:
    arguments = json.dumps({"text": TABLE + '\\"' * 1000})
    call = {"index": 0, "id": "a", "function": {"name": "write", "arguments": arguments}}
    reader = StreamReader(Heard())
    reader.feed(b"data: " + json.dumps({"choices": [{"delta": {"tool_calls": [call]}}]}).encode() + b"\n\n")
    reader.feed(b'data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}\n\n')
    assert reader.build_answer().calls[0].arguments == arguments


@pytest.mark.parametrize("text", ["", "x,", '\\"', "\\\\"])
def test_many_values_beside_a_text_are_no_answer(text: str) -> None:
    body = b'{"choices":[{"delta":{"content":"' + text.encode() * 50_000 + b'"},"x":[' + b"{}," * 50_000 + b"{}]}]}"
    with pytest.raises(ModelError, match="values in it"):
        StreamReader(Heard()).feed(b"data: " + body + b"\n\n")


async def test_an_endpoint_that_does_not_stream_is_read_too(scripted: ScriptedModel, chat: ChatModel) -> None:
    body = b'{"choices":[{"message":{"role":"assistant","content":"whole"},"finish_reason":"stop"}]}'
    reader = StreamReader(heard := Heard())
    reader.read_whole_answer(body)
    assert reader.build_answer().text == heard.text == "whole"


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
    assert await chat.list_models() == ["a", "b"]


def read(*pieces: bytes, longest: int = 1_000_000) -> tuple[list[tuple[str, str]], ReadAnswer | str]:
    """What is said of these pieces, and the answer or the error in words."""
    reader = StreamReader(heard := Heard(), longest=longest)
    try:
        for piece in pieces:
            reader.feed(piece)
        return heard, reader.build_answer()
    except ModelError as error:
        return heard, str(error)


def joined(heard: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pieces of one kind that follow each other, as one."""
    found: list[tuple[str, str]] = []
    for kind, text in heard:
        if found and found[-1][0] == kind:
            found[-1] = (kind, found[-1][1] + text)
        else:
            found.append((kind, text))
    return found


LINES = st.sampled_from(
    [
        b'data: {"choices":[{"delta":{"content":"Gr\xc3\xbc\xc3\x9fe "}}]}',
        b'data:{"choices":[{"delta":{"content":"\\ud83d"}}]}',
        b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}',
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"n","arguments":"1"}}]}}]}',
        b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"2"}}]}}]}',
        b'data: {"choices":[{"delta":{},"logprobs":{"content":[]},"finish_reason":"stop"}]}',
        b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}',
        b"data: {}",
        b"data: [[",
        b"data:",
        b"data: [DONE]",
        b": comment",
        b"event: message",
        b"\xef\xbb\xbfdata: {}",
        b"",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n"])), max_size=12))
def test_any_split_of_a_stream_gives_the_same_answer(data: st.DataObject, lines: list[tuple[bytes, bytes]]) -> None:
    raw = b"".join(line + end for line, end in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=20)))
    pieces = [raw[start:end] for start, end in itertools.pairwise([0, *cuts, len(raw)])]

    heard, answer = read(raw)
    in_pieces, same = read(*pieces)

    assert joined(in_pieces) == joined(heard)
    assert same == answer


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from([b"data: ", b"\n", b'{"choices":[', b"]}"])), max_size=30
    )
)
def test_no_bytes_are_more_than_an_answer_or_words(pieces: list[bytes]) -> None:
    read(*pieces)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "content", "tool_calls", "index", "id", "function", "name", "arguments"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(JSON, JSON)
def test_no_shape_of_a_chunk_is_more_than_an_answer_or_words(choice: object, usage: object) -> None:
    payload = {"choices": [choice], "usage": usage}
    read(b"data: " + json.dumps(payload).encode() + b"\n\n", b"data: [DONE]\n\n")
    with contextlib.suppress(ModelError):
        StreamReader(Heard()).read_whole_answer(json.dumps(payload).encode())


@pytest.mark.parametrize("count", [-1, 2.5, 2**53 + 1, 10**400, 1e99, "12", None, True, [1], {"a": 1}, float("nan")])
def test_what_is_no_count_is_no_usage(count: object) -> None:
    assert parse_usage({"prompt_tokens": count, "completion_tokens": 5}) in (None, TokenUsage(0, 5))
    found = parse_usage(
        {"prompt_tokens": 1.0, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": count}}
    )
    assert found == TokenUsage(1, 2, {"prompt_tokens_details": {}})


def test_usage_tells_only_so_many_kinds_apart() -> None:
    found = parse_usage(
        {"prompt_tokens": 1, "prompt_tokens_details": {f"kind_{i}": i for i in range(10_000)} | {"x" * 999: 1}}
    )
    assert found is not None
    assert found.details is not None
    assert len(found.details["prompt_tokens_details"]) == 32


def test_the_longest_answer_is_counted_over_all_its_pieces() -> None:
    thought = b'data: {"choices":[{"delta":{"reasoning_content":"' + b"x" * 60 + b'"}}]}\n\n'
    heard, error = read(thought, thought, longest=100)
    assert str(error).startswith("The model's answer is longer than 100 characters, so it was ended there.")
    assert "`models.max_answer` in gateway.yaml" in str(error)
    assert heard == [("reasoning", "x" * 60)]


def test_a_long_line_costs_what_it_is_long() -> None:
    """Twice as long in pieces of the same size takes about twice as long, not four times."""
    seconds = [0.0, 0.0]
    for turn, size in enumerate((2 * 2**20, 4 * 2**20)):
        reader = StreamReader(Heard())
        began = time.process_time()
        for _ in range(size // 512):
            reader.feed(b"x" * 512)
        seconds[turn] = time.process_time() - began
    assert seconds[1] < 1.0


def test_long_arguments_in_small_pieces_cost_what_they_are_long() -> None:
    piece = call_line('"index":0,"function":{"arguments":"xxxxxxxx"}').encode() * 100
    reader = StreamReader(Heard())
    began = time.process_time()
    for _ in range(1_000):
        reader.feed(piece)
    assert time.process_time() - began < 5
    with pytest.raises(ModelError, match="1,048,576 characters of arguments"):
        reader.feed(piece * 1_000)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("7", "7"),
        ("0.5", "0.5"),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("-1", None),
        ("1e99", None),
        ("inf", None),
        ("nan", None),
        ("9" * 30, None),
        ("\u0663", None),
        ("tomorrow", None),
        ("x" * 8000, None),
        ("", None),
    ],
)
def test_a_retry_after_is_kept_where_it_is_one(value: str, kept: str | None) -> None:
    error = build_model_error(429, {"retry-after": value}, b"", "http://model")
    assert error.retry_after == kept


async def test_a_list_of_models_is_read_no_further_than_a_list_is_long() -> None:
    lists = {
        "many": b'{"data":[' + b'{"id":"m"},' * 60_000 + b'{"id":"m"}]}',
        "long": b'{"data":["' + b"x" * 5 * 2**20 + b'"]}',
        "deep": b"[" * 100_000,
        "strange": b'{"data":[{"id":7},{"id":"a\\u0007"},{"id":"' + b"y" * 300 + b'"},{"id":"good"}]}',
        "page": b"<html></html>",
        "other": b'{"data":{"id":1}}',
    }

    async def listed(request: web.Request) -> web.Response:
        return web.Response(body=lists[request.match_info["kind"]], content_type="application/json")

    app = web.Application()
    app.router.add_get("/{kind}/models", listed)
    async with TestServer(app) as server:
        found: dict[str, object] = {}
        for kind in lists:
            chat = ChatModel(str(server.make_url(f"/{kind}")), SecretStr(""), silence=5)
            try:
                found[kind] = await chat.list_models()
            except ModelError as error:
                found[kind] = str(error).split(": ")[-1].split("/", 4)[-1]
            await chat.close()
    assert found["strange"] == ["good"]
    assert {kind: "models" in str(words) for kind, words in found.items() if kind != "strange"} == dict.fromkeys(
        ["many", "long", "deep", "page", "other"], True
    )


async def test_embeddings_are_bounded_and_in_the_order_of_their_texts() -> None:
    long = ",".join(["1.5"] * 10_000)
    answers = {
        "good": b'{"data":[{"index":1,"embedding":[0,2]},{"index":0,"embedding":[3,4]}],"usage":{"prompt_tokens":7}}',
        "bare": b'{"data":[{"embedding":[3,4]},{"embedding":[0,2]}]}',
        "one": b'{"data":[{"index":0,"embedding":[3,4]}]}',
        "uneven": b'{"data":[{"index":0,"embedding":[3,4]},{"index":1,"embedding":[3,4,5]}]}',
        "wide": f'{{"data":[{{"embedding":[{long}]}},{{"embedding":[{long}]}}]}}'.encode(),
        "many": b'{"data":[{"embedding":[3,4]},{"embedding":[0,2]}],"x":[' + b"1," * 40_000 + b"1]}",
        "long": b'{"data":["' + b"x" * 17 * 2**20 + b'"]}',
        "texts": b'{"data":[{"embedding":["a"]},{"embedding":["b"]}]}',
        "base64": b'{"data":[{"embedding":"AACAPw=="},{"embedding":"AACAPw=="}]}',
        "huge": b'{"data":[{"embedding":[1.7e308,1.7e308]},{"embedding":[1,1]}]}',
        "list": b"[1]",
        "page": b"<html></html>",
    }

    shown: set[str] = set()

    async def embed(request: web.Request) -> web.Response:
        shown.add(request.headers["authorization"])
        return web.Response(body=answers[request.match_info["kind"]], content_type="application/json")

    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": f"bad key {request.headers['authorization']}"}}, status=401)

    app = web.Application()
    app.router.add_post("/{kind}/embeddings", embed)
    app.router.add_post("/refuses/v1/embeddings", refuse)
    async with TestServer(app) as server:
        found: dict[str, object] = {}
        for kind in (*answers, "refuses/v1"):
            chat = ChatModel(str(server.make_url(f"/{kind}")), SecretStr("key-of-ours"), silence=5)
            try:
                made = await chat.embed("m", ["a", "b"], key=SecretStr("key-of-theirs"))
                found[kind] = (made.vectors, made.usage and made.usage.prompt)
            except ModelError as error:
                found[kind] = str(error)
            await chat.close()
    assert shown == {"Bearer key-of-theirs"}, "whoever asks pays"
    vectors = [(0.6, 0.8), (0.0, 1.0)]
    assert (found.pop("good"), found.pop("bare")) == ((vectors, 7), (vectors, None))
    assert "key-of" not in str(found.pop("refuses/v1"))
    assert "more than 16 MB" in str(found.pop("long"))
    assert {kind: "a vector for each text. Is 'm'" in str(words) for kind, words in found.items()} == dict.fromkeys(
        found, True
    )


async def test_headers_that_come_a_byte_at_a_time_are_silence() -> None:
    left = asyncio.Semaphore(0)

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for byte in b"HTTP/1.1 200 OK\r\n" + b"x-slow: header\r\n" * 1000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        left.release()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"  # else it is asked for that too
    chat = ChatModel(address, SecretStr(""), silence=0.2)
    with pytest.raises(ModelError, match=r"said nothing for 0\.2 seconds"):
        await chat.stream(ASK, Heard())
    await chat.close()
    server.close()
    async with asyncio.timeout(10):
        await left.acquire()  # of the question what the endpoint is
        await left.acquire()


async def test_while_nobody_takes_the_answer_the_endpoint_is_not_read(scripted: ScriptedModel, chat: ChatModel) -> None:
    class Closed:
        full = True

        async def wait_for_room(self) -> None:
            self.waited = True
            await asyncio.Event().wait()

    scripted.script(Answer(text=["word " * 1000] * 2_000))
    heard, flow = Heard(), Closed()
    asking = asyncio.create_task(chat.stream(ASK, heard, flow=flow))
    await asyncio.sleep(0.3)
    assert flow.waited
    assert len(heard.text) < 1_000_000
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await scripted.requests[0].ended() == "cut"


def test_what_an_endpoint_says_of_its_failure_steers_no_terminal_and_no_page() -> None:
    body = json.dumps(
        {"error": {"message": "no\x1b[2J\r\u202esuch\nmodel", "code": "a\x1b", "param": "b\u200b"}}
    ).encode()
    error = clean_error(build_model_error(400, {}, body, "http://models"), Redaction(()))
    assert (str(error), error.code, error.param) == (
        "The model endpoint answered 400: no\\x1b[2J\\r\\u{202e}such\nmodel",
        "a\\x1b",
        "b\\u{200b}",
    )
