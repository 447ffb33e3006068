"""One request that is passed on to the model endpoint: its limits, its bytes, and what is written of it at its end."""

from __future__ import annotations

import re
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import aiohttp
from pydantic import SecretStr

from graphs.errors import ModelError
from graphs.llm.model_info import SPEECH_MODE
from graphs.llm.pass_through import PASSED_HEADERS, ROUTES, EndpointRoute, build_silence_error, pass_on
from graphs.policy.request_fields import FieldRefused
from graphs.policy.rules import Caller
from graphs.runtime.revision import Revision
from graphs.store.audit.record import AuditEntry
from graphs.store.store import Store
from graphs.store.usage import TokenSpend
from graphs.telemetry.metrics import Metrics
from graphs.telemetry.token_count import CHARACTERS_PER_TOKEN

CLIENT_LEFT = 499
"""The status of a request whose client left before an answer began."""
TAIL = 8 * 1024
"""Bytes at the end of an answer in which the tokens that it used are looked for."""
_TOTAL = re.compile(rb'(?<!\\)"total_tokens"\s*:\s*([0-9]{1,12})')
_DATA = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,", re.ASCII)
"""How a picture begins that stands in a text."""


@dataclass(frozen=True, kw_only=True)
class PassedRequest:
    """A request that is to be passed on."""

    id: str
    """The id of the HTTP request."""
    route: EndpointRoute
    model: str
    fields: Mapping[str, Any]
    """What the body says, the model apart."""
    body: bytes
    accept: str
    """What the client takes: its header."""
    caller: Caller
    owner: str
    key: SecretStr | None
    """The caller's own key, where LiteLLM may know it: it pays if `models.key` in gateway.yaml says so."""


@dataclass(frozen=True)
class AnswerHead:
    """The beginning of an answer, as the client gets it."""

    status: int
    headers: Mapping[str, str]


