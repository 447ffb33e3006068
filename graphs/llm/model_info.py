"""Whether an endpoint is LiteLLM, and what LiteLLM says of its models with `GET /model/info`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
import orjson

from graphs.errors import ModelError
from graphs.llm.litellm_headers import ANSWER_HEADER, build_litellm_headers

log = logging.getLogger(__name__)

RETRY_SECONDS = 30.0
"""Seconds until an endpoint that did not say so is asked again."""
MOST_LOOPS = 1_000
"""Models of which is remembered that they lead round."""
MOST_ENTRIES = 10_000
"""Entries of the whole list."""
MOST_INFO_VALUES = 1_000_000
"""JSON values of the whole list: LiteLLM writes some 150 for each model."""
CHAT_MODES = frozenset({"chat", "completion", "responses"})
"""Modes that LiteLLM answers chat completions for; it has more and gets new ones, such as `embedding` or `ocr`."""
EMBEDDING_MODE = "embedding"
"""The mode of models that embed texts."""
COMPLETION_MODE = "completion"
"""The mode of models that complete a text; LiteLLM answers chat completions with them too."""
SPEECH_MODE = "audio_speech"
"""The mode of models that read texts out."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One entry of LiteLLM's list; several may have one name."""

    name: str
    """What it is asked for by; a pattern where `*` stands in it."""
    mode: str | None
    """What the model is for; None: LiteLLM does not know."""
    address: str | None
    """Where requests for it go; None: to the provider's own address."""

    @property
    def may_chat(self) -> bool:
        """Whether it answers chat completions, as far as is known."""
        return self.mode is None or self.mode in CHAT_MODES


class LiteLLM:
    """What is known of one endpoint that may be LiteLLM.

    `fetch` asks for an address, within so many seconds, and returns the status and the body.
    """

    def __init__(
        self, base_url: str, fetch: Callable[[str, float], Awaitable[tuple[int, bytes]]], *, patience: float
    ) -> None:
        self._base_url = base_url
        self._fetch = fetch
        self._patience = patience
        self._is_litellm: bool | None = None
        """None: not known yet."""
        self._last_question = float("-inf")
        self.loops: set[str] = set()
        """Models of which a request came back to Interlock."""
        self._lock = asyncio.Lock()

    @property
    def is_known(self) -> bool:
        """Whether the endpoint is known to be LiteLLM."""
        return self._is_litellm is True

    async def list_entries(self) -> list[ModelEntry] | None:
        """List what LiteLLM says of its models; nothing where it does not show them, or another program answers, and
        None where it cannot be known now.

        The answer is also what LiteLLM is known by.
        """
        if self._is_litellm is False:
            return []
        self._last_question = time.monotonic()
        try:
            status, body = await self._fetch(f"{self._base_url}/model/info", self._patience)
            if status == 200 and is_model_info(body):
                self._is_litellm = True
                return parse_model_info(body)
            if self._is_litellm is None and status < 500:
                self._is_litellm = status in (401, 403) and await self._has_probe()
        except (ModelError, aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            log.debug("%s/model/info: %s", self._base_url, type(error).__name__)
            return None
        return [] if status < 500 else None

    async def build_marks(self) -> dict[str, Any]:
        """Build what a request's body holds so that LiteLLM sends our headers on; nothing for any other endpoint,
        which might refuse it."""
        if self._is_litellm is None:
            async with self._lock:
                if self._is_litellm is None and time.monotonic() - self._last_question >= RETRY_SECONDS:
                    await self.list_entries()
        return build_litellm_headers() if self._is_litellm else {}

    def note_answer(self, headers: Mapping[str, str]) -> None:
        """Note what the headers of an answer to a chat completion show."""
        if not self._is_litellm and ANSWER_HEADER in headers:
            self._is_litellm = True

    def note_loop(self, model: str) -> None:
        """Note that a request for a model came back to Interlock."""
        if len(self.loops) < MOST_LOOPS:
            self.loops.add(model)

    async def _has_probe(self) -> bool:
        """Whether LiteLLM's probe is there, which needs no key: a key may be allowed to use models alone."""
        status, body = await self._fetch(f"{self._base_url.removesuffix('/v1')}/health/liveliness", self._patience)
        return status == 200 and b"alive" in body


def is_model_info(body: bytes) -> bool:
    """Whether this is LiteLLM's answer, and not what another program answers at that address."""
    return b'"litellm_params"' in body and b'"model_name"' in body


def parse_model_info(body: bytes) -> list[ModelEntry]:
    """Parse LiteLLM's entries; those of another form are left out. Raises ValueError, KeyError or TypeError where it is
    no list."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MOST_INFO_VALUES:
        raise ValueError("too many values")
    found: list[ModelEntry] = []
    for entry in cast("list[Any]", orjson.loads(body)["data"])[:MOST_ENTRIES]:
        if not isinstance(entry, dict):
            continue
        said = cast("Mapping[str, object]", entry)
        name = _read_text(said, "model_name")
        if name is not None:
            mode = _read_text(_read_part(said, "model_info"), "mode")
            address = _read_text(_read_part(said, "litellm_params"), "api_base")
            found.append(ModelEntry(name, mode and mode.lower(), address))
    return found


def _read_part(said: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = said.get(name)
    return cast("Mapping[str, object]", part) if isinstance(part, dict) else {}


def _read_text(said: Mapping[str, object], name: str) -> str | None:
    value = said.get(name)
    return value if isinstance(value, str) and value else None
