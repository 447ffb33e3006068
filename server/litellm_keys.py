"""LiteLLM's virtual keys as keys of ours: LiteLLM is asked who shows one, and is believed for a short while."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import httpx

from graphs.errors import GraphUnavailable
from graphs.library import LiteLLMKeysSpec
from server.keys import UnknownKey
from server.vouched import Vouched, found_role

PATIENCE = 10.0
"""Seconds for an answer of LiteLLM."""
REFUSED_FOR = 5.0
"""Seconds for which a key that LiteLLM does not know is not asked about again."""
REMEMBERED = 10_000
"""Keys whose answers are kept at most; the one that was not used for longest goes first."""


@dataclass(frozen=True)
class _Answer:
    until: float
    facts: Mapping[str, Any] | None
    """None: LiteLLM does not know the key, or does not let it in."""


class LiteLLMKeys:
    """Asks one LiteLLM. Keys are held as digests, and shown to LiteLLM alone."""

    def __init__(
        self, spec: LiteLLMKeysSpec, base_url: str, known_roles: Sequence[str], http: httpx.AsyncClient
    ) -> None:
        self._spec = spec
        self._url = f"{base_url.rstrip('/').removesuffix('/v1')}/key/info"
        self._roles = known_roles
        self._http = http
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[_Answer]] = {}

    async def vouch(self, key: str) -> Vouched:
        """Who shows `key`. Raises UnknownKey, NotAllowed where it has no role here, GraphUnavailable where LiteLLM does
        not answer."""
        digest = hashlib.sha256(key.encode()).digest()
        answer = self._answers.get(digest)
        if answer is None or answer.until < time.monotonic():
            # Many requests with one key are one question; a client that leaves must not end it for the others.
            asking = self._asking.get(digest)
            if asking is None:
                asking = self._asking[digest] = asyncio.create_task(self._ask(key))
                asking.add_done_callback(lambda _: self._asking.pop(digest, None))
            answer = await asyncio.shield(asking)
            self._answers[digest] = answer
            if len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
        self._answers.move_to_end(digest)
        if answer.facts is None:
            raise UnknownKey("This API key is known neither here nor at LiteLLM, or LiteLLM does not let it in.")
        return self._made(digest, answer.facts)

    def _made(self, digest: bytes, facts: Mapping[str, Any]) -> Vouched:
        spec = self._spec
        alias = str(facts.get("key_alias") or facts.get("user_id") or digest.hex()[:12])
        return Vouched(
            user=str(facts.get("user_id") or alias),
            email=str(facts.get("user_email") or ""),
            role=found_role(facts, spec.role_from, spec.roles, self._roles, spec.default),
            key=f"litellm:{alias}",
            owner=f"litellm:{digest.hex()}",
        )

    async def _ask(self, key: str) -> _Answer:
        try:
            # LiteLLM tells a key about itself: no master key is needed, and none stands in an address.
            response = await self._http.get(self._url, headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE)
        except httpx.HTTPError as error:
            raise GraphUnavailable(
                f"LiteLLM, which knows whose API key this is, does not answer now ({type(error).__name__})."
            ) from None
        now = time.monotonic()
        if response.status_code in (400, 401, 403, 404):
            return _Answer(now + REFUSED_FOR, None)
        facts = _facts(response)
        if facts is None:
            raise GraphUnavailable(
                f"LiteLLM's /key/info answered {response.status_code} instead of saying whose key this is."
            )
        shut = facts.get("blocked") is True
        return _Answer(now + (REFUSED_FOR if shut else self._spec.cache), None if shut else facts)


def _facts(response: httpx.Response) -> Mapping[str, Any] | None:
    """The facts of a key in LiteLLM's answer, `{"key": …, "info": {…}}`."""
    if response.status_code != 200:
        return None
    try:
        body: object = response.json()
    except ValueError:
        return None
    info = cast("Mapping[str, object]", body).get("info") if isinstance(body, dict) else None
    return cast("Mapping[str, Any]", info) if isinstance(info, dict) else None
