"""Reading the stream of one chat completion, without a pydantic model per chunk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from itertools import islice
from typing import Any, Literal, Protocol, cast

import orjson

from graphs.errors import ModelError
from graphs.events import FinishReason, TokenUsage
from graphs.llm.call_pieces import LONGEST_NAME, CallAssembler, CallLimitReached, RawCall, parse_text
from graphs.llm.endpoint_errors import build_reported_error, is_error
from graphs.llm.provider_fields import FieldRoom, MessageFieldReader
from graphs.telemetry.token_count import CallTokenCount

LONGEST_ANSWER = 1_000_000
"""Characters of one answer, where the gateway file says nothing else: about 250,000 tokens."""
LONGEST_EVENT = 8 * 2**20
"""Bytes of one event, or of an answer that comes in one piece. A picture inside an event has some 3 MB."""
PLAIN_EVENT = 2**13
"""Bytes up to which an event may be any JSON. JSON of many small values takes thirty times its size in memory, so a
longer event must owe its length to texts."""
MOST_VALUES = 40_000
"""Commas and brackets, those in texts left out, in an event of more than PLAIN_EVENT bytes."""
MOST_ESCAPES = 1_000_000
"""Backslashes in an event that has more commas and brackets than that: what is no text has to be found between them."""
MOST_REPAIRED = 2**18
"""Bytes up to which JSON with half a character in it is read all the same: that takes twenty times as long."""
MOST_VALUES_WHOLE = 100_000
"""The same of an answer that comes in one piece."""
MOST_EXTRAS = 16
"""How many times an answer's longest length its annotations and log probabilities may take, in bytes."""
MOST_RETURNED = 4
"""How many times an answer's longest length the fields may take that go back to the endpoint with it."""
MOST_SILENT_BYTES = 4 * 2**20
"""Bytes of comments and empty events between two pieces of an answer. Of an event that comes in many pieces only the
last is counted: it may hold a picture, and is bounded by itself."""
MOST_TOKENS = 10**9
"""Tokens of one model call: what is over it is no count. A sum of such counts stays exact wherever it is kept."""
MOST_DETAILS = 32
"""Kinds of tokens that a usage may tell apart, and kinds of log probabilities."""


@dataclass(slots=True)
class Answer:
    """The collected answer of one model call."""

    text: str = ""
    calls: list[RawCall] = field(default_factory=list[RawCall])
    reason: FinishReason = "stop"
    usage: TokenUsage = field(default_factory=TokenUsage)
    carried: dict[str, Any] = field(default_factory=dict[str, Any])
    """Further fields of the message, which the endpoint must get back."""
    has_refusal: bool = False
    """The model said that it will not answer."""

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing in it that a person could read, and nothing to do."""
        return not (self.calls or self.has_refusal or self.text.strip())


PieceKind = Literal["text", "reasoning", "refusal"]


class Listener(Protocol):
    """The receiver of an answer's pieces as they arrive."""

    def add_text(self, kind: PieceKind, text: str) -> None:
        """Take the next piece of text."""
        ...

    def add_annotations(self, annotations: bytes) -> None:
        """Take the sources of the answer, as OpenAI writes them: a JSON list."""
        ...

    def add_logprobs(self, logprobs: Mapping[str, bytes]) -> None:
        """Take how likely the last piece was, as OpenAI writes it: JSON, by kind."""
        ...


class Flow(Protocol):
    """Where an answer is passed on to, which may be full."""

    full: bool
    """More should not be read before there is `room`."""

    async def wait_for_room(self) -> None:
        """Wait until there is room."""
        ...


REASONS: Mapping[str, FinishReason] = {"length": "length", "content_filter": "content_filter"}


THOUGHTS = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
"""Names of a model's thoughts: LiteLLM and DeepSeek; OpenRouter, newer vLLM, Groq; Copilot; Ollama."""


