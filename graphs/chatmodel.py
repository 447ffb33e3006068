"""The road to LiteLLM: requests built by ChatOpenAI, the stream read by ourselves.

ChatOpenAI's own stream costs ten times more processor time per chunk, so it is used where LangChain's callbacks must
see the tokens (Studio), and for building requests; the lean reader below takes the stream everywhere else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import aiohttp
import orjson
from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from graphs.errors import ModelError, ModelErrorKind
from graphs.modelstream import Answer, Listener, StreamReader, error_words, interrupted
from graphs.redaction import Redaction
from graphs.tally import CallTally
from graphs.tracing import passed_on

HOP_HEADER = "x-interlock-hop"
"""Sent with every request, so that a road that leads back to Interlock can be recognised and ended."""
LONGEST = 4000
"""Characters of an error of the endpoint."""
LINGER = 1.0
"""Seconds that a connection waits for the last bytes of an answer that nobody waits for."""
PATIENCE = 2.0
"""Longest `Retry-After`, in seconds, that we wait out ourselves."""


class ChatModel:
    """Chat completions of one OpenAI-compatible endpoint (LiteLLM, or the built-in demo model).

    `base_url` ends in `/v1`; `silence` is how many seconds a stream may say nothing. `redaction` cleans the endpoint's
    errors, which may quote the key and the address that they were asked with.
    """

    def __init__(
        self, base_url: str, api_key: SecretStr, *, silence: float, redaction: Redaction | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._headers = {"content-type": "application/json", "accept": "text/event-stream", HOP_HEADER: "1"}
        if key := api_key.get_secret_value():
            self._headers["authorization"] = f"Bearer {key}"
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=silence)
        self._session: aiohttp.ClientSession | None = None
        self._redaction = redaction or Redaction((api_key.get_secret_value(),))
        self._silence = silence
        # ChatOpenAI wants some key even where the endpoint wants none. Without use_responses_api=False some model
        # names switch silently to another API.
        self.langchain = ChatOpenAI(
            model="interlock",
            base_url=self.base_url,
            api_key=SecretStr(api_key.get_secret_value() or "none"),
            use_responses_api=False,
            stream_usage=True,
            max_retries=0,
        )

    async def close(self) -> None:
        """Closes the connections to the endpoint."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def messages(self, messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
        """LangChain messages as OpenAI message objects.

        The one place that uses ChatOpenAI's private request builder.
        """
        if not messages:
            return []
        build = cast("Callable[[list[BaseMessage]], dict[str, Any]]", self.langchain._get_request_payload)  # pyright: ignore
        return build(list(messages))["messages"]

    async def models(self) -> list[str]:
        """The ids that `GET /models` lists.

        Raises ModelError when the endpoint does not answer with such a list.
        """
        timeout = aiohttp.ClientTimeout(total=10)
        try:
            async with self._http().get(f"{self.base_url}/models", headers=self._headers, timeout=timeout) as response:
                body = await response.read()
                if response.status != 200:
                    raise refusal(response.status, response.headers, body, self.base_url)
                return [str(entry["id"]) for entry in orjson.loads(body)["data"]]
        except ModelError as error:
            raise cleaned(error, self._redaction) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error, retryable=True) from error
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ModelError(
                f"{self.base_url}/models did not answer with a list of models. Does LITELLM_BASE_URL end in /v1?",
                kind="unavailable",
            ) from error

    async def stream(
        self,
        request: Mapping[str, Any],
        listener: Listener,
        *,
        key: SecretStr | None = None,
        tally: CallTally | None = None,
    ) -> Answer:
        """Sends one chat completion and reads its stream, telling `listener` each piece as it arrives.

        Pieces that arrive together are said together. `key` takes the place of our own, so that what is spent is
        counted as the caller's. Raises ModelError; it is `retryable` only while nothing was told.
        """
        reader = StreamReader(listener, tally)
        body = encoded({**request, "stream": True, "stream_options": {"include_usage": True}})
        try:
            response = await self._http().post(
                f"{self.base_url}/chat/completions", data=body, headers=self._headers_with(key)
            )
            try:
                if response.status != 200:
                    raise refusal(response.status, response.headers, await response.read(), self.base_url)
                if response.content_type == "application/json":
                    reader.whole(await response.read())
                else:
                    async for data in response.content.iter_any():
                        reader.feed(data)
                        if reader.done:
                            break
            finally:
                let_go(response, reader.done)
        except ModelError as error:
            # The caller's own key is known to nobody else; it may be quoted as ours may.
            own = () if key is None else (key.get_secret_value(),)
            raise cleaned(cleaned(error, Redaction(own)), self._redaction) from None
        except TimeoutError as error:
            raise ModelError(
                f"The model said nothing for {self._silence:g} seconds, so its answer was given up.",
                kind="interrupted" if reader.spoke else "unavailable",
                code="timeout",
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(error, retryable=True) from error
        except aiohttp.ClientError as error:
            if reader.spoke:
                raise interrupted() from error
            raise self._unreachable(error, retryable=True) from error
        return reader.answer()

    def _headers_with(self, key: SecretStr | None) -> Mapping[str, str]:
        if key is None:
            return {**self._headers, **passed_on()}
        return {**self._headers, "authorization": f"Bearer {key.get_secret_value()}", **passed_on()}

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30), timeout=self._timeout
            )
        return self._session

    def _unreachable(self, error: BaseException, *, retryable: bool) -> ModelError:
        return ModelError(
            f"No answer from the model endpoint {self.base_url} ({type(error).__name__}). Is LiteLLM running, and is "
            "LITELLM_BASE_URL right?",
            kind="unavailable",
            retryable=retryable,
        )


