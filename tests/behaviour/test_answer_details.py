"""What a model says of its own answer reaches who asks for it: how likely each word was, and what the tokens were."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.facade import Facade, content
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

LIKELY = [
    {"token": word, "logprob": -0.25 * number, "bytes": list(word.encode()), "top_logprobs": []}
    for number, word in enumerate(("It ", "is ", "so."))
]


def event(payload: dict[str, Any]) -> bytes:
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    return b"data: " + json.dumps({**head, **payload}).encode() + b"\n\n"


def answer(*, usage: dict[str, Any], calls: list[dict[str, Any]] | None = None) -> Answer:
    """Each word with its likelihood, or calls of tools; then the usage."""
    if calls:
        deltas: list[dict[str, Any]] = [{"delta": {"tool_calls": calls}, "logprobs": None}]
    else:
        deltas = [
            {"delta": {"content": one["token"]}, "logprobs": {"content": [one], "refusal": None}} for one in LIKELY
        ]
    deltas.append({"delta": {}, "finish_reason": "tool_calls" if calls else "stop", "logprobs": None})
    chunks = [event({"choices": [{"index": 0, **delta}]}) for delta in deltas]
    return Answer(raw=[*chunks, event({"choices": [], "usage": usage}), b"data: [DONE]\n\n"])


def usage(sent: int, said: int, /, **details: dict[str, int]) -> dict[str, Any]:
    counts = {"prompt_tokens": sent, "completion_tokens": said, "total_tokens": sent + said}
    return {**counts, **{f"{name}_tokens_details": part for name, part in details.items()}}


CALL = {
    "index": 0,
    "id": "c1",
    "type": "function",
    "function": {"name": "files__echo", "arguments": '{"text": "x"}'},
}


def two_rounds(model: ScriptedModel) -> None:
    model.script(
        answer(calls=[CALL], usage=usage(10, 5, prompt={"cached_tokens": 4}, completion={"reasoning_tokens": 2})),
        answer(usage=usage(20, 6, prompt={"cached_tokens": 8, "audio_tokens": 0}, completion={"reasoning_tokens": 1})),
    )


SUMMED = usage(30, 11, prompt={"cached_tokens": 12, "audio_tokens": 0}, completion={"reasoning_tokens": 3})


async def test_a_whole_answer_has_them(facade: Facade, model: ScriptedModel) -> None:
    two_rounds(model)
    body = (await facade.ask("so?", logprobs=True)).json()
    assert body["choices"][0]["message"]["content"] == "It is so."
    assert body["choices"][0]["logprobs"] == {"content": LIKELY, "refusal": None}
    assert body["usage"] == SUMMED
    assert model.requests[0].body["logprobs"] is True


@pytest.mark.parametrize("asked", [True, False])
async def test_a_stream_has_them(facade: Facade, model: ScriptedModel, *, asked: bool) -> None:
    two_rounds(model)
    async with facade.client() as client:
        stream = await client.chat.completions.create(
            model="assistant",
            messages=[{"role": "user", "content": "so?"}],
            logprobs=True,
            stream=True,
            stream_options={"include_usage": asked},
        )
        chunks = [chunk async for chunk in stream]
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == "It is so."
    likely = [one.model_dump() for choice in choices if choice.logprobs for one in choice.logprobs.content or ()]
    assert likely == LIKELY
    told = [chunk.usage.model_dump(exclude_none=True) for chunk in chunks if chunk.usage]
    assert told == ([SUMMED] if asked else [])


async def test_where_the_model_says_nothing_of_it_nothing_is_said(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer(calls=[Call("files__echo", {"text": "x"})], usage=(10, 5)), Answer("Done.", usage=(20, 7)))
    body = (await facade.ask("so?")).json()
    assert body["choices"][0]["logprobs"] is None
    assert body["usage"] == usage(30, 12)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("count", [-5, 1e99, 2.5, 2**63, 10**400, "12", None, True, [1], {"a": 1}])
async def test_usage_that_is_no_count_costs_no_answer_after_a_tool_ran(
    facade: Facade, model: ScriptedModel, tools: Tools, count: Any, *, stream: bool
) -> None:
    absurd = {
        "prompt_tokens": count,
        "completion_tokens": count,
        "total_tokens": count,
        "prompt_tokens_details": {"cached_tokens": count},
        "completion_tokens_details": count,
    }
    model.script(answer(calls=[CALL], usage=absurd), answer(usage=usage(20, 6)))
    if stream:
        assert content(await facade.stream("so?")) == "It is so."
    else:
        body = (await facade.ask("so?")).json()
        assert body["choices"][0]["message"]["content"] == "It is so."
        assert body["usage"]["total_tokens"] == 26
    assert tools.ran() == ["echo x"]