class StreamReader:
    """Server-sent events of one chat completion, fed as bytes in whatever pieces the network makes of them.

    Lines end as the standard allows (LF, CRLF, CR: WHATWG HTML, section 9.2.5). Whatever an endpoint sends, memory and
    time are bounded: what goes over one of the bounds above, or over `longest` characters of answer, is a ModelError
    that says so.
    """

    def __init__(
        self, listener: Listener, token_count: CallTokenCount | None = None, *, longest: int = LONGEST_ANSWER
    ) -> None:
        self._listener = listener
        self._token_count = token_count
        self._longest = longest
        self._line = bytearray()
        """The beginning of a line whose end is still to come."""
        self._text = StringIO()
        self._length = 0
        self._room = FieldRoom(MOST_RETURNED * longest)
        self._calls = CallAssembler(self._room)
        self._carried = MessageFieldReader(self._room)
        self._extras = 0
        self._silent_bytes = 0
        self._usage = TokenUsage()
        self._finish_reason: str | None = None
        self._kind: PieceKind = "text"
        self._has_refusal = False
        self._pending_texts: list[str] = []
        self.done = False
        """Nothing that matters is still to come."""
        self.has_output = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes and pass on what they complete. Raises ModelError."""
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines:
            self._silent_bytes += len(data)
            if self._line:
                lines[0] = bytes(self._line + lines[0])
                self._line.clear()
            try:
                for line in lines:
                    if line[:5] == b"data:":
                        if len(line) > PLAIN_EVENT:
                            self._check_event(line, MOST_VALUES)
                            self._read_event(line[5:].strip())
                        elif not self._take_plain_text(line[5:]):
                            self._read_event(line[5:].strip())
                    elif line[:8] == b"\xef\xbb\xbfdata:":
                        self._read_event(line[8:].strip())
                    elif line[:1] in (b"{", b"["):
                        self._refuse_bare_error(line)
            except ModelError as error:
                # What came before it in the same bytes is said first, however the network cut them.
                self._flush()
                if self.has_output and error.kind == "unavailable":
                    error.kind = "interrupted"
                raise
        if rest:
            self._line += rest
            if len(self._line) > LONGEST_EVENT:
                self._flush()
                raise self._build_event_error()
        self._flush()
        if self._silent_bytes > MOST_SILENT_BYTES:
            raise self._build_error(
                f"The model endpoint sent {MOST_SILENT_BYTES // 2**20} MB without a word of an answer (comments or "
                "empty events), so it was left."
            )

    def read_whole_answer(self, body: bytes) -> None:
        """Take an answer that came in one piece although a stream was asked for. Raises ModelError."""
        if len(body) > PLAIN_EVENT:
            self._check_event(body, MOST_VALUES_WHOLE)
        try:
            payload = parse_json(body)
            if is_error(payload, is_whole=True):
                raise build_reported_error(payload, has_output=False)
            choice = dict(payload["choices"][0])
        except (ValueError, KeyError, IndexError, TypeError):
            raise build_format_error() from None
        self._read_payload(
            {**payload, "choices": [{**choice, "delta": choice.get("message") or {}}]}, len(body), is_whole=True
        )
        self._flush()
        self.done = True

    def build_answer(self) -> Answer:
        """Build the answer from what was read. Raises ModelError (`interrupted`) when the stream stopped before its
        end."""
        if self._line.startswith(b"data:"):  # the last line, when the connection closed without a line end
            self.feed(b"\n")
        elif self._line.startswith((b"{", b"[")):
            self._refuse_bare_error(bytes(self._line))
        if not self.done and self._finish_reason is None:
            raise (
                build_interruption_error()
                if self.has_output
                else ModelError(
                    "The model's answer was cut off before it began. Please try again.",
                    kind="unavailable",
                    retryable=True,
                )
            )
        return Answer(
            text=self._text.getvalue(),
            calls=self._calls.build_calls(),
            reason=REASONS.get(self._finish_reason or "", "stop"),
            usage=self._usage,
            carried=self._carried.build(),
            has_refusal=self._has_refusal,
        )

    def _refuse_bare_error(self, line: bytes) -> None:
        """Raise ModelError for an error that stands in the stream without being an event of it."""
        if len(line) <= PLAIN_EVENT:
            try:
                payload = parse_json(line)
            except ValueError:
                return
            if is_error(payload, is_whole=not self.has_output):
                raise build_reported_error(payload, has_output=self.has_output)

    def _take_plain_text(self, data: bytes) -> bool:
        """Take what most of a stream is made of, a chunk with a piece of text and nothing else. Returns False for any
        other, which is not taken: each step here is done for every word of every answer."""
        if self._kind != "text":
            return False
        try:
            payload = orjson.loads(data)
            (choice,) = payload["choices"]
            delta = choice["delta"]
            text = delta["content"]
            alone = len(delta) == 1 or (len(delta) == 2 and "role" in delta)
            if not text or not alone or choice.get("finish_reason") or payload.get("usage") or payload.get("error"):
                return False
            if choice.get("logprobs"):
                return False
            text.encode()  # half a surrogate pair cannot be sent on
        except (ValueError, TypeError, KeyError, AttributeError):
            return False
        self._pending_texts.append(text)
        return True

    def _read_event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.done = True
            return
        try:
            payload = parse_json(data)
        except ValueError:
            raise build_format_error() from None
        if isinstance(payload, dict):
            self._read_payload(cast("dict[str, Any]", payload), len(data))
        elif is_error(payload, is_whole=False):
            self._flush()
            raise build_reported_error(payload, has_output=self.has_output)

    def _read_payload(self, payload: Mapping[str, Any], size: int, *, is_whole: bool = False) -> None:
        # Endpoints differ, and some err: what does not have the shape of a chunk must not end a turn without words.
        try:
            self._read_chunk(payload, size, is_whole=is_whole)
        except (TypeError, ValueError, AttributeError, KeyError, IndexError, RecursionError):
            raise build_format_error() from None

    def _read_chunk(self, payload: Mapping[str, Any], size: int, *, is_whole: bool) -> None:
        choices = payload.get("choices") or ()
        if payload.get("error") is not None or (not choices and is_error(payload, is_whole=False)):
            self._flush()
            raise build_reported_error(payload, has_output=self.has_output)
        if usage := payload.get("usage"):
            self._usage = parse_usage(usage) or self._usage
        if usage and not choices and self._finish_reason is not None:
            self.done = True  # usage comes after all else; "[DONE]" says nothing more
        for choice in choices[:1]:  # one answer is asked for
            delta = choice.get("delta")
            if choice.get("error"):  # OpenRouter's
                self._flush()
                raise build_reported_error(choice, has_output=self.has_output)
            if delta:
                if content := delta.get("content"):
                    self._add_piece("text", parse_text(content))
                if thought := find_thought(delta):
                    self._add_piece("reasoning", thought)
                if self._carried.add(delta, is_whole=is_whole):
                    self._silent_bytes = 0
                if refusal := delta.get("refusal"):
                    self._has_refusal = True
                    self._add_piece("refusal", parse_text(refusal))
                if isinstance(notes := delta.get("annotations"), list) and notes:
                    annotations = orjson.dumps(notes)
                    self._add_extras(size)
                    self._listener.add_annotations(annotations)
                for call in delta.get("tool_calls") or ():
                    self._add_call(call, is_whole=is_whole)
            if isinstance(logprobs := choice.get("logprobs"), Mapping) and logprobs:
                kinds = islice(cast("Mapping[str, Any]", logprobs).items(), MOST_DETAILS)
                weights = {kind: orjson.dumps(entries) for kind, entries in kinds}
                self._add_extras(size)
                self._listener.add_logprobs(weights)
            reason = choice.get("finish_reason")
            self._finish_reason = reason if isinstance(reason, str) and reason else self._finish_reason

    def _add_piece(self, kind: PieceKind, text: str) -> None:
        if kind != self._kind:
            self._flush()
            self._kind = kind
        self._pending_texts.append(text)

    def _flush(self) -> None:
        if self._pending_texts:
            self.has_output = True
            self._silent_bytes = 0
            text = "".join(self._pending_texts)
            self._pending_texts.clear()
            self._length += len(text)
            if self._length > self._longest:
                raise build_length_error(self._longest, has_output=self.has_output)
            if self._kind == "text":
                self._text.write(text)
            if self._token_count is not None:
                self._token_count.add_text(text)
            self._listener.add_text(self._kind, text)

    def _add_extras(self, size: int) -> None:
        """Count an event of this many bytes that holds more than text, once what came before it is passed on."""
        self._flush()
        self._silent_bytes = 0
        self._extras += size
        if self._extras > MOST_EXTRAS * self._longest:
            raise build_length_error(self._longest, has_output=self.has_output)

    def _add_call(self, delta: Mapping[str, Any], *, is_whole: bool) -> None:
        try:
            arguments = self._calls.add(delta, is_whole=is_whole)
        except CallLimitReached as error:
            raise self._build_error(str(error)) from None
        if arguments or delta.get("function"):
            self._silent_bytes = 0
        if self._token_count is not None:
            self._token_count.add_text(arguments)

    def _check_event(self, data: bytes, most: int) -> None:
        """Refuse an event that is too long, or that would take far more memory than it is long. Raises ModelError."""
        if len(data) > LONGEST_EVENT:
            self._flush()
            raise self._build_event_error()
        if has_more_values(data, most):
            self._flush()
            raise self._build_error(
                f"The model endpoint sent {len(data) / 2**20:.1f} MB of JSON in one piece with more than {most:,} "
                "values in it, which no answer has, so it was left."
            )

    def _build_event_error(self) -> ModelError:
        return self._build_error(
            f"The model endpoint sent more than {LONGEST_EVENT // 2**20} MB without the end of a line, which no event "
            "of an answer is long, so it was left. Does LITELLM_BASE_URL lead to a model?"
        )

    def _build_error(self, words: str) -> ModelError:
        return ModelError(words, kind="interrupted" if self.has_output else "unavailable")


def has_more_values(data: bytes, most: int) -> bool:
    """Whether JSON has more than `most` commas and brackets outside of its texts, where each stands before a value."""
    if count_marks(data) <= most:
        return False
    if data.count(b"\\") > MOST_ESCAPES:
        return True
    if b"\\" in data:
        data = data.replace(rb"\\", b"").replace(rb"\"", b"")
    # Every other part stands between quotes. A value has at most a name beside it.
    return data.count(b'"') > 4 * most or count_marks(b"".join(data.split(b'"')[::2])) > most


def count_marks(data: bytes) -> int:
    """Count commas and brackets."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def find_thought(delta: Mapping[str, Any]) -> str:
    """Find the next piece of the model's thoughts, which endpoints call by different names, and some by two at once."""
    for name in THOUGHTS:
        if isinstance(thought := delta.get(name), (str, list)) and thought:
            return parse_text(cast("object", thought))
    return ""


