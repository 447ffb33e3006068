"""Errors of the model endpoint: its own sentence, in whatever form it writes one, and what kind of failure it means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urlsplit

import orjson

from graphs.errors import ModelError
from graphs.redaction import Redaction
from graphs.text import escape_invisible

LONGEST_ERROR = 4000
"""Characters of an error of the endpoint."""
LONGEST_RETRY_AFTER = 2.0
"""Longest `Retry-After`, in seconds, that we wait out ourselves."""
LONGEST_TEXT = 1000
"""Characters of an error that is a mere text: a longer one is something else."""
LOOP = 508
"""Loop Detected (RFC 5842): what Interlock answers a request of its own; to repeat it is in vain."""
_LONGEST_HOST = 256
_MOST_DETAILS = 3
"""Sentences of one error, where it has several."""
_DEEPEST = 5
_WORDS = ("message", "error", "detail", "msg", "error_description", "errors", "reason", "title")
"""Where the sentence stands: OpenAI's and Google's `error.message`, FastAPI's `detail`, and what else there is."""
_STATUS_BY_NAME = {
    "invalid_argument": 400, "failed_precondition": 400, "invalid_request_error": 400, "badrequesterror": 400,
    "context_length_exceeded": 400, "unauthenticated": 401, "authentication_error": 401, "invalid_api_key": 401,
    "permission_denied": 403, "permission_error": 403, "not_found": 404, "not_found_error": 404,
    "resource_exhausted": 429, "rate_limit_exceeded": 429, "rate_limit_error": 429, "insufficient_quota": 429,
    "too_many_requests": 429, "ratelimiterror": 429, "internal": 500, "internal_server_error": 500, "api_error": 500,
    "server_error": 500, "unavailable": 503, "overloaded_error": 503,
}  # fmt: skip
"""The HTTP status that a name stands for, where no number is said: names of OpenAI, Anthropic, Google and vLLM."""
_TOOL_PLACE = re.compile(r"\b(?:tools|function_?declarations)(?:\[(\d{1,4})\]|\.(\d{1,4})\b)", re.IGNORECASE)
_DECLARATION = re.compile(r"\bfunction_?declarations(?:\[|\.)\d", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class EndpointError:
    """What an endpoint says of a failure."""

    words: str
    status: int | None = None
    """The HTTP status that it names in the body."""
    code: str | None = None
    param: str | None = None


def is_error(payload: object, *, is_whole: bool) -> bool:
    """Whether this JSON is an error and no answer. `is_whole`: it is all that the endpoint said."""
    if isinstance(payload, list):
        return any(is_error(entry, is_whole=is_whole) for entry in cast("list[object]", payload)[:1])
    if not isinstance(payload, Mapping):
        return False
    said = cast("Mapping[str, object]", payload)
    if said.get("error") is not None:
        return True
    if said.get("choices"):
        return False
    if said.get("object") == "error" or said.get("type") == "error" or said.get("detail") or said.get("errors"):
        return True
    return bool(said.get("message")) and (is_whole or any(name in said for name in ("code", "status", "type")))


def read_error(payload: object) -> EndpointError:
    """Read an error out of the JSON of one, or out of its text."""
    parts: list[Mapping[str, object]] = []
    outer = payload
    if isinstance(payload, list) and payload:
        outer = cast("list[Any]", payload)[0]
    if isinstance(outer, Mapping):
        said = cast("Mapping[str, object]", outer)
        inner = said.get("error")
        parts = [cast("Mapping[str, object]", inner), said] if isinstance(inner, Mapping) else [said]
    code, param = (
        next((value for part in parts if isinstance(value := part.get(name), str)), None) for name in ("code", "param")
    )
    status = next((status for part in parts if (status := _find_status(part)) is not None), None)
    return EndpointError(_find_words(cast(Any, outer)), status, code, param)


def parse_error(body: bytes) -> EndpointError:
    """Parse the body of an error: JSON of any form, or a text. A page says nothing."""
    try:
        return read_error(orjson.loads(body))
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace").strip()
        return EndpointError("" if "<" in text[:200] or len(text) > LONGEST_TEXT else text)


def build_model_error(status: int, headers: Mapping[str, str], body: bytes, base_url: str) -> ModelError:
    """Build the ModelError for an HTTP answer that is no success. LiteLLM hands a provider's `Retry-After` on
    renamed."""
    said = parse_error(body)
    retry_after = read_retry_after(headers.get("llm_provider-retry-after") or headers.get("retry-after"))
    if status in (401, 403):
        # Not the endpoint's own words: LiteLLM's quote the key.
        words = f"{base_url} refused Interlock's own key (status {status}). Check LITELLM_API_KEY."
        return ModelError(words, kind="authentication", status=status, retry_after=retry_after)
    if status < 400:
        words = (
            f"The model endpoint {base_url} answered with status {status}{describe_redirect(headers)} instead of an "
            "answer."
        )
        return ModelError(words, kind="unavailable", status=status, retry_after=retry_after)
    return _build_error(said, status, retry_after)


def build_reported_error(payload: object, *, has_output: bool) -> ModelError:
    """Build the ModelError for an error that came where an answer was expected: HTTP had said 200.

    `has_output`: some of the answer was passed on.
    """
    said = read_error(payload)
    if said.status in (401, 403):
        return ModelError("The model endpoint refused Interlock's own key.", kind="authentication")
    if has_output:
        words = f"The model endpoint broke its answer off: {said.words}" if said.words else ""
        return ModelError(words or "The model failed in the middle of its answer.", kind="interrupted")
    return _build_error(said, said.status, None)


def clean_error(error: ModelError, redaction: Redaction) -> ModelError:
    """Remove secrets, and what steers a terminal or a page, from an error of the endpoint."""

    def clean(text: str) -> str:
        return escape_invisible(redaction.redact_text(text, LONGEST_ERROR), keep="\n\t")

    error.args = (clean(str(error)),)
    error.code, error.param = (value and clean(value) for value in (error.code, error.param))
    return error


def name_tools(error: ModelError, tools: Sequence[Mapping[str, Any]]) -> ModelError:
    """Add the names of the tools that a refused request's error knows by their places alone."""
    said = f"{error} {error.param or ''}"
    if error.kind != "invalid_request" or not tools:
        return error
    # Google puts all functions into one tool.
    places = [match for match in _TOOL_PLACE.finditer(said) if not match[0].lower().startswith("tools")]
    places = places if _DECLARATION.search(said) else list(_TOOL_PLACE.finditer(said))
    named: dict[str, str] = {}
    for match in places:
        place = int(match[1] or match[2])
        if place < len(tools):
            name = str(tools[place].get("function", {}).get("name"))
            if name not in str(error):
                named.setdefault(match[0], f"{match[0]} is the tool {name!r}")
    if named:
        error.args = (f"{error} ({'; '.join(list(named.values())[:_MOST_DETAILS])})",)
    return error


def describe_redirect(headers: Mapping[str, str]) -> str:
    """Name the target of a redirection by its host alone, as the rest of an address may hold secrets."""
    if not (location := headers.get("location")):
        return ""
    try:
        host = urlsplit(location).hostname
    except ValueError:
        host = None
    elsewhere = f" to {host[:_LONGEST_HOST]}" if host and host.isascii() else ""
    return f" (a redirection{elsewhere}, which is not followed: a conversation goes to `models.base_url` alone)"


def read_retry_after(value: str | None) -> str | None:
    """Read `Retry-After` where it is one, in seconds or as an HTTP date (RFC 9110, section 10.2.3); else None."""
    if value is None or re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,9})?", value, re.ASCII):
        return value
    if len(value) > 40 or not value.isascii():
        return None
    try:
        parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return value


