"""Model vendors, played after their documentation: each checks what it is sent by its own rules, and answers by a few.

Asked to "look X" or "write X" they call a tool, after its result they repeat it, to all else they say "Fine.". What
breaks a rule gets the vendor's 400 and stands in `violations`. Paths: `/anthropic` (Messages API with extended
thinking), `/gemini` (thought signatures), `/mistral/v1`, `/deepseek/v1` (thinking mode), `/strict/v1` (a chat template
as Qwen's).
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
from itertools import count
from types import TracebackType
from typing import Any, cast

from aiohttp import web

Body = dict[str, Any]
VENDORS = {
    "claude": ("anthropic/claude-sonnet-4-5", "/anthropic"),
    "gemini": ("gemini/gemini-3-pro-preview", "/gemini"),
    "mistral": ("mistral/mistral-large-latest", "/mistral/v1"),
    "deepseek": ("deepseek/deepseek-reasoner", "/deepseek/v1"),
    "thinker": ("openai/thinker", "/deepseek/v1"),
    "qwen": ("openai/qwen", "/strict/v1"),
}
"""What the integration tests' LiteLLM calls them, each with LiteLLM's name of the model and the path here."""
ID_OF_MISTRAL = re.compile(r"[a-zA-Z0-9]{9}")
ID_OF_ANTHROPIC = re.compile(r"[a-zA-Z0-9_-]+")
UNSIGNED_OF_GEMINI = base64.b64encode(b"skip_thought_signature_validator").decode()
"""What Google takes for calls that another vendor's model wrote, at the price of worse answers; LiteLLM adds it."""
MISTRAL_FIELDS = {"role", "content", "tool_calls", "tool_call_id", "name", "prefix"}


class Violation(Exception):
    """What was sent breaks a rule."""


