"""Limits of answers over HTTP, before the SDK reads them: size, shape, pace and time.

The SDK's clients (streamable HTTP, HTTP+SSE) take an answer of any size, parse it four times, leave the caller waiting
when they cannot, and end the whole connection for one answer with an error's status. Here an answer that is not taken
becomes an error for the call that waits for it, so that the connection and its other calls go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx

from graphs.tools.event_stream import EventStream
from graphs.tools.http_exchange import HttpExchange, decode_body
from graphs.tools.http_failures import (
    LARGEST_BODY,
    HttpFailure,
    describe_break,
    describe_page,
    is_page,
    read_failure,
)
from graphs.tools.message_limits import Intake, UnfitMessage
from graphs.tools.redirects import MOST_REDIRECTS, find_redirect, is_same_origin, read_location, show_location

ENCODINGS = "gzip, deflate"
"""What is asked for, and decoded here: httpx would decompress a chunk of any ratio at one go."""

_LARGEST_OTHER = 2**20
"""Bytes of an answer that nobody reads."""


class RequestFailed(Exception):
    """A request that carries no message for which anybody waits got no answer that is taken."""

    def __init__(self, failure: HttpFailure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class BoundedTransport(httpx.AsyncBaseTransport):
    """Passes `inner`'s answers on within limits. `patience`: seconds that the answer to a request may take in all,
    which is longer than anybody waits for it. `is_sse`: answers come in a stream beside the requests."""

    def __init__(
        self, inner: httpx.AsyncBaseTransport, intake: Intake, *, patience: float, is_sse: bool = False
    ) -> None:
        self._inner = inner
        self._intake = intake
        self._patience = patience
        self._is_sse = is_sse
        self._moved: dict[httpx.URL, httpx.URL] = {}
        """Where addresses were sent on to: the way there is gone once."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request (see httpx). Raises httpx's errors, RequestFailed and UnfitMessage."""
        asked = await HttpExchange.from_request(request, self._intake, self._patience)
        limit = asyncio.timeout_at(asked.deadline)
        try:
            async with limit:
                request, response = await self._send(request)
                return await self._limit_response(request, response, asked)
        except TimeoutError:
            if not limit.expired() or asked.id is None:
                raise
            return _replace_content(None, request, asked.refuse(f"gave no whole answer within {self._patience:g} s"))
        except httpx.RemoteProtocolError as error:
            if asked.id is None:
                raise
            return _replace_content(None, request, asked.refuse(str(error)))
        except httpx.TransportError as error:
            if request.method == "DELETE":
                return httpx.Response(200, request=request)
            return self._end_request(request, asked, describe_break(error))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    async def _send(self, request: httpx.Request) -> tuple[httpx.Request, httpx.Response]:
        """Send the request, and follow where it is sent on to as far as that is safe."""
        written = request.url
        if written in self._moved:
            request = await _readdress(request, self._moved[written])
        for _ in range(MOST_REDIRECTS):
            response = await self._inner.handle_async_request(request)
            there = find_redirect(request, response)
            if there is None:
                return request, response
            await response.aclose()
            request = await _readdress(request, there)
            self._moved[written] = there
        return request, await self._inner.handle_async_request(request)

    async def _limit_response(
        self, request: httpx.Request, response: httpx.Response, exchange: HttpExchange
    ) -> httpx.Response:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        answered = response.is_success and response.status_code != 202
        if exchange.id is not None and not exchange.is_initialize and _is_cross_origin(response, request):
            await response.aclose()
            return _replace_content(
                None, request, exchange.refuse("sent the call on to another address, which is not followed")
            )
        if answered and kind == "text/event-stream":
            return _replace_stream(response, request, EventStream(response, self._intake, exchange))
        if request.method == "DELETE":
            # A session that is not known any more has ended, which is all that was asked; the SDK would log it.
            await response.aclose()
            return httpx.Response(200, request=request)
        if self._is_failure(request, response, exchange):
            return await self._end_failed(request, response, exchange)
        if self._is_sse and answered and request.method == "GET":
            raise UnfitMessage(await self._describe_other(response, kind))
        if exchange.id is None or not answered or self._is_sse:
            return _replace_stream(response, request, _TruncatedStream(response, self._intake))
        try:
            content = await self._read_answer(response, kind)
            content = exchange.select(await self._intake.examine_all(content, awaited=True))
        except UnfitMessage as unfit:
            content = exchange.refuse(str(unfit))
        finally:
            await response.aclose()
        return _replace_content(response, request, content)

    def _is_failure(self, request: httpx.Request, response: httpx.Response, exchange: HttpExchange) -> bool:
        """Whether the answer ends its request alone. The SDK ends the connection for it."""
        if exchange.is_initialize and response.status_code == 202 and not self._is_sse:
            return True
        waited_for = exchange.is_message or exchange.resumed_id is not None
        return not response.is_success and (waited_for or (self._is_sse and request.method == "GET"))

    async def _end_failed(
        self, request: httpx.Request, response: httpx.Response, exchange: HttpExchange
    ) -> httpx.Response:
        if response.has_redirect_location:
            await response.aclose()
            where = show_location(request, response)
            return self._end_request(request, exchange, HttpFailure(status=response.status_code, redirect=where))
        body = await self._read_beginning(response)
        failure = read_failure(response, body, named_session=exchange.names_session)
        return self._end_request(request, exchange, failure)

    def _end_request(self, request: httpx.Request, exchange: HttpExchange, failure: HttpFailure) -> httpx.Response:
        """Give the failure to whoever waits, and the SDK an answer by which it waits for no more. Raises
        RequestFailed, or httpx's error, where nobody waits."""
        waiting = exchange.id if exchange.id is not None else exchange.resumed_id
        if waiting is not None and exchange.is_message is False:
            # The first answer broke off, and this was to be the rest of it.
            self._intake.fail(waiting, failure)
        elif waiting is not None:
            if not self._intake.fail(waiting, failure):
                return _replace_content(None, request, exchange.refuse(failure.reason))
            return httpx.Response(202, request=request)
        elif exchange.is_message:
            # A notification: what is wrong shows in the next request.
            self._intake.note(failure.reason)
            return httpx.Response(202, request=request)
        if failure.cause is not None:
            raise failure.cause
        raise RequestFailed(failure)

    async def _read_beginning(self, response: httpx.Response) -> bytes:
        """Read the beginning of a body; what cannot be read is left out."""
        read = b""
        try:
            async with aclosing(decode_body(response, self._intake)) as pieces:
                async for piece in pieces:
                    read += piece
                    if len(read) >= LARGEST_BODY:
                        break
        except (UnfitMessage, httpx.TransportError):
            pass
        finally:
            await response.aclose()
        return read[:LARGEST_BODY]

    async def _describe_other(self, response: httpx.Response, kind: str) -> str:
        """Describe an answer that is neither JSON nor a stream of events."""
        body = (await self._read_beginning(response)).decode(errors="replace")
        if is_page(body):
            return f"answered with {kind[:100] or 'HTML'}: {describe_page(body)}, where MCP answers with JSON"
        if not kind and not body.strip():
            return "gave an empty answer of no type"
        return f"answered with {kind[:100] or 'an answer of no type'}, which MCP does not know"

    async def _read_answer(self, response: httpx.Response, kind: str) -> bytes:
        """Read a whole answer. Raises UnfitMessage."""
        if kind != "application/json":
            raise UnfitMessage(await self._describe_other(response, kind))
        with self._intake.open_buffer() as buffer:
            async with aclosing(decode_body(response, self._intake)) as pieces:
                async for piece in pieces:
                    buffer.add(piece)
                    if buffer.excess is not None:
                        break
            content = buffer.take()
        if not content.strip():
            raise UnfitMessage("gave an empty answer")
        return content


