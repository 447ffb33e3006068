"""The client of LiteLLM: ChatOpenAI builds requests, and a reader of our own takes the stream.

ChatOpenAI's own stream costs ten times more processor time per chunk, so it is used where LangChain's callbacks must
see the tokens (Studio), and for building requests; the lean reader below takes the stream everywhere else.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

import aiohttp
import orjson
from langchain_core.messages import AIMessage, BaseMessage
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models import base as chatopenai
from langchain_openai.chat_models._compat import (
    _convert_from_v1_to_chat_completions as convert_blocks,  # pyright: ignore[reportPrivateUsage]
)
from pydantic import SecretStr

from graphs.config.http_transport import BoundedConnector
from graphs.errors import ModelError
from graphs.llm.api_address import find_api_address, has_version
from graphs.llm.body_reader import read_at_most, read_refusal, read_stream
from graphs.llm.connection_errors import (
    build_connection_error,
    build_content_type_error,
    build_protocol_error,
)
from graphs.llm.embeddings import LONGEST_EMBEDDINGS, Embeddings, parse_embeddings
from graphs.llm.endpoint_errors import LOOP, build_model_error, clean_error, name_tools
from graphs.llm.http_client import build_client
from graphs.llm.litellm_headers import HOP_HEADER
from graphs.llm.model_info import LiteLLM
from graphs.llm.provider_fields import PROVIDER_FIELDS
from graphs.llm.stream import (
    LONGEST_ANSWER,
    LONGEST_EVENT,
    MOST_VALUES_WHOLE,
    Answer,
    Flow,
    Listener,
    StreamReader,
    build_interruption_error,
)
from graphs.redaction import Redaction
from graphs.telemetry.token_count import CallTokenCount
from graphs.telemetry.tracing import build_trace_headers

log = logging.getLogger(__name__)

LINGER = 1.0
"""Seconds that a connection waits for the last bytes of an answer that nobody waits for."""
READ_AHEAD = 64 * 1024
"""Bytes that wait to be read, twice over, before the endpoint is made to wait."""
LONGEST_LIST = 4 * 2**20
"""Bytes of a list of models."""
EMBEDDING_PATIENCE = 15.0
"""Seconds for the embeddings of a request; a search goes by words where they do not come."""
LONGEST_INFO = 32 * 2**20
"""Bytes of what LiteLLM says of its models: some 6 kB each."""
INFO_PATIENCE = 5.0
"""Seconds that the first request waits for an endpoint to say what it is."""
MOST_MODELS = 10_000
"""Models of one list; LiteLLM's own price list knows some 2,500."""
LONGEST_MODEL = 256
"""Characters of a model's name."""
LONGEST_STUDIO_ANSWER = 32 * 2**20
"""Bytes of an answer that LangChain reads."""


