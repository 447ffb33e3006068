"""A reply as OpenAI's stream of chunks, and those chunks collected into a whole completion."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

from server.demo.model.deciding import ModelReply
from server.demo.model.reading import ChatRequest

Chunk = dict[str, Any]

WORD = re.compile(r"\s*\S+\s*?(?=\s|$)|\s+$")
PIECE = 24
"""Characters of a call's arguments that travel in one chunk."""


def build_chunks(reply: ModelReply, request: ChatRequest, *, usage: bool) -> Iterator[Chunk]:
    """Build the chunks of one answer, word by word. Call ids are new each time, so a reply is cut into chunks only
    once."""
    head: Chunk = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": request.model,
    }

    def build_chunk(delta: Chunk, finish: str | None = None) -> Chunk:
        return {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}

    yield build_chunk({"role": "assistant", "content": None if reply.calls else ""})
    for word in WORD.findall(reply.text):
        yield build_chunk({"content": word})
    for index, call in enumerate(reply.calls):
        function = {"name": call.tool, "arguments": ""}
        yield build_chunk(
            {"tool_calls": [{"index": index, "id": _make_call_id(), "type": "function", "function": function}]}
        )
        arguments = json.dumps(call.args, ensure_ascii=False)
        for start in range(0, len(arguments), PIECE):
            piece = {"arguments": arguments[start : start + PIECE]}
            yield build_chunk({"tool_calls": [{"index": index, "function": piece}]})
    yield build_chunk({}, "tool_calls" if reply.calls else "stop")
    if usage:
        yield {**head, "choices": [], "usage": _count_usage(reply, request)}


def build_completion(stream: Iterator[Chunk]) -> Chunk:
    """Collect the chunks of one answer into one `chat.completion`. The last one must carry the usage."""
    content: str | None = None
    calls: list[Chunk] = []
    finish = "stop"
    last: Chunk = {}
    for last in stream:
        for choice in last["choices"]:
            delta = choice["delta"]
            if delta.get("content") is not None:
                content = (content or "") + delta["content"]
            for piece in delta.get("tool_calls", ()):
                if piece["index"] == len(calls):
                    calls.append({key: value for key, value in piece.items() if key != "index"})
                else:
                    calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
            finish = choice["finish_reason"] or finish
    message: Chunk = {"role": "assistant", "content": content, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return {**last, "object": "chat.completion", "choices": [choice]}


def _make_call_id() -> str:
    return f"call_{uuid.uuid4().hex}"


def _count_usage(reply: ModelReply, request: ChatRequest) -> Chunk:
    # There is no tokenizer here: words and signs are counted, which is near enough to see that counting works.
    prompt = sum(_count_tokens(message.text) for message in request.messages)
    spent = _count_tokens(reply.text) + sum(
        _count_tokens(call.tool) + _count_tokens(json.dumps(call.args)) for call in reply.calls
    )
    return {"prompt_tokens": prompt, "completion_tokens": spent, "total_tokens": prompt + spent}


def _count_tokens(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))
