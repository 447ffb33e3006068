"""Run one turn for a request and send its answer, in whatever dialect.

A route reads its dialect's request into a `TurnInput`, starts the turn with `start_turn`, and hands it to `stream_turn`
with an encoder, or to `collect_turn` with a collector.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import SecretStr
from starlette.background import BackgroundTask
from starlette.types import Receive, Scope, Send

from graphs.errors import InterlockError
from graphs.policy.rules import Caller
from graphs.runtime.revision import Revision
from graphs.runtime.runner import HOP_HEADER, RunningAnswer, TurnRequest
from server.auth.identity import Identity
from server.auth.keys import read_key
from server.observability.request_log import get_request_note
from server.protocols.encoder import ResponseCollector, ResponseEncoder
from server.protocols.errors import BadRequest, build_http_error
from server.protocols.json import JSON
from server.protocols.openwebui import OPEN_WEBUI, Client
from server.routes.dependencies import Facade
from server.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TurnInput:
    """What a request asks for, read out of its dialect."""

    model: str
    """A graph, or a LiteLLM model."""
    messages: Sequence[Mapping[str, Any]]
    """OpenAI's chat messages, the newest last."""
    params: Mapping[str, Any]
    """What is meant for the model, in Chat Completions' names."""
    client: Client


async def start_turn(request: Request, facade: Facade, identity: Identity, turn_input: TurnInput) -> RunningAnswer:
    """Start the turn, if the caller may have it now. It holds the revision itself.

    Raises BadRequest, FieldRefused, UnknownModel, NotAllowed and LimitReached.
    """
    if HOP_HEADER in request.headers:
        raise BadRequest(
            f"This request came back to Interlock: the model {turn_input.model!r} of a graph leads to Interlock "
            "itself. Give the graph, or `models.default` in gateway.yaml, a model that LiteLLM sends elsewhere.",
            status=508,
        )
    client, caller = turn_input.client, identity.caller
    served_graph, model = await facade.revision.resolve(turn_input.model, caller)
    note = get_request_note()
    note.graph = served_graph.plan.id
    refuse_name_clashes(client.tools, facade.revision, caller)
    params = await facade.revision.check_fields(turn_input.params, caller)
    token_count = await facade.revision.admission.admit(caller, identity.owner)
    turn_request = TurnRequest(
        served_graph=served_graph,
        caller=caller,
        owner=identity.owner,
        remembers=identity.remembers,
        messages=turn_input.messages,
        params=params,
        tools=client.tools,
        page=OPEN_WEBUI,
        buttons=client.buttons,
        waits=client.waits,
        model=model,
        token_count=token_count,
        key=SecretStr(read_key(request.headers)) if identity.litellm_knows else None,
        chat=client.chat,
        message=client.message,
        parent_message=client.parent_message,
        repeats=is_repeated(request.headers),
        idempotency_key=read_idempotency_key(request.headers),
    )
    runner = facade.engine.runner
    turn = runner.ask_model(turn_request) if client.task else runner.start(turn_request)
    note.turn = turn.span
    return turn


def is_repeated(headers: Mapping[str, str]) -> bool:
    """Whether the client says that it sends a request once more, as OpenAI's own clients do."""
    count = headers.get("x-stainless-retry-count", "")
    return count.isdecimal() and int(count) > 0


def read_idempotency_key(headers: Mapping[str, str]) -> str | None:
    """Read the client's name for what it wants done once, as a digest: it may be long, and is nobody's to read."""
    key = headers.get("idempotency-key", "")
    return hashlib.sha256(key.encode()).hexdigest() if key else None


def refuse_name_clashes(tools: Sequence[Mapping[str, Any]], revision: Revision[object], caller: Caller) -> None:
    """Refuse a client's tool that bears the name of one that runs here for this caller: nobody could tell whose it is.

    Raises BadRequest.
    """
    for index, tool in enumerate(tools):
        name = tool["function"]["name"]
        if revision.is_taken(name, caller):
            raise BadRequest(
                f"tools[{index}]: {name!r} is a tool that runs here already; leave it out, or rename yours",
                param=f"tools.{index}",
            )