class Passage:
    """Passes one request on. `open` it, send what `iter_body` gives, and `close` it whatever happened."""

    def __init__(self, revision: Revision[object], store: Store, metrics: Metrics, request: PassedRequest) -> None:
        self._revision = revision
        self._store = store
        self._metrics = metrics
        self._request = request
        self._patience = request.route.find_patience(revision.snapshot.gateway.models.timeout)
        self._began = time.time()
        self._spenders: tuple[str, ...] = ()
        self._response: aiohttp.ClientResponse | None = None
        self._is_sent = False
        self._is_refused = False
        """The endpoint did not do it, so it has used nothing."""
        self._is_whole = False
        self._sent_bytes = 0
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0

    async def open(self) -> AnswerHead:
        """Send the request, and return the answer's beginning.

        Raises UnknownModel, NotAllowed, FieldRefused and EndpointClosed, then nothing was sent; LimitReached and
        ModelError.
        """
        request, revision = self._request, self._revision
        route, fields = request.route, request.fields
        await revision.check_endpoint_model(request.model, route, request.caller)
        await revision.check_fields({n: v for n, v in fields.items() if n not in route.content}, request.caller)
        tokens = await revision.admission.admit(request.caller, request.owner, route.counts_as)
        self._spenders = tokens.roles if tokens is not None and route.is_counted else ()
        if self._spenders and is_uncounted_stream(fields):
            raise FieldRefused(
                'stream_options: your role limits tokens, so a stream must say what it used; send {"include_usage": '
                "true}.",
                "stream_options",
            )
        self._is_sent = True
        pays = revision.snapshot.gateway.models.key == "caller"
        try:
            self._response = await pass_on(
                revision.model,
                route,
                request.body,
                request.accept,
                key=request.key if pays else None,
                patience=self._patience,
            )
        except ModelError as error:
            self._is_refused = error.code != "timeout"
            raise
        headers = self._response.headers
        passed = {name: headers[name] for name in PASSED_HEADERS if name in headers}
        return AnswerHead(self._response.status, {name: text for name, text in passed.items() if is_sendable(text)})

    async def iter_body(self) -> AsyncGenerator[bytes]:
        """Iterate over the answer's bytes as they come. Raises ModelError where it breaks off."""
        response = self._response
        assert response is not None  # noqa: S101  it was opened
        try:
            async for data in response.content.iter_any():
                self._sent_bytes += len(data)
                if self._spenders:
                    self._note_tail(data)
                yield data
        except TimeoutError as error:
            raise build_silence_error(self._patience) from error
        except aiohttp.ClientError as error:
            raise ModelError("The model endpoint broke its answer off.", kind="interrupted") from error
        self._is_whole = True

    def stop(self) -> None:
        """End the answer: the request at the model endpoint ends with it."""
        if self._response is not None:
            self._response.close()

    async def close(self, status: int) -> None:
        """Write down what became of the request; `status` is what the client was answered. One that was refused before
        it was sent has left no trace."""
        self.stop()
        if not self._is_sent:
            return
        request = self._request
        self._metrics.count_endpoint_bytes(f"/v1/{request.route.path}", len(request.body), self._sent_bytes)
        try:
            if self._spenders and (tokens := self._count_tokens()):
                await self._store.usage.spend(
                    TokenSpend(owner=request.owner, roles=self._spenders, tokens=tokens, now=time.time())
                )
        finally:
            await self._store.audit.append([self._build_entry(status)])

    def _build_entry(self, status: int) -> AuditEntry:
        request = self._request
        outcome: Literal["ok", "failed", "stopped"] = "ok" if self._is_whole else "stopped"
        if self._response is None and status != CLIENT_LEFT:
            outcome = "failed"
        details = {
            "request": request.id,
            "route": f"/v1/{request.route.path}",
            "model": request.model,
            "bytes_in": len(request.body),
            "bytes_out": self._sent_bytes,
            "status": status,
        }
        return AuditEntry(
            time=self._began,
            kind="endpoint",
            user=request.caller.user,
            owner=request.owner,
            key=request.caller.key,
            role=" & ".join(request.caller.roles),
            snapshot=self._revision.snapshot.id,
            call_id=secrets.token_hex(8),  # a client may give two requests one id
            args=details,
            outcome=outcome,
            seconds=time.time() - self._began,
        )

    def _note_tail(self, data: bytes) -> None:
        self._tail.append(data[-TAIL:])
        self._tail_bytes += len(self._tail[-1])
        while self._tail_bytes - len(self._tail[0]) >= TAIL:
            self._tail_bytes -= len(self._tail.popleft())

    def _count_tokens(self) -> int:
        """Count the tokens that the endpoint says, or estimate them from what was sent; nothing for a failure.

        An answer may quote what was sent, and so a lower number than its own: the highest counts.
        """
        if self._is_refused:
            return 0
        route, fields = self._request.route, self._request.fields
        found = _TOTAL.findall(b"".join(self._tail)[-TAIL:]) if self._is_whole else ()
        said = max(map(int, found), default=0)
        if found and route.group != "rerank":
            return said
        return max(said, estimate_tokens([value for name, value in fields.items() if name in route.content]))


def is_uncounted_stream(fields: Mapping[str, Any]) -> bool:
    """Whether an answer is to be streamed that will not say how many tokens it used."""
    options = fields.get("stream_options")
    says = isinstance(options, Mapping) and cast("Mapping[str, object]", options).get("include_usage") is True
    return bool(fields.get("stream")) and not says


def is_sendable(text: str) -> bool:
    """Whether a header of the endpoint's can be sent on (RFC 9110, section 5.5: visible ASCII and spaces)."""
    return text.isascii() and text.isprintable()


def estimate_tokens(content: object) -> int:
    """Estimate the tokens of texts, which may be lists of tokens already."""
    characters, numbers = 0, 0
    left: list[object] = [content]
    while left:
        value = left.pop()
        if isinstance(value, str):
            characters += 0 if _DATA.match(value) else len(value)
        elif isinstance(value, Mapping):
            left += cast("Mapping[str, object]", value).values()
        elif isinstance(value, Sequence):
            left += cast("Sequence[object]", value)
        elif isinstance(value, int):
            numbers += 1
    return -(-characters // CHARACTERS_PER_TOKEN) + numbers


__all__ = ["ROUTES", "SPEECH_MODE", "AnswerHead", "EndpointRoute", "Passage", "PassedRequest"]
