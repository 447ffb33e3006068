"""`POST /v1/chat/completions`: one turn, streamed or collected from the same events."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, get_args

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import SecretStr, ValidationError
from starlette.background import BackgroundTask
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from graphs.errors import InterlockError
from graphs.policy.rules import Caller
from graphs.runtime.runner import HOP_HEADER, RunningAnswer, TurnRequest
from server.auth.identity import Identity
from server.auth.keys import parse_bearer
from server.observability.request_log import get_request_note
from server.protocols.body_structure import check_structure
from server.protocols.chat_completions.request import BODY, ChatBody, Role, select_params
from server.protocols.chat_completions.stream import HEARTBEAT, ChunkEncoder, Collector
from server.protocols.errors import BadRequest, build_http_error
from server.protocols.json import JSON
from server.protocols.openwebui import Client, read_client
from server.protocols.tool_items import ResponseItems
from server.routes.dependencies import Facade, build_facade, identify_caller, read_bytes

log = logging.getLogger(__name__)


async def chat(request: Request) -> Response:
    """Runs one turn. Raises what `wire/errors.py` words for the client."""
    request.scope["route"] = ROUTE  # FastAPI says so of its own kind alone
    parts = await build_facade(request)
    who = await identify_caller(request, parts)
    with parts.revision.in_flight.hold():
        return await answer(request, parts, who)


# Not FastAPI's own kind of route: to find it, and to solve its dependencies, costs as much as the rest of the facade.
ROUTE = Route("/v1/chat/completions", chat, methods=["POST"])


async def answer(request: Request, parts: Facade, identity: Identity) -> Response:
    """The response to one turn, on one edition. A turn that has begun holds the edition itself."""
    body = await read_body(request, request.state.connections.limits.body_size)
    if HOP_HEADER in request.headers:
        raise BadRequest(
            f"This request came back to Interlock: the model {body.model!r} of a graph leads to Interlock itself. Give "
            "the graph, or `models.default` in gateway.yaml, a model that LiteLLM sends elsewhere.",
            status=508,
        )
    client = read_client(request.headers, body, for_people=identity.forwards_users)
    caller = identity.caller
    served, model = await parts.revision.resolve(body.model, caller)
    get_request_note().graph = served.plan.id
    refuse_name_clashes(client, parts, caller)
    tally = await parts.revision.admission.admit(caller, identity.owner)
    messages: list[dict[str, Any]] = [dict(message) for message in body.messages]
    asked = TurnRequest(
        served_graph=served,
        caller=caller,
        owner=identity.owner,
        remembers=identity.remembers,
        messages=messages,
        params=select_params(body, tools=bool(client.tools)),
        tools=client.tools,
        buttons=client.buttons,
        waits=client.waits,
        model=model,
        token_count=tally,
        key=SecretStr(parse_bearer(request.headers.get("authorization"))) if identity.litellm_knows else None,
        chat=client.chat,
        message=client.message,
        parent_message=client.parent_message,
    )
    run = parts.engine.runner.ask_model(asked) if client.task else parts.engine.runner.start(asked)
    get_request_note().turn = run.span
    completion_id = f"chatcmpl-{secrets.token_hex(12)}"
    if not body.stream:
        return await collect_answer(request, run, Collector(completion_id, body.model, int(time.time())), parts)
    include_usage = body.stream_options is not None and body.stream_options.include_usage
    items = ResponseItems() if client.items else None
    encoder = ChunkEncoder(completion_id, body.model, int(time.time()), include_usage=include_usage, items=items)
    return await stream_answer(request, run, encoder, parts)


def refuse_name_clashes(client: Client, parts: Facade, caller: Caller) -> None:
    """A client's tool must not bear the name of one that runs here for this caller: nobody could tell whose it is."""
    for index, tool in enumerate(client.tools):
        name = tool["function"]["name"]
        if parts.revision.is_taken(name, caller):
            raise BadRequest(
                f"tools[{index}]: {name!r} is a tool that runs here already; leave it out, or rename yours",
                param=f"tools.{index}",
            )


async def read_body(request: Request, largest: int) -> ChatBody:
    """The validated body. Raises BadRequest naming the field."""
    raw = await read_bytes(request, largest)
    await check_structure(raw)
    try:
        body = BODY.validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(step) for step in first["loc"])
        where = f"{field}: " if field else ""
        what = first["msg"]
        if first["type"] == "missing" and first["loc"][-1] == "role":
            what = f"a message needs a role, one of {', '.join(get_args(Role))}"
        raise BadRequest(f"{where}{what}", param=field or None) from None
    if (body.n or 1) > 1:
        raise BadRequest("n: a turn with tools has one answer; ask once for each instead of n > 1", param="n")
    return body


