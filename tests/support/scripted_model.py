"""A model that says what the test wrote: OpenAI's chat completions over real HTTP, on a free loopback port.

    async with ScriptedModel() as model:                    # in this event loop; `with ScriptedModel()`: in a thread
        model.script(
            Answer(calls=[Call("files__read_file", {"path": "a.txt"})]),    # one answer per request, in order
            lambda body: f"It says {body['messages'][-1]['content']}",      # or computed from the request's body
            "Bye.",                                                         # or plain text
        )
        ... a client of `model.url` (ends in /v1) ...
        model.requests[0].body, .headers, .messages, .tools, .tool_results

`model.respond(function)` answers whatever the script does not. Without it, a request too many gets a 500 saying so.

`model.embed(function)` answers /v1/embeddings with the vector that the function makes of each text, and puts what was
asked into `model.embeddings`; the function may give an `Answer` with a `status` instead. Without it, that is a 404.

Trouble is written in the answer: `Answer("a b c", cut_after=2)` drops the connection after two chunks,
`stall_after=2` falls silent there until `model.release()` or until the client leaves,
`status=429, headers={"retry-after": "7"}` fails, `raw=[b"data: {oops\\n\\n"]` sends exactly these bytes.
To wait without sleeping: `await model.arrived(2)` is the second request, `await model.requests[0].ended()` is
"finished" or "cut" (the client left before the end).
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Any, Literal

from aiohttp import web
from support.scripted_answer import Answer, Call, call_deltas, text_of, usage_of

__all__ = ["Answer", "Body", "Call", "Request", "ScriptedModel", "text_of"]

Body = dict[str, Any]


Scripted = Answer | str | Callable[[Body], Answer | str]


@dataclass
class Request:
    """One request as it came in, and how it ended."""

    body: Body
    headers: Mapping[str, str]
    outcome: Future[Literal["finished", "cut"]] = field(default_factory=Future, repr=False)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.body.get("messages", [])

    @property
    def tools(self) -> list[str]:
        """Names of the tools that were offered."""
        return [tool["function"]["name"] for tool in self.body.get("tools") or []]

    @property
    def tool_results(self) -> list[str]:
        """Texts of the tool messages, oldest first."""
        return [text_of(message["content"]) for message in self.messages if message["role"] == "tool"]

    async def ended(self, timeout: float = 10) -> Literal["finished", "cut"]:
        """How the request ended, once it has; TimeoutError after `timeout` seconds."""
        return await asyncio.wait_for(asyncio.wrap_future(self.outcome), timeout)


class ScriptedModel:
    """See the top of the file. `models` are the ids that GET /v1/models lists; `entries` are LiteLLM's, for
    GET /v1/model/info; without any, there is no such page."""

    url: str

    def __init__(self, models: Sequence[str] = ("scripted",), entries: Sequence[Mapping[str, Any]] = ()) -> None:
        self.models = tuple(models)
        self.entries = tuple(entries)
        self.requests: list[Request] = []
        self._script: deque[Scripted] = deque()
        self._otherwise: Callable[[Body], Answer | str] | None = None
        self.embeddings: list[Request] = []
        self._embed: Callable[[str], Sequence[float] | Answer] | None = None
        self._waiting: list[tuple[int, Future[Request]]] = []
        self._lock = threading.Lock()
        self._numbers = count(1)

    def script(self, *answers: Scripted) -> None:
        """Queues answers, one per request to come."""
        self._script.extend(answers)

    def respond(self, function: Callable[[Body], Answer | str] | None) -> None:
        """Answers every request that the script does not; None: refuses them again."""
        self._otherwise = function

    def embed(self, function: Callable[[str], Sequence[float] | Answer] | None) -> None:
        """Makes embeddings by this function; None: has none again."""
        self._embed = function

    def reset(self) -> None:
        """Forgets the script and the requests, and lets go what is stalled."""
        self.release()
        self._script.clear()
        self._otherwise = None
        self._embed = None
        self.requests = []
        self.embeddings = []

    def release(self) -> None:
        """Lets every stalled answer go on; answers that begin later stall as written."""
        self._loop.call_soon_threadsafe(self._let_go)

    async def arrived(self, number: int = 1, timeout: float = 10) -> Request:
        """The request with this number (from 1), once it is there; TimeoutError after `timeout` seconds."""
        future: Future[Request] = Future()
        with self._lock:
            if len(self.requests) >= number:
                future.set_result(self.requests[number - 1])
            else:
                self._waiting.append((number, future))
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout)

    # Serving

    async def __aenter__(self) -> ScriptedModel:
        self._loop = asyncio.get_running_loop()
        self._held = asyncio.Event()
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/v1/models", self._list)
        app.router.add_get("/v1/model/info", self._tell_entries)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._answer_embeddings)
        # Cancelling handlers is what tells us at once that the client has left.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._let_go()
        await self._runner.cleanup()

    def __enter__(self) -> ScriptedModel:
        self._thread_loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._thread_loop.run_forever, name="scripted model", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.__aenter__(), self._thread_loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self.__aexit__(), self._thread_loop).result(10)
        self._thread_loop.call_soon_threadsafe(self._thread_loop.stop)
        self._thread.join(10)
        self._thread_loop.close()

    def _let_go(self) -> None:
        self._held.set()
        self._held = asyncio.Event()

    async def _list(self, _: web.Request) -> web.Response:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "tests"} for name in self.models]
        return web.json_response({"object": "list", "data": data})

    async def _tell_entries(self, _: web.Request) -> web.Response:
        if not self.entries:
            raise web.HTTPNotFound
        return web.json_response({"data": self.entries})

    async def _answer_embeddings(self, http: web.Request) -> web.Response:
        request = Request(await http.json(), {name.lower(): value for name, value in http.headers.items()})
        self.embeddings.append(request)
        if self._embed is None:
            raise web.HTTPNotFound
        vectors = [self._embed(text) for text in request.body["input"]]
        if trouble := next((each for each in vectors if isinstance(each, Answer)), None):
            error = {"message": trouble.error, "type": "server_error", "param": None, "code": None}
            return web.json_response({"error": error}, status=trouble.status)
        data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
        tokens = sum(map(len, request.body["input"]))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        # OpenAI's own order, which nothing promises.
        body = {"object": "list", "data": data[::-1], "model": request.body["model"], "usage": usage}
        return web.json_response(body)

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        request = Request(await http.json(), {name.lower(): value for name, value in http.headers.items()})
        answer = self._record(request)
        held = self._held  # of now: a release that comes before we stall must count
        try:
            response = await self._answer(http, request, answer, held)
        except (asyncio.CancelledError, ConnectionError):
            request.outcome.set_result("cut")
            raise
        request.outcome.set_result("finished")
        return response

    def _record(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            arrived = [future for number, future in self._waiting if number <= len(self.requests)]
            self._waiting = [(number, future) for number, future in self._waiting if number > len(self.requests)]
        for future in arrived:
            future.set_result(request)
        scripted = self._script.popleft() if self._script else self._otherwise
        if scripted is None:
            words = f"the test's script is over: request {len(self.requests)} was not expected"
            return Answer(status=500, error=words)
        if callable(scripted):
            scripted = scripted(request.body)
        return Answer(scripted) if isinstance(scripted, str) else scripted

    async def _answer(
        self, http: web.Request, request: Request, answer: Answer, held: asyncio.Event
    ) -> web.StreamResponse:
        await asyncio.sleep(answer.first)
        if answer.status >= 400 and answer.body is not None:
            return web.Response(body=answer.body, status=answer.status, headers=answer.headers)
        if answer.status >= 400:
            kind = "rate_limit_error" if answer.status == 429 else "server_error"
            code = answer.code or str(answer.status)
            error = {"message": answer.error, "type": kind, "param": answer.param, "code": code}
            return web.json_response({"error": error}, status=answer.status, headers=answer.headers)
        streaming = bool(request.body.get("stream"))
        identity = {
            "id": f"chatcmpl-scripted{next(self._numbers)}",
            "created": int(time.time()),
            "model": request.body.get("model", ""),
        }
        if answer.raw is None and not streaming:
            return await self._whole(http, answer, held, identity)
        response = web.StreamResponse(headers={"content-type": "text/event-stream", **answer.headers})
        await response.prepare(http)
        if answer.raw is not None:
            for piece in answer.raw:
                await response.write(piece)
            await self._trouble(http, answer, held, len(answer.raw))
            return response
        await self._stream(http, response, request, answer, held, identity)
        return response

    async def _whole(
        self, http: web.Request, answer: Answer, held: asyncio.Event, identity: dict[str, Any]
    ) -> web.Response:
        chunks = answer.chunks
        for number in range(len(chunks) + 1):
            await self._trouble(http, answer, held, number)
            await asyncio.sleep(answer.delay if number < len(chunks) else 0)
        message: dict[str, Any] = {"role": "assistant", "content": "".join(chunks) or None}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.calls:
            message["tool_calls"] = [call | {"index": index} for index, call in enumerate(self._calls(answer))]
        choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
        body = identity | {"object": "chat.completion", "choices": [choice], "usage": usage_of(answer)}
        return web.json_response(body, headers=answer.headers)

    async def _stream(
        self,
        http: web.Request,
        response: web.StreamResponse,
        request: Request,
        answer: Answer,
        held: asyncio.Event,
        identity: dict[str, Any],
    ) -> None:
        async def send(delta: dict[str, Any], finish: str | None = None) -> None:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            await event(identity | {"object": "chat.completion.chunk", "choices": [choice]})

        async def event(payload: dict[str, Any]) -> None:
            await response.write(b"data: " + json.dumps(payload).encode() + b"\n\n")

        await send({"role": "assistant", "content": ""})
        if answer.reasoning:
            await send({"reasoning_content": answer.reasoning})
        for number, chunk in enumerate(answer.chunks):
            await self._trouble(http, answer, held, number)
            await asyncio.sleep(answer.delay)
            await send({"content": chunk})
        await self._trouble(http, answer, held, len(answer.chunks))
        for delta in call_deltas(self._calls(answer)):
            await send(delta)
        await send({}, answer.finish_reason)
        if (request.body.get("stream_options") or {}).get("include_usage"):
            await event(identity | {"object": "chat.completion.chunk", "choices": [], "usage": usage_of(answer)})
        await response.write(b"data: [DONE]\n\n")

    def _calls(self, answer: Answer) -> list[dict[str, Any]]:
        return [
            {
                "id": call.id or f"call_scripted{next(self._numbers)}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in answer.calls
        ]

    async def _trouble(self, http: web.Request, answer: Answer, held: asyncio.Event, sent: int) -> None:
        if answer.stall_after == sent:
            await held.wait()
        if answer.cut_after == sent:
            # What was written leaves first; then no proper end of the chunked body.
            await asyncio.sleep(0.01)
            assert http.transport is not None
            http.transport.close()
            raise ConnectionResetError("cut as scripted")
