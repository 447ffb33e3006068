"""The list of LiteLLM's models that the gateway file offers, cached between questions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from graphs.errors import ModelError
from graphs.llm.client import ChatModel
from graphs.policy.patterns import matches_any

log = logging.getLogger(__name__)

FRESH_SECONDS = 30.0
"""Seconds for which the list is taken as it is."""
RETRY_SECONDS = 2.0
"""Seconds between two questions for the list after a failure, or for a name it did not hold."""


class ModelList:
    """The cached list of one endpoint's models."""

    def __init__(self, model: ChatModel, patterns: Sequence[str]) -> None:
        self._model = model
        self._patterns = patterns
        self._names: list[str] = []
        self._loaded_at = float("-inf")
        self._lock = asyncio.Lock()
        self.problem: str | None = None
        """Why the list is not known, or could not be refreshed."""

    async def list_names(self) -> list[str]:
        """List what is offered; while LiteLLM does not answer, what was offered last."""
        return await self._load_names(FRESH_SECONDS)

    async def has(self, name: str) -> bool:
        """Whether a model is offered. The list is refreshed for a name that it does not hold."""
        return name in await self._load_names(FRESH_SECONDS) or name in await self._load_names(RETRY_SECONDS)

    async def _load_names(self, seconds: float) -> list[str]:
        seconds = RETRY_SECONDS if self.problem else seconds
        if time.monotonic() - self._loaded_at < seconds:
            return self._names
        async with self._lock:
            if time.monotonic() - self._loaded_at < seconds:
                return self._names
            try:
                names = await self._model.list_models()
                self._names = [name for name in names if matches_any(self._patterns, name)]
                self.problem = None
            except ModelError as error:
                log.warning("%s", error)
                self.problem = str(error)
            self._loaded_at = time.monotonic()
        return self._names