def build_interruption_error() -> ModelError:
    """Build the error for a stream that was cut after the person had read some of it."""
    return ModelError("The model's answer was cut off before its end. Please try again.", kind="interrupted")


def parse_usage(usage: object) -> TokenUsage | None:
    """Parse usage. None where it is no count: that is no reason to lose an answer."""
    if not isinstance(usage, Mapping):
        return None
    said = cast("Mapping[str, Any]", usage)
    prompt, completion = (read_count(said.get(name) or 0) for name in ("prompt_tokens", "completion_tokens"))
    return None if prompt is None or completion is None else TokenUsage(prompt, completion, parse_usage_details(said))


def read_count(value: object) -> int | None:
    """Read a number of tokens; None for anything that cannot be one: negative, no whole number, no number, beyond
    reason."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= MOST_TOKENS else None


def parse_usage_details(usage: Mapping[str, Any]) -> Mapping[str, Mapping[str, int]] | None:
    """Parse the counts of `*_tokens_details`; None where there are none."""
    found: dict[str, Mapping[str, int]] = {}
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        if isinstance(part := usage.get(name), Mapping):
            counts = list(cast("Mapping[str, Any]", part).items())[:MOST_DETAILS]
            found[name] = {
                kind: number
                for kind, count in counts
                if kind.isascii() and len(kind) <= LONGEST_NAME and (number := read_count(count)) is not None
            }
    return found or None


def build_length_error(longest: int, *, has_output: bool) -> ModelError:
    """Build the error for an answer that is too long; `has_output`: some of it was passed on."""
    return ModelError(
        f"The model's answer is longer than {longest:,} characters, so it was ended there. Where such answers are "
        "meant, raise `models.max_answer` in gateway.yaml.",
        kind="interrupted" if has_output else "unavailable",
    )


def build_format_error() -> ModelError:
    """Build the error for an answer in another format."""
    return ModelError("The model endpoint sent something that is no chat completion.", kind="unavailable")


def parse_json(data: bytes) -> Any:
    """Parse JSON, half a surrogate pair included: some endpoints cut characters in two. Raises ValueError."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        if len(data) > MOST_REPAIRED:
            raise
        try:
            return json.loads(data.decode("utf-8", "replace").encode("utf-8", "replace"))
        except RecursionError:
            raise ValueError("nested too deep") from None
