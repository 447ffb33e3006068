"""LiteLLM's virtual keys as API keys: LiteLLM is asked whose a key is, and its answer is kept for a short while."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import httpx
from cachetools import LRUCache, TTLCache

from graphs.config.spec.identities import LiteLLMKeysSpec
from graphs.errors import GraphUnavailable
from server.auth.http_client import UnfitAnswer, ask
from server.auth.keys import UnknownKey
from server.auth.role_mapping import ExternalIdentity, clean_text, find_role

REJECTION_LIFETIME = 10.0
"""Seconds for which a key that LiteLLM does not know is not asked about again."""
MOST_ANSWERS = 10_000
"""Keys whose answers are kept at most; the one that was not used for longest goes first. Of refusals, as many of their
own: made-up keys push out no other."""
LONGEST_KEY = 512
"""Characters of a key."""
MOST_CONCURRENT = 4
"""Questions about keys that were never known that are under way at once."""
MOST_PER_MINUTE = 120
"""Such questions in a minute. A key that was known once is always asked about."""


@dataclass(frozen=True)
class _Answer:
    until: float
    info: Mapping[str, Any] | None
    """None: LiteLLM does not know the key, or does not let it in."""


class Bounds:
    """Bounds questions about unknown keys: at once, and in a minute. What is refused costs nothing."""

    def __init__(self, at_once: int = MOST_CONCURRENT, a_minute: int = MOST_PER_MINUTE) -> None:
        self._at_once = at_once
        self._a_minute = a_minute
        self._active = 0
        self._allowance = float(a_minute)
        self._updated_at = time.monotonic()

    def enter(self) -> bool:
        """Tell whether one more question may be asked now; if so, call `leave` after it."""
        now = time.monotonic()
        self._allowance = min(self._a_minute, self._allowance + (now - self._updated_at) * self._a_minute / 60)
        self._updated_at = now
        if self._active >= self._at_once or self._allowance < 1:
            return False
        self._allowance -= 1
        self._active += 1
        return True

    def leave(self) -> None:
        """End one question."""
        self._active -= 1


class LiteLLMKeys:
    """Asks one LiteLLM. Keys are held as digests, and shown to LiteLLM alone."""

    def __init__(
        self, spec: LiteLLMKeysSpec, base_url: str, known_roles: Sequence[str], http: httpx.AsyncClient
    ) -> None:
        self._spec = spec
        self._url = f"{base_url.rstrip('/').removesuffix('/v1')}/key/info"
        self._roles = known_roles
        self._http = http
        self._answers: LRUCache[bytes, _Answer] = LRUCache(MOST_ANSWERS)
        """Of keys that were known, also when their time is over."""
        self._rejected: TTLCache[bytes, None] = TTLCache(MOST_ANSWERS, REJECTION_LIFETIME)
        """Keys that were not known when they were last asked about."""
        self._bounds = Bounds()
        self._pending: dict[bytes, asyncio.Task[_Answer]] = {}

    def may_be_key(self, key: str) -> bool:
        """Tell whether a key has the form of LiteLLM's: no other is sent there."""
        return key.startswith(self._spec.prefix) and len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()

    async def vouch(self, key: str) -> ExternalIdentity:
        """Find out who shows `key`. Raises UnknownKey, NotAllowed where it has no role here, GraphUnavailable where
        LiteLLM does not answer, or is asked about too many keys that nobody knows."""
        digest = hashlib.sha256(key.encode()).digest()
        if digest in self._rejected:
            raise _build_unknown_key()
        answer = self._answers.get(digest)
        if answer is None or answer.until < time.monotonic():
            # Many requests with one key are one question; a client that leaves must not end it for the others.
            asking = self._pending.get(digest)
            if asking is None:
                if answer is None and not self._bounds.enter():
                    raise GraphUnavailable("Too many unknown API keys are shown now; try again in a moment.")
                asking = self._pending[digest] = asyncio.create_task(self._ask(key))
                asking.add_done_callback(partial(self._store_answer, digest, known=answer is not None))
            answer = await asyncio.shield(asking)
        if answer.info is None:
            raise _build_unknown_key()
        return self._build_identity(digest, answer.info)

    def _store_answer(self, digest: bytes, asking: asyncio.Task[_Answer], *, known: bool) -> None:
        """Keep the answer to a question."""
        self._pending.pop(digest, None)
        if not known:
            self._bounds.leave()
        if asking.cancelled() or asking.exception() is not None:
            return
        answer = asking.result()
        if answer.info is None:
            self._answers.pop(digest, None)
            self._rejected[digest] = None
        else:
            self._answers[digest] = answer
            self._rejected.pop(digest, None)

    def _build_identity(self, digest: bytes, facts: Mapping[str, Any]) -> ExternalIdentity:
        spec = self._spec
        user = clean_text(facts.get("user_id"))
        alias = clean_text(facts.get("key_alias")) or user or digest.hex()[:12]
        return ExternalIdentity(
            user=user or alias,
            email=clean_text(facts.get("user_email")),
            role=find_role(facts, spec.role_from, spec.roles, self._roles, spec.default),
            key=f"litellm:{alias}",
            owner=f"litellm:{digest.hex()}",
        )

    async def _ask(self, key: str) -> _Answer:
        try:
            # LiteLLM tells a key about itself: no master key is needed, and none stands in an address.
            status, body = await ask(self._http, self._url, {"authorization": f"Bearer {key}"})
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise GraphUnavailable(
                f"LiteLLM, which knows whose API key this is, does not answer now ({type(error).__name__})."
            ) from None
        except UnfitAnswer as error:
            raise GraphUnavailable(f"LiteLLM's /key/info gave {error} instead of saying whose key this is.") from None
        now = time.monotonic()
        if status in (400, 401, 403, 404):
            return _Answer(now + REJECTION_LIFETIME, None)
        facts = body.get("info") if body is not None else None
        if not isinstance(facts, dict):
            raise GraphUnavailable(f"LiteLLM's /key/info answered {status} instead of saying whose key this is.")
        known = cast("Mapping[str, Any]", facts)
        # Whatever it says that is not plainly "no" shuts the key.
        shut = known.get("blocked") not in (None, False)
        return _Answer(now + (REJECTION_LIFETIME if shut else self._spec.cache), None if shut else known)


def _build_unknown_key() -> UnknownKey:
    return UnknownKey("This API key is known neither here nor at LiteLLM, or LiteLLM does not let it in.")
