"""Secrets that a test plants, and the search for them in everything that came out."""

from __future__ import annotations

import base64
import json
import secrets
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
from support.gateway import Gateway


def plant(*names: str) -> dict[str, str]:
    """A secret for each name, unlike any other: letters, and what addresses, JSON and YAML write otherwise."""
    return {name: f"{secrets.token_hex(9)}/+{secrets.token_hex(9)}" for name in names}


def forms(secret: str) -> set[bytes]:
    """How a secret may be written: as it is, in an address, in JSON, and in base64 wherever in a text it stands."""
    texts = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    found = {text.encode() for text in texts} | {secret.encode()[:18]}
    for before in range(3):
        coded = base64.b64encode(b"." * before + secret.encode()).rstrip(b"=")
        # The first and the last characters also hold bits of what stands beside the secret.
        inner = coded[(0, 2, 3)[before] : -1]
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def found_in(outputs: Mapping[str, bytes], planted: Mapping[str, str]) -> list[str]:
    """Which secret is where, with what stands around it."""
    return [
        f"{name} in {where}: …{text[max(0, at - 90) : at + 60]!r}…"
        for name, secret in planted.items()
        for where, text in outputs.items()
        for at in positions(text, forms(secret))
    ]


def positions(text: bytes, wanted: Iterable[bytes]) -> Iterable[int]:
    """Where the first of them stands, if any does."""
    places = [at for one in wanted if (at := text.find(one)) >= 0]
    return [min(places)] if places else []


def opened(body: bytes) -> bytes:
    """What was packed with gzip, unpacked."""
    return zlib.decompress(body, 31) if body[:2] == b"\x1f\x8b" else body


@dataclass(kw_only=True)
class Seen:
    """What came out, by where."""

    everyone: dict[str, bytes] = field(default_factory=dict)
    """What people see who need not be part of a conversation: operators, scrapers, auditors."""
    talk: dict[str, bytes] = field(default_factory=dict)
    """What the client is told in a turn, what the model is sent, and what is kept of both."""

    def all(self) -> dict[str, bytes]:
        return {**self.everyone, **self.talk}


@dataclass(kw_only=True)
class Talk:
    """One who asks Interlock, and keeps every byte of the answers."""

    served: Gateway
    into: Seen
    key: str

    def get(self, path: str, key: str | None = None, **more: Any) -> httpx.Response:
        return self._asked("GET", path, key, self.into.everyone, **more)

    def shown(self, path: str) -> httpx.Response:
        """A page that shows calls to those who decide about them."""
        return self._asked("GET", path, None, self.into.talk)

    def say(self, text: str, key: str | None = None, **more: Any) -> httpx.Response:
        body = {"model": "assistant", "messages": [{"role": "user", "content": text}], **more.pop("body", {})}
        return self._asked("POST", "/v1/chat/completions", key, self.into.talk, json=body, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self._asked("POST", path, None, self.into.talk, **more)

    def _asked(self, method: str, path: str, key: str | None, into: dict[str, bytes], **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key or self.key}", **more.pop("headers", {})}
        url = f"{self.served.root}{path}"
        answer = httpx.request(method, url, headers=headers, trust_env=False, timeout=30, **more)
        told = str(answer.headers).encode() + answer.content
        into[f"{len(self.into.all())} {method} {path} {answer.status_code}"] = told
        return answer