def let_go(response: aiohttp.ClientResponse, done: bool) -> None:
    """Gives a connection back. One that still owes the end of an answer cannot be used again, so where all that matters
    was read, that end is given a moment; aiohttp gives the connection back when it comes."""
    if done and not response.closed:
        asyncio.get_running_loop().call_later(LINGER, response.release)
    else:
        response.release()


def encoded(request: Mapping[str, Any]) -> bytes:
    """A request as JSON. What orjson cannot write, such as whole numbers over 64 bits, goes the slow way."""
    try:
        return orjson.dumps(request, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json.dumps(request, ensure_ascii=True).encode()


def endpoint_messages(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Messages as endpoints take them: a tool message may hold only text, so images follow in a user message."""
    sent: list[Mapping[str, Any]] = []
    images: list[Mapping[str, Any]] = []
    for message in messages:
        content = message.get("content")
        if message.get("role") == "tool":
            if isinstance(content, list):
                parts = cast("list[Mapping[str, Any]]", content)
                images += [part for part in parts if part.get("type") == "image_url"]
                text = "".join(str(part.get("text") or "") for part in parts if part.get("type") == "text")
                message = {**message, "content": text or "(see the image below)"}
        elif images:
            sent.append(image_message(images))
            images = []
        sent.append(message)
    if images:
        sent.append(image_message(images))
    return sent


def image_message(images: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Tool images in the only kind of message that may hold images."""
    return {"role": "user", "content": [{"type": "text", "text": "The images that the tools returned:"}, *images]}


def openai_tool(tool: BaseTool) -> dict[str, Any]:
    """A tool as the request's `tools` want it. Costs much; do it once per snapshot, not per request."""
    return convert_to_openai_tool(tool)


def refusal(status: int, headers: Mapping[str, str], body: bytes, base_url: str) -> ModelError:
    """The ModelError for an HTTP answer that is no success. LiteLLM hands a provider's `Retry-After` on renamed."""
    try:
        error = orjson.loads(body).get("error")
    except (orjson.JSONDecodeError, AttributeError):
        error = None
    words = error_words(error)
    details = cast("Mapping[str, object]", error if isinstance(error, Mapping) else {})
    code, param = (value if isinstance(value := details.get(name), str) else None for name in ("code", "param"))
    words = words or f"The model endpoint answered with status {status}."
    retry_after = headers.get("llm_provider-retry-after") or headers.get("retry-after")
    kind: ModelErrorKind
    if status == 429:
        kind, retryable = "rate_limited", retry_after is None or seconds(retry_after) <= PATIENCE
    elif status in (401, 403):
        kind, retryable = "authentication", False
        # Not the endpoint's own words: LiteLLM's quote the key.
        words = f"{base_url} refused Interlock's own key (status {status}). Check LITELLM_API_KEY."
    elif status < 500:
        kind, retryable = "invalid_request", False
    else:
        kind, retryable = "unavailable", True
    if kind != "invalid_request" or code == str(status):
        code = None
    return ModelError(
        words, kind=kind, status=status, retry_after=retry_after, code=code, param=param, retryable=retryable
    )


def cleaned(error: ModelError, redaction: Redaction) -> ModelError:
    """The error without secrets in what the endpoint said."""
    error.args = (redaction.text(str(error), LONGEST),)
    error.code, error.param = (value and redaction.text(value) for value in (error.code, error.param))
    return error


def seconds(retry_after: str) -> float:
    """`Retry-After` in seconds; an HTTP date counts as too long to wait (RFC 9110, section 10.2.3)."""
    try:
        return float(retry_after)
    except ValueError:
        return float("inf")
