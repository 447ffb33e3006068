"""Routes of OpenAI's API that are passed on to the model endpoint, under the same keys, roles and limits as chats."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from fastapi import Request, Response
from pydantic import SecretStr
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from graphs.errors import ModelError
from graphs.runtime.passage import ROUTES, SPEECH_MODE, AnswerHead, EndpointRoute, Passage, PassedRequest
from graphs.runtime.runner import HOP_HEADER
from server.auth.keys import read_key
from server.observability.request_log import get_request_note
from server.protocols.errors import BadRequest, build_http_error
from server.protocols.json import JSON
from server.protocols.passed_body import read_fields, take_model
from server.routes.dependencies import build_facade, identify_caller, read_bytes
from server.routes.respond import AnswerStream, SendWatch, refuse_gone, wait_for_disconnect

log = logging.getLogger(__name__)


class PassThrough:
    """The handler of one route."""

    def __init__(self, route: EndpointRoute) -> None:
        self._endpoint = route
        self.routes = [Route(f"/v1/{route.path}", self.answer, methods=["POST"])]
        if route.path == "rerank":  # Cohere's own, which some clients ask for
            self.routes.append(Route("/rerank", self.answer, methods=["POST"]))

    async def answer(self, request: Request) -> Response:
        """Pass one request on and answer with what comes back. Raises what `protocols/errors.py` words."""
        request.scope["route"] = self.routes[0]  # FastAPI says so of its own kind alone
        facade = await build_facade(request)
        identity = await identify_caller(request, facade)
        revision = facade.revision
        revision.in_flight.enter()
        try:
            raw = await read_bytes(request, request.state.connections.limits.body_size)
            fields = dict(read_fields(raw))
            model = take_model(fields)
            del fields["model"]
            refuse_loop(request, model)
            passed = PassedRequest(
                id=get_request_note().id,
                route=self._endpoint,
                model=model,
                fields=fields,
                body=raw,
                accept=request.headers.get("accept", "*/*"),
                caller=identity.caller,
                owner=identity.owner,
                key=SecretStr(read_key(request.headers)) if identity.litellm_knows else None,
            )
            passage = Passage(revision, facade.engine.store, facade.engine.metrics, passed)
            head = await open_passage(request, passage)
            try:
                return PassedAnswer(passage, head, facade.settings.send_timeout, revision.in_flight.leave)
            except BaseException:
                await passage.close(500)
                raise
        except BaseException:
            revision.in_flight.leave()
            raise


def refuse_loop(request: Request, model: str) -> None:
    """Refuse a request that Interlock itself has sent. Raises BadRequest (508)."""
    if HOP_HEADER in request.headers:
        raise BadRequest(
            f"This request came back to Interlock: LiteLLM sends the model {model!r} here. Give it another address "
            "in LiteLLM's configuration.",
            status=508,
        )


async def open_passage(request: Request, passage: Passage) -> AnswerHead:
    """Open a passage, and close it where it fails, or the client leaves before an answer begins."""
    gone = asyncio.create_task(wait_for_disconnect(request))
    opening = asyncio.create_task(passage.open())
    try:
        await asyncio.wait([gone, opening], return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            refuse_gone(gone)
        return opening.result()
    except BaseException as error:
        opening.cancel()
        await asyncio.wait([opening])
        await asyncio.shield(passage.close(build_http_error(error).status))
        raise
    finally:
        gone.cancel()


class PassedAnswer(AnswerStream):
    """The answer of a passage, which ends with it."""

    def __init__(self, passage: Passage, head: AnswerHead, send_timeout: float, leave: Callable[[], None]) -> None:
        self._passage = passage
        self._leave = leave
        self._abort = get_request_note().abort
        watch = SendWatch(passage.stop, self._abort, send_timeout)
        super().__init__(self._send_body(watch), watch, status_code=head.status, headers=head.headers)

    async def _send_body(self, watch: SendWatch) -> AsyncIterator[bytes]:
        watch.is_sending = False
        try:
            async for data in self._passage.iter_body():
                watch.is_sending = True
                yield data
                watch.sent_chunks += 1
                watch.is_sending = False
        except ModelError as error:
            log.warning("%s", error)
            if self._abort is None:
                raise
            self._abort()  # an answer that ended here would be taken for a whole one
        watch.is_sending = True  # the end of the answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, and write down what became of it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            try:
                await asyncio.shield(self._passage.close(self.status_code))
            finally:
                self._leave()


async def list_audio_models(request: Request) -> Response:
    """`GET /v1/audio/models`: the models that read texts out, as chat pages ask for them."""
    request.scope["route"] = AUDIO_MODELS
    facade = await build_facade(request)
    identity = await identify_caller(request, facade)
    entries = await facade.revision.list_models_of(SPEECH_MODE, identity.caller)
    return JSON({"models": [{"id": entry.id} for entry in entries]})


AUDIO_MODELS = Route("/v1/audio/models", list_audio_models, methods=["GET"])
PASSED_ROUTES = [AUDIO_MODELS, *(route for endpoint in ROUTES for route in PassThrough(endpoint).routes)]