def parse_seconds(retry_after: str) -> float:
    """Parse `Retry-After` in seconds; an HTTP date counts as too long to wait (RFC 9110, section 10.2.3)."""
    try:
        return float(retry_after)
    except ValueError:
        return float("inf")


def _build_error(said: EndpointError, status: int | None, retry_after: str | None) -> ModelError:
    """Build the error for a failure before the first word of an answer."""
    if status is None:
        words = f"The model endpoint answered with an error: {said.words}" if said.words else ""
        return ModelError(words or "The model endpoint answered with an error and no words.", kind="unavailable")
    words = f"The model endpoint answered {status}: {said.words}" if said.words else ""
    words = words or f"The model endpoint answered with status {status}."
    if status == 429:
        is_short = retry_after is None or parse_seconds(retry_after) <= LONGEST_RETRY_AFTER
        return ModelError(words, kind="rate_limited", status=status, retry_after=retry_after, retryable=is_short)
    if status < 500 or status == LOOP:
        code = None if said.code == str(status) else said.code
        return ModelError(words, kind="invalid_request", status=status, code=code, param=said.param)
    return ModelError(
        words, kind="unavailable", status=status, retry_after=retry_after, param=said.param, retryable=True
    )


def _find_status(part: Mapping[str, object]) -> int | None:
    for name in ("code", "status", "status_code", "type"):
        value = part.get(name)
        if isinstance(value, str):
            value = int(value) if re.fullmatch(r"\d{3}", value, re.ASCII) else _STATUS_BY_NAME.get(value.lower())
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return None


def _find_words(said: Any, depth: int = 0) -> str:
    if isinstance(said, str):
        return said.strip()
    if depth > _DEEPEST:
        return ""
    if isinstance(said, list):
        entries = cast("list[object]", said)[:_MOST_DETAILS]
        return "; ".join(words for entry in entries if (words := _find_words(entry, depth + 1)))
    if not isinstance(said, Mapping):
        return ""
    part = cast("Mapping[str, object]", said)
    words = next((words for name in _WORDS if (words := _find_words(part.get(name), depth + 1))), "")
    where = part.get("loc")  # FastAPI's
    if words and isinstance(where, list):
        steps = [str(step) for step in cast("list[object]", where) if step != "body"]
        return f"{'.'.join(steps)}: {words}" if steps else words
    return words