class Vendors:
    """All of them behind one address, in a thread of its own."""

    url: str

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.unsigned = 0
        """Calls that came back to Gemini without their signature, which it takes."""
        self._numbers = count(1)
        self._signed: dict[str, str] = {}
        """Every signature that was given, and the thought that it signs."""
        self._thoughts: dict[str, str] = {}
        """What was thought before each call, by its id."""

    def __enter__(self) -> Vendors:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vendors", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/{vendor}/{rest:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _answer(self, http: web.Request) -> web.Response:
        vendor, body = http.match_info["vendor"], await http.json()
        try:
            events = getattr(self, f"_ask_{vendor}")(body)
        except Violation as error:
            self.violations.append(f"{vendor}: {error}")
            words = {"message": str(error), "type": "invalid_request_error", "code": 400}
            return web.json_response({"type": "error", "error": words}, status=400)
        lines = [f"event: {event['type']}\n" if "type" in event else "" for event in events]
        text = "".join(f"{line}data: {json.dumps(event)}\n\n" for line, event in zip(lines, events, strict=True))
        end = "" if vendor in ("anthropic", "gemini") else "data: [DONE]\n\n"
        return web.Response(text=text + end, content_type="text/event-stream")

    def _sign(self, thought: str) -> str:
        signature = f"c2lnbmF0dXJl{next(self._numbers):04}"
        self._signed[signature] = thought
        return signature

    # Anthropic

    def _ask_anthropic(self, body: Body) -> list[dict[str, Any]]:
        messages: list[Body] = body["messages"]
        thinks = "thinking" in body
        for message in messages:
            blocks = list_blocks(message["content"])
            require(message["role"] in ("user", "assistant"), f"messages: unexpected role {message['role']!r}")
            for block in blocks:
                if block["type"] == "thinking":
                    require(set(block) == {"type", "thinking", "signature"}, f"thinking: extra inputs in {set(block)}")
                    signed = self._signed.get(block["signature"])
                    require(signed == block["thinking"], "Invalid `signature` in `thinking` block")
                if block["type"] == "tool_use":
                    require(ID_OF_ANTHROPIC.fullmatch(block["id"]), f"tool_use.id: {block['id']!r}")
                    expected = "Expected `thinking` or `redacted_thinking`, but found `tool_use`"
                    require(not thinks or blocks[0]["type"] == "thinking", expected)
        blocks = list_blocks(messages[-1]["content"])
        results = [text_of(block["content"]) for block in blocks if block["type"] == "tool_result"]
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        text, call = decide("".join(texts), results)
        return self._stream_anthropic(text, call, thinks)

    def _stream_anthropic(self, text: str, call: Body | None, thinks: bool) -> list[dict[str, Any]]:
        message: Body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
        usage = {"input_tokens": 5, "output_tokens": 5}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": {**message, "usage": usage}}]
        blocks: list[tuple[Body, list[Body]]] = []
        if thinks:
            thought = f"Thought {next(self._numbers)}."
            deltas: list[Body] = [{"type": "thinking_delta", "thinking": piece} for piece in (thought[:5], thought[5:])]
            deltas.append({"type": "signature_delta", "signature": self._sign(thought)})
            blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
        if text:
            blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": text}]))
        if call:
            head: Body = {
                "type": "tool_use",
                "id": f"toolu_{next(self._numbers):04}",
                "name": call["name"],
                "input": {},
            }
            blocks.append((head, [{"type": "input_json_delta", "partial_json": json.dumps(call["args"])}]))
        for index, (head, deltas) in enumerate(blocks):
            events.append({"type": "content_block_start", "index": index, "content_block": head})
            events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
            events.append({"type": "content_block_stop", "index": index})
        stop = {"stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None}
        events.append({"type": "message_delta", "delta": stop, "usage": usage})
        return [*events, {"type": "message_stop"}]

    # Gemini

    def _ask_gemini(self, body: Body) -> list[dict[str, Any]]:
        for content in body["contents"]:
            calls = [part for part in content["parts"] if "functionCall" in part or "function_call" in part]
            for part in calls[:1]:
                signature = part.get("thoughtSignature")
                self.unsigned += signature == UNSIGNED_OF_GEMINI
                signed = signature in (*self._signed, UNSIGNED_OF_GEMINI)
                require(signed, "Function call is missing a thought_signature")
        parts = body["contents"][-1]["parts"]
        answers = [part.get("functionResponse") or part.get("function_response") for part in parts]
        results = [str(answer["response"].get("content")) for answer in answers if answer]
        text, call = decide("".join(part.get("text", "") for part in parts), results)
        part: Body = {"text": text}
        if call:
            part = {"functionCall": {"name": call["name"], "args": call["args"]}, "thoughtSignature": self._sign("")}
        candidate = {"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}
        usage = {"promptTokenCount": 5, "candidatesTokenCount": 5, "totalTokenCount": 10}
        return [{"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-3"}]

    # OpenAI's form

    def _ask_mistral(self, body: Body) -> list[dict[str, Any]]:
        check_template(body["messages"])
        for message in body["messages"]:
            require(set(message) <= MISTRAL_FIELDS, f"extra_forbidden: {set(message) - MISTRAL_FIELDS}")
            for identity in ids_of(message):
                require(ID_OF_MISTRAL.fullmatch(identity), f"Tool call id was {identity} but must be of length 9")
        return self._stream_openai(body, f"{next(self._numbers):09}")

    def _ask_deepseek(self, body: Body) -> list[dict[str, Any]]:
        for message in body["messages"]:
            for call in message.get("tool_calls") or ():
                thought = self._thoughts.get(call["id"])
                words = "The `reasoning_content` in the thinking mode must be passed back to the API."
                require(thought is not None and message.get("reasoning_content") == thought, words)
        identity = f"call_00_{next(self._numbers)}"
        self._thoughts[identity] = f"Thought {identity}."
        return self._stream_openai(body, identity, thought=self._thoughts[identity])

    def _ask_strict(self, body: Body) -> list[dict[str, Any]]:
        check_template(body["messages"])
        return self._stream_openai(body, f"chatcmpl-tool-{next(self._numbers)}")

    def _stream_openai(self, body: Body, identity: str, *, thought: str = "") -> list[dict[str, Any]]:
        last = body["messages"][-1]
        content = text_of(last["content"])
        text, call = decide("" if last["role"] == "tool" else content, [content] if last["role"] == "tool" else [])
        deltas: list[Body] = [{"role": "assistant", "content": ""}]
        if thought:
            deltas += [{"reasoning_content": piece} for piece in (thought[:5], thought[5:])]
        if text:
            deltas.append({"content": text})
        if call:
            function = {"name": call["name"], "arguments": json.dumps(call["args"])}
            deltas.append({"tool_calls": [{"index": 0, "id": identity, "type": "function", "function": function}]})
        return chunks(*deltas, finish="tool_calls" if call else "stop")


def chunks(*deltas: Body, finish: str = "stop") -> list[dict[str, Any]]:
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices: list[Body] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    return [{**head, "choices": [choice]} for choice in choices]


def require(holds: object, words: str) -> None:
    if not holds:
        raise Violation(words)


def check_template(messages: list[Body]) -> None:
    """One system message, as the first; no user message right after a tool's result; something to answer."""
    for place, message in enumerate(messages):
        require(message["role"] != "system" or place == 0, "System message must be at the beginning.")
        after_tool = place > 0 and messages[place - 1]["role"] == "tool"
        require(not (after_tool and message["role"] == "user"), "Unexpected role 'user' after role 'tool'")
    require(messages[-1]["role"] in ("user", "tool"), f"Expected last role User or Tool, got {messages[-1]['role']}")


def ids_of(message: Body) -> list[str]:
    own = [message["tool_call_id"]] if message.get("tool_call_id") else []
    return [*own, *(call["id"] for call in message.get("tool_calls") or ())]


def list_blocks(content: Any) -> list[Body]:
    return cast("list[Body]", content) if isinstance(content, list) else [{"type": "text", "text": content}]


def text_of(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in cast("list[Body]", content))
    return content or ""


def decide(text: str, results: list[str]) -> tuple[str, Body | None]:
    """What a vendor's model says, and the tool that it calls."""
    if results:
        return f"It is {results[0]}.", None
    for word, tool in (("look ", "files__echo"), ("write ", "files__write")):
        if text.startswith(word):
            return "", {"name": tool, "args": {"text": text.removeprefix(word)}}
    return "Fine.", None