async def collect_turn(
    request: Request, turn: RunningAnswer, collector: ResponseCollector, settings: Settings
) -> Response:
    """Answer with the whole turn at once. The client leaving stops the turn."""
    gone = watch_client(request, turn)
    try:
        is_whole = False
        while not is_whole:
            is_whole = collector.add(await turn.events.take(settings.heartbeat))
            refuse_gone(gone)
    except BaseException:
        turn.stop()
        raise
    finally:
        gone.cancel()
    # The client may have left unseen; what is written into a closed connection is taken for delivered.
    return JSON(collector.build_body(), background=BackgroundTask(note_delivery, turn))


def refuse_gone(gone: asyncio.Task[None]) -> None:
    """Raise BadRequest where the client has left: nobody reads what it is answered."""
    if gone.done():
        raise BadRequest("The client closed the request.", status=499)


async def note_delivery(turn: RunningAnswer) -> None:
    """Note that the response was written. (Starlette would send a plain function to a thread.)"""
    turn.mark_delivered()


async def stream_turn(request: Request, turn: RunningAnswer, encoder: ResponseEncoder, settings: Settings) -> Response:
    """Answer with the events as they come. Waits a moment for the first, so that an early failure keeps its status."""
    gone = watch_client(request, turn)
    try:
        first = await turn.events.take(settings.heartbeat)
    except BaseException:
        turn.stop()
        raise
    finally:
        gone.cancel()

    watch = SendWatch(turn.stop, get_request_note().abort, settings.send_timeout)

    async def send_chunks() -> AsyncIterator[bytes]:
        events, heartbeat, now = first, settings.heartbeat, asyncio.get_running_loop().time
        # Of silence, not of events: how far a tool is may come often, and has no bytes in most dialects.
        beats_at = now() + (heartbeat if first else 0)
        try:
            while True:
                data = encoder.encode(events)
                if data or now() >= beats_at:
                    watch.is_sending = True
                    yield data or encoder.encode_heartbeat()
                    watch.is_sending = False
                    watch.sent_chunks += 1
                    beats_at = now() + heartbeat
                if encoder.done:
                    turn.mark_delivered()
                    return
                events = await turn.events.take(max(0.0, beats_at - now()))
        except InterlockError as error:
            yield encoder.encode_error(build_http_error(error))
        except Exception as error:
            log.exception("stream failed")
            yield encoder.encode_error(build_http_error(error))
        finally:
            turn.stop()
            watch.is_sending = True  # the end of the answer

    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return AnswerStream(send_chunks(), watch, media_type=encoder.content_type, headers=headers)


def watch_client(request: Request, turn: RunningAnswer) -> asyncio.Task[None]:
    """Watch for the client to leave, and stop the turn then. Cancel the task when somebody else watches."""
    gone = asyncio.create_task(wait_for_disconnect(request))
    gone.add_done_callback(lambda task: None if task.cancelled() else turn.stop())
    return gone


async def wait_for_disconnect(request: Request) -> None:
    """Return once the client has left; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class SendWatch:
    """Cuts a client that takes nothing of its answer.

    While a client does not read, the server waits in the middle of sending, the turn's events fill up, and the model's
    endpoint waits as well: all of that is held by nobody who wants it. Counts instead of a timeout around each chunk,
    which would cost more than to encode it.
    """

    LOOKS = 4

    def __init__(self, stop: Callable[[], None], abort: Callable[[], None] | None, timeout: float) -> None:
        self.is_sending = True
        """A chunk is on its way; the beginning of the answer is the first."""
        self.sent_chunks = 0
        """Chunks that were taken."""
        self._stop = stop
        self._abort = abort
        self._timeout = timeout
        self._before = -1
        self._idle = 0
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(timeout / self.LOOKS, self._look)

    def end(self) -> None:
        """End the watch, and the turn with it: nothing goes on for an answer that is over."""
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
    """A streamed answer whose turn ends with it, also where the client left before its first byte."""

    def __init__(self, content: AsyncIterator[bytes], watch: SendWatch, **options: Any) -> None:
        super().__init__(content, **options)
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._watch.end()