async def collect_answer(request: Request, run: RunningAnswer, collector: Collector, parts: Facade) -> Response:
    """The events collected into one completion. The client leaving stops the run."""
    gone = watch_client(request, run)
    try:
        while not collector.add(await run.events.take(parts.settings.heartbeat)):
            if gone.done():
                raise BadRequest("The client closed the request.", status=499)
    finally:
        gone.cancel()
        run.stop()
    # The client may have left unseen; what is written into a closed connection is taken for delivered.
    return JSON(collector.build_body(), background=BackgroundTask(note_delivered, run))


async def note_delivered(run: RunningAnswer) -> None:
    """After the response was written. (Starlette would send a plain function to a thread.)"""
    run.mark_delivered()


def watch_client(request: Request, run: RunningAnswer) -> asyncio.Task[None]:
    """Watches for the client to leave, and stops the run then. Cancel it when somebody else watches."""
    gone = asyncio.create_task(wait_for_disconnect(request))
    gone.add_done_callback(lambda task: None if task.cancelled() else run.stop())
    return gone


async def wait_for_disconnect(request: Request) -> None:
    """Returns once the client has left; the body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def stream_answer(request: Request, run: RunningAnswer, encoder: ChunkEncoder, parts: Facade) -> Response:
    """The events as they come. Waits a moment for the first, so that an early failure keeps its HTTP status."""
    gone = watch_client(request, run)
    try:
        first = await run.events.take(parts.settings.heartbeat)
    except BaseException:
        run.stop()
        raise
    finally:
        gone.cancel()

    watch = SendWatch(run.stop, get_request_note().abort, parts.settings.send_timeout)

    async def send_chunks() -> AsyncIterator[bytes]:
        events = first
        try:
            while True:
                data = encoder.encode(events)
                if data or not events:
                    watch.is_sending = True
                    yield data or HEARTBEAT
                    watch.is_sending = False
                    watch.sent_chunks += 1
                if data.endswith(b"data: [DONE]\n\n"):
                    run.mark_delivered()
                    return
                events = await run.events.take(parts.settings.heartbeat)
        except InterlockError as error:
            yield encoder.encode_error(build_http_error(error))
        except Exception as error:
            log.exception("stream failed")
            yield encoder.encode_error(build_http_error(error))
        finally:
            run.stop()
            watch.is_sending = True  # the end of the answer

    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return AnswerStream(send_chunks(), watch, media_type="text/event-stream", headers=headers)


class SendWatch:
    """Cuts a client that takes nothing of its answer.

    While a client does not read, the server waits in the middle of sending, the turn's events fill up, and the model's
    endpoint waits as well: all of that is held by nobody who wants it. Counts instead of a timeout around each chunk,
    which would cost more than to encode it.
    """

    LOOKS = 4

    def __init__(self, stop: Callable[[], None], cut: Callable[[], None] | None, timeout: float) -> None:
        self.is_sending = True
        """A chunk is on its way; the beginning of the answer is the first."""
        self.sent_chunks = 0
        """Chunks that were taken."""
        self._stop = stop
        self._abort = cut
        self._timeout = timeout
        self._before = -1
        self._idle = 0
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(timeout / self.LOOKS, self._look)

    def end(self) -> None:
        """The answer is over, one way or another: nothing goes on for it."""
        self._handle.cancel()
        self._stop()

    def _look(self) -> None:
        self._idle = self._idle + 1 if self.is_sending and self.sent_chunks == self._before else 0
        self._before = self.sent_chunks
        if self._idle < self.LOOKS:
            self._handle = self._loop.call_later(self._timeout / self.LOOKS, self._look)
            return
        log.warning(
            "a client took nothing of its answer for %g seconds; it was cut and its turn stopped", self._timeout
        )
        self._stop()
        if self._abort is not None:
            self._abort()


class AnswerStream(StreamingResponse):
    """A stream of events whose turn ends with it, also where the client left before its first byte."""

    def __init__(self, content: AsyncIterator[bytes], watch: SendWatch, **options: Any) -> None:
        super().__init__(content, **options)
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._watch.end()