class _TruncatedStream(httpx.AsyncByteStream):
    """The beginning of a body that nobody needs."""

    def __init__(self, response: httpx.Response, intake: Intake) -> None:
        self._response = response
        self._intake = intake

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        left = _LARGEST_OTHER
        async with aclosing(decode_body(self._response, self._intake)) as pieces:
            async for piece in pieces:
                yield piece[:left]
                left -= len(piece)
                if left <= 0:
                    return

    async def aclose(self) -> None:
        await self._response.aclose()


async def _readdress(request: httpx.Request, there: httpx.URL) -> httpx.Request:
    """Make the same request to another address."""
    content = await request.aread()
    return httpx.Request(request.method, there, headers=request.headers, content=content, extensions=request.extensions)


def _is_cross_origin(response: httpx.Response, request: httpx.Request) -> bool:
    """Whether it is a redirect to another origin, where neither the headers nor the arguments are to go."""
    if not response.has_redirect_location:
        return False
    there = read_location(request, response)
    return there is None or not is_same_origin(request.url, there)


def _replace_stream(response: httpx.Response, request: httpx.Request, stream: httpx.AsyncByteStream) -> httpx.Response:
    """Replace an answer's body by one that is not compressed any more."""
    return httpx.Response(
        response.status_code,
        headers=_copy_headers(response),
        stream=stream,
        request=request,
        extensions=response.extensions,
    )


def _replace_content(response: httpx.Response | None, request: httpx.Request, content: bytes) -> httpx.Response:
    """Build an answer from a JSON-RPC message, with the headers of the one that came, if one did."""
    headers = httpx.Headers(_copy_headers(response) if response is not None else None)
    headers["content-type"] = "application/json"
    return httpx.Response(200, headers=headers, content=content, request=request)


def _copy_headers(response: httpx.Response) -> list[tuple[bytes, bytes]]:
    gone = (b"content-encoding", b"content-length", b"transfer-encoding")
    return [(name, value) for name, value in response.headers.raw if name.lower() not in gone]
