"""Signed tokens of OpenID Connect issuers as keys of ours (OpenID Connect Core 1.0; RFC 7519, 7517, 8725)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import httpx
import jwt

from graphs.errors import GraphUnavailable
from graphs.library import OidcSpec
from server.forwarded import clean
from server.keys import UnknownKey
from server.vouched import Vouched, found_role

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Only those with a public key: with a shared secret, whoever can check a token could make one."""
FRESH = 600.0
"""Seconds for which the issuer's keys are taken as they are."""
RETRY = 10.0
"""Seconds between two questions for the keys, however many tokens name one that is not known."""
PATIENCE = 10.0
"""Seconds for an answer of the issuer."""
MAX_TOKEN = 16_384
"""Characters of a token."""


def looks_signed(key: str) -> bool:
    """Whether a key has the form of a signed token: three parts with dots between them."""
    return key.count(".") == 2 and len(key) <= MAX_TOKEN


class Issuer:
    """One issuer, and its public keys."""

    def __init__(self, spec: OidcSpec, known_roles: Sequence[str], http: httpx.AsyncClient) -> None:
        self.spec = spec
        self._roles = known_roles
        self._http = http
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def vouch(self, token: str) -> Vouched:
        """Whose token it is. Raises UnknownKey where it does not hold, NotAllowed where it names no role of ours,
        GraphUnavailable where the issuer's keys cannot be had."""
        spec = self.spec
        try:
            key = await self._key(jwt.get_unverified_header(token).get("kid"))
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[name for name in ALGORITHMS if name == key.algorithm_name],
                audience=spec.audience,
                issuer=spec.issuer,
                leeway=spec.leeway,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise UnknownKey(f"The token of {spec.issuer} does not hold: {said(error)}.") from None
        subject = clean(claims["sub"])
        email = clean(claims.get("email")) if claims.get("email_verified") is not False else ""
        name = clean(claims.get("name")) or clean(claims.get("preferred_username")) or email or subject
        role = found_role(claims, spec.role_from, spec.roles, self._roles, spec.default)
        return Vouched(user=name, email=email, role=role, key="oidc", owner=f"oidc:{spec.issuer}:{subject}")

    async def _key(self, name: object) -> jwt.PyJWK:
        keys = await self._no_older_than(FRESH)
        if not isinstance(name, str) and len(keys) == 1:
            return next(iter(keys.values()))
        if name not in keys:  # issuers change their keys: ask again, but not for every token that is made up
            keys = await self._no_older_than(RETRY)
        found = keys.get(name) if isinstance(name, str) else None
        if found is None:
            raise jwt.InvalidKeyError("it is signed with a key that the issuer does not publish")
        return found

    async def _no_older_than(self, seconds: float) -> Mapping[str, jwt.PyJWK]:
        if time.monotonic() - self._asked_at < (seconds if self._keys else RETRY):
            return self._known()
        async with self._asking:
            if time.monotonic() - self._asked_at >= (seconds if self._keys else RETRY):
                self._asked_at = time.monotonic()
                self._keys = await self._ask() or self._keys
        return self._known()

    def _known(self) -> Mapping[str, jwt.PyJWK]:
        if not self._keys:
            raise GraphUnavailable(f"The keys of {self.spec.issuer} cannot be had now, so no token can be checked.")
        return self._keys

    async def _ask(self) -> Mapping[str, jwt.PyJWK]:
        """The published keys by name; empty where they cannot be had."""
        try:
            url = self.spec.jwks_url or await self._discovered()
            published = cast("dict[str, Any]", (await self._got(url)).json())
            return {
                key.key_id or "": key
                for key in jwt.PyJWKSet.from_dict(published).keys
                if key.public_key_use in (None, "sig") and key.algorithm_name in ALGORITHMS
            }
        except (httpx.HTTPError, jwt.PyJWTError, ValueError, KeyError, AttributeError, TypeError):
            return {}

    async def _discovered(self) -> str:
        url = f"{self.spec.issuer.rstrip('/')}/.well-known/openid-configuration"
        found = cast("dict[str, Any]", (await self._got(url)).json())
        if found["issuer"] != self.spec.issuer:
            raise ValueError("the issuer calls itself otherwise")
        return str(found["jwks_uri"])

    async def _got(self, url: str) -> httpx.Response:
        response = await self._http.get(url, timeout=PATIENCE)
        response.raise_for_status()
        return response


def unverified_issuer(token: str) -> str | None:
    """Who the token says has made it: to find the keys to check it with, and for nothing else."""
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return None
    issuer = claims.get("iss")
    return issuer if isinstance(issuer, str) else None


def said(error: jwt.PyJWTError) -> str:
    """What is wrong, without anything of the token in it."""
    match error:
        case jwt.ExpiredSignatureError():
            return "it has expired"
        case jwt.ImmatureSignatureError():
            return "it is not valid yet"
        case jwt.InvalidAudienceError():
            return "it was made for another audience"
        case jwt.InvalidIssuerError():
            return "it names another issuer"
        case jwt.MissingRequiredClaimError():
            return f"it has no claim {error.claim!r}"
        case jwt.InvalidAlgorithmError():
            return "it is signed in a way that its key is not for"
        case jwt.InvalidSignatureError():
            return "its signature is wrong"
        case jwt.InvalidKeyError():
            return "it is signed with a key that the issuer does not publish"
        case _:
            return "it cannot be read"