class ChatModel:
    """Chat completions of one OpenAI-compatible endpoint (LiteLLM, or the built-in demo model).

    `base_url` ends in `/v1`, which is added where the address answers as an API only with it; `silence` is how many
    seconds a stream may say nothing, `longest` how many characters an answer may have. `redaction` cleans the
    endpoint's errors, which may quote the key and the address that they were asked with.

    The endpoint is not trusted: it is read no faster and no further than the bounds of `StreamReader` allow, it cannot
    send a conversation elsewhere (redirections are not followed), and nothing of one answer travels with another
    request (no cookies are kept). Proxies and passwords of the environment are not used: a conversation goes where the
    gateway file says.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        *,
        silence: float,
        longest: int = LONGEST_ANSWER,
        redaction: Redaction | None = None,
    ) -> None:
        self._headers = {
            "content-type": "application/json",
            "accept": "text/event-stream",
            # Compressed, a stream comes in lumps; where it does all the same, aiohttp unpacks it in small steps.
            "accept-encoding": "identity",
            HOP_HEADER: "1",
        }
        if key := api_key.get_secret_value():
            self._headers["authorization"] = f"Bearer {key}"
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=silence)
        self._session: aiohttp.ClientSession | None = None
        self._redaction = redaction or Redaction((api_key.get_secret_value(),))
        self._silence = silence
        self._longest = longest
        self._patience = min(INFO_PATIENCE, 2 * silence)
        self._api_key = api_key
        self._langchain_http = build_client(LONGEST_STUDIO_ANSWER)
        self._use_address(base_url.rstrip("/"))
        self._is_address_known = has_version(self.base_url)
        self._address_lock = asyncio.Lock()

    def _use_address(self, base_url: str) -> None:
        self.base_url = base_url
        self.litellm = LiteLLM(base_url, self._fetch, patience=self._patience)
        # ChatOpenAI wants some key even where the endpoint wants none. Without use_responses_api=False some model
        # names switch silently to another API.
        self.langchain = ChatOpenAI(
            model="interlock",
            base_url=base_url,
            api_key=SecretStr(self._api_key.get_secret_value() or "none"),
            use_responses_api=False,
            stream_usage=True,
            max_retries=0,
            default_headers={HOP_HEADER: "1"},
            http_async_client=self._langchain_http,
        )

    async def find_address(self) -> None:
        """Find out, once, whether the address is to have `/v1`; while the endpoint does not answer, nothing changes."""
        if self._is_address_known:
            return
        async with self._address_lock:
            if self._is_address_known:
                return
            found = await find_api_address(self.base_url, lambda url: self._fetch(url, self._patience))
            if found is not None and found != self.base_url:
                log.warning(
                    "%s does not answer as an API, and %s does: that is used. Write it so in LITELLM_BASE_URL.",
                    self.base_url,
                    found,
                )
                self._use_address(found)
            self._is_address_known = found is not None

    async def close(self) -> None:
        """Close the connections to the endpoint."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self._langchain_http.aclose()

    def convert_messages(self, messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
        """Convert LangChain messages to OpenAI message objects, with what they carried beside them.

        The one place that uses ChatOpenAI's private converters: its whole request builder costs twice as much.
        """
        converted: list[dict[str, Any]] = []
        for message in messages:
            # Blocks of LangChain's own, which state written by others may hold.
            plain = convert_blocks(message) if isinstance(message, AIMessage) else message
            built: dict[str, Any] = chatopenai._convert_message_to_dict(plain)  # pyright: ignore
            if carried := message.additional_kwargs.get(PROVIDER_FIELDS):
                built[PROVIDER_FIELDS] = carried
            converted.append(built)
        return converted

    async def list_models(self) -> list[str]:
        """List the ids of `GET /models`; LiteLLM's wildcards, such as `openai/*`, among them.

        Raises ModelError when the endpoint does not answer with such a list.
        """
        await self.find_address()
        timeout = aiohttp.ClientTimeout(total=10)
        # LiteLLM shows the models that it knows in place of a wildcard, and takes any other that matches too.
        query = "?return_wildcard_routes=true" if self.litellm.is_known else ""
        try:
            return parse_model_names(await self._ask("GET", f"models{query}", LONGEST_LIST, timeout=timeout))
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{self.base_url}/models did not answer with a list of models. Does LITELLM_BASE_URL end in /v1?",
                kind="unavailable",
            ) from error

    async def embed(self, model: str, texts: Sequence[str], *, key: SecretStr | None = None) -> Embeddings:
        """Embed at most `MOST_TEXTS` texts. `key` takes the place of our own. Raises ModelError."""
        await self.find_address()
        timeout = aiohttp.ClientTimeout(total=min(EMBEDDING_PATIENCE, self._silence))
        body = encode_request({"model": model, "input": [*texts]})
        try:
            answer = await self._ask("POST", "embeddings", LONGEST_EMBEDDINGS, timeout=timeout, body=body, key=key)
            return parse_embeddings(answer, len(texts))
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{self.base_url}/embeddings did not answer with a vector for each text. Is {model!r} a model for "
                "embeddings?",
                kind="unavailable",
            ) from error

    async def _ask(
        self,
        method: str,
        path: str,
        most: int,
        *,
        timeout: aiohttp.ClientTimeout,
        body: bytes | None = None,
        key: SecretStr | None = None,
    ) -> bytes:
        """Send one request and read its whole answer, of at most so many bytes. Raises ModelError."""
        headers = {**self.build_headers(key), "accept": "application/json"}
        try:
            async with self.open_session().request(
                method,
                f"{self.base_url}/{path}",
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    raise build_model_error(
                        response.status, response.headers, await read_refusal(response), self.base_url
                    )
                return await read_at_most(response, most)
        except ModelError as error:
            raise self.clean_error(error, key) from None
        except aiohttp.ClientResponseError as error:
            raise build_protocol_error(error, self.base_url) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise build_connection_error(error, self.base_url) from error

    async def _fetch(self, url: str, patience: float) -> tuple[int, bytes]:
        """Ask for what a program says of itself. Raises ModelError where it says too much, aiohttp's errors and
        TimeoutError."""
        timeout = aiohttp.ClientTimeout(total=patience)
        async with self.open_session().get(
            url, headers=self._headers, timeout=timeout, allow_redirects=False
        ) as response:
            return response.status, await read_at_most(response, LONGEST_INFO)

    async def stream(
        self,
        request: Mapping[str, Any],
        listener: Listener,
        *,
        key: SecretStr | None = None,
        token_count: CallTokenCount | None = None,
        flow: Flow | None = None,
    ) -> Answer:
        """Send one chat completion and read its stream, passing each piece to `listener` as it arrives.

        Pieces that arrive together are passed together. `key` takes the place of our own, so that what is spent is
        counted as the caller's. While `flow` is full nothing is read, so that the endpoint has to wait. Raises
        ModelError; it is `retryable` only while nothing was passed on.
        """
        reader = StreamReader(listener, token_count, longest=self._longest)
        await self.find_address()
        marks = await self.litellm.build_marks()
        body = encode_request({**request, **marks, "stream": True, "stream_options": {"include_usage": True}})
        try:
            # Whoever sends a header a byte at a time is never silent.
            async with asyncio.timeout(2 * self._silence):
                response = await self.open_session().post(
                    f"{self.base_url}/chat/completions",
                    data=body,
                    headers=self.build_headers(key),
                    allow_redirects=False,
                )
            self.litellm.note_answer(response.headers)
            try:
                if response.status != 200:
                    raise build_model_error(
                        response.status, response.headers, await read_refusal(response), self.base_url
                    )
                if response.content_type == "application/json":
                    reader.read_whole_answer(await read_at_most(response, LONGEST_EVENT))
                elif response.content_type in PAGE_TYPES:
                    raise build_content_type_error(response.content_type, self.base_url)
                else:
                    await read_stream(response.content, reader, flow)
            finally:
                release_connection(response, reader.done)
        except ModelError as error:
            if error.status == LOOP:
                self.litellm.note_loop(str(request["model"]))
            raise self.clean_error(name_tools(error, request.get("tools") or ()), key) from None
        except TimeoutError as error:
            raise ModelError(
                f"The model said nothing for {self._silence:g} seconds, so its answer was given up.",
                kind="interrupted" if reader.has_output else "unavailable",
                code="timeout",
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise build_connection_error(error, self.base_url) from error
        except aiohttp.ClientResponseError as error:
            raise build_protocol_error(error, self.base_url) from None
        except aiohttp.ClientError as error:
            if reader.has_output:
                raise build_interruption_error() from error
            raise build_connection_error(error, self.base_url) from error
        return reader.build_answer()

    def build_headers(self, key: SecretStr | None) -> Mapping[str, str]:
        """Build the headers of a request. `key` takes the place of our own."""
        if key is None:
            return {**self._headers, **build_trace_headers()}
        return {**self._headers, "authorization": f"Bearer {key.get_secret_value()}", **build_trace_headers()}

    def clean_error(self, error: ModelError, key: SecretStr | None) -> ModelError:
        """Remove secrets from an error of the endpoint; `key` is the caller's own, if the request bore it."""
        # The caller's own key is known to nobody else; it may be quoted as ours may.
        own = () if key is None else (key.get_secret_value(),)
        return clean_error(clean_error(error, Redaction(own)), self._redaction)

    def open_session(self) -> aiohttp.ClientSession:
        """Open the session of all requests, once."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=BoundedConnector(limit=0, keepalive_timeout=30),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                read_bufsize=READ_AHEAD,
            )
        return self._session


PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml", "text/xml", "application/xml"})
"""What pages and proxies answer with; whatever else calls itself something wrong is read as a stream."""


def parse_model_names(body: bytes) -> list[str]:
    """Parse the ids of a list of models. Raises ValueError, KeyError or TypeError where it is none."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MOST_VALUES_WHOLE:
        raise ValueError("too many values")
    entries = orjson.loads(body)["data"]
    if not isinstance(entries, list):
        raise TypeError("`data` is no list")
    names = [
        name
        for entry in cast("list[Any]", entries)[:MOST_MODELS]
        if isinstance(name := entry["id"], str) and len(name) <= LONGEST_MODEL and name.isprintable()
    ]
    if left := len(cast("list[Any]", entries)) - len(names):
        log.warning(
            "%d of the endpoint's models are not offered: it lists more than %d, or their names are no names",
            left,
            MOST_MODELS,
        )
    return names


def release_connection(response: aiohttp.ClientResponse, done: bool) -> None:
    """Give a connection back to the pool. One that still owes the end of an answer cannot be used again, so where all
    that matters was read, that end is given a moment; aiohttp gives the connection back when it comes."""
    if done and not response.closed:
        asyncio.get_running_loop().call_later(LINGER, response.release)
    else:
        response.release()


def encode_request(request: Mapping[str, Any]) -> bytes:
    """Encode a request as JSON. What orjson cannot write, such as whole numbers over 64 bits, goes the slow way."""
    try:
        return orjson.dumps(request, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json.dumps(request, ensure_ascii=True).encode()
