"""Signed tokens of OpenID Connect issuers, accepted as API keys (OpenID Connect Core 1.0; RFC 7519, 7517, 8725).

The issuer's keys are fetched and kept here, not by PyJWT's `PyJWKClient` (2.15): once its set has expired it takes no
token while the issuer is down, it asks a failing issuer again for every token, each wait holds a thread, and it refuses
a key without `kid`. Ours goes on with the last known keys and asks at most once in RETRY seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from graphs.config.spec.identities import OidcSpec
from graphs.errors import GraphUnavailable
from server.auth.http_client import UnfitAnswer, ask
from server.auth.keys import UnknownKey
from server.auth.role_mapping import ExternalIdentity, clean_text, find_role

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Only those with a public key: with a shared secret, whoever can check a token could make one."""
KEYS_LIFETIME = 600.0
"""Seconds for which the issuer's keys are taken as they are."""
RETRY = 10.0
"""Seconds between two questions for the keys, however many tokens name one that is not known."""
MOST_KEYS = 100
"""Keys that an issuer may publish; of more the first are taken."""
LARGEST_MODULUS = 8_192
LARGEST_EXPONENT = 2**32
"""Bits and size of what an RSA key may have: to check a signature takes longer with each."""
MAX_TOKEN = 16_384
"""Characters of a token."""


def is_signed_token(key: str) -> bool:
    """Tell whether a key has the form of a signed token: three parts with dots between them."""
    return key.count(".") == 2 and len(key) <= MAX_TOKEN


class Issuer:
    """One issuer, and its public keys."""

    def __init__(self, spec: OidcSpec, known_roles: Sequence[str], http: httpx.AsyncClient) -> None:
        self.spec = spec
        self._roles = known_roles
        self._http = http
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._lock = asyncio.Lock()

    async def vouch(self, token: str) -> ExternalIdentity:
        """Find out whose token it is. Raises UnknownKey where it does not hold, NotAllowed where it names no role of
        ours, GraphUnavailable where the issuer's keys cannot be had."""
        spec = self.spec
        try:
            key = await self._find_key(jwt.get_unverified_header(token).get("kid"))
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
            raise UnknownKey(f"The token of {spec.issuer} does not hold: {describe_error(error)}.") from None
        subject = clean_text(claims["sub"])
        if not subject.strip():
            raise UnknownKey(f"The token of {spec.issuer} does not hold: its `sub` is no text that names anybody.")
        # Only `true` is believed (OpenID Connect Core 5.1 makes it a boolean); issuers that say nothing vouch for it.
        email = clean_text(claims.get("email")) if claims.get("email_verified", True) is True else ""
        name = clean_text(claims.get("name")) or clean_text(claims.get("preferred_username")) or email or subject
        role = find_role(claims, spec.role_from, spec.roles, self._roles, spec.default)
        return ExternalIdentity(user=name, email=email, role=role, key="oidc", owner=f"oidc:{spec.issuer}:{subject}")

    async def _find_key(self, name: object) -> jwt.PyJWK:
        keys = await self._load_keys(KEYS_LIFETIME)
        if not isinstance(name, str) and len(keys) == 1:
            return next(iter(keys.values()))
        if name not in keys:  # issuers change their keys: ask again, but not for every token that is made up
            keys = await self._load_keys(RETRY)
        found = keys.get(name) if isinstance(name, str) else None
        if found is None:
            raise jwt.InvalidKeyError("it is signed with a key that the issuer does not publish")
        return found

    async def _load_keys(self, seconds: float) -> Mapping[str, jwt.PyJWK]:
        if time.monotonic() - self._fetched_at < (seconds if self._keys else RETRY):
            return self._require_keys()
        async with self._lock:
            if time.monotonic() - self._fetched_at >= (seconds if self._keys else RETRY):
                self._fetched_at = time.monotonic()
                self._keys = await self._fetch_keys() or self._keys
        return self._require_keys()

    def _require_keys(self) -> Mapping[str, jwt.PyJWK]:
        if not self._keys:
            raise GraphUnavailable(f"The keys of {self.spec.issuer} cannot be had now, so no token can be checked.")
        return self._keys

    async def _fetch_keys(self) -> Mapping[str, jwt.PyJWK]:
        """Fetch the published keys by name; empty where they cannot be had."""
        try:
            url = self.spec.jwks_url or await self._discover_jwks_url()
            published = (await self._get(url)).get("keys")
        except (httpx.HTTPError, httpx.InvalidURL, UnfitAnswer, TimeoutError):
            return {}
        found: dict[str, jwt.PyJWK] = {}
        for data in cast("list[object]", published)[:MOST_KEYS] if isinstance(published, list) else ():
            key = read_key(data)
            if key is not None:
                found.setdefault(key.key_id or "", key)
        return found

    async def _discover_jwks_url(self) -> str:
        found = await self._get(f"{self.spec.issuer.rstrip('/')}/.well-known/openid-configuration")
        url = found.get("jwks_uri")
        if found.get("issuer") != self.spec.issuer or not isinstance(url, str):
            raise UnfitAnswer("the issuer calls itself otherwise")
        if not url.startswith("https://") and not self.spec.issuer.startswith("http://"):
            raise UnfitAnswer("its keys would come over a connection that anybody may change")
        return url

    async def _get(self, url: str) -> Mapping[str, Any]:
        status, found = await ask(self._http, url)
        if found is None:
            raise UnfitAnswer(f"the issuer answers {status}")
        return found


def read_key(data: object) -> jwt.PyJWK | None:
    """Read one published key; None for one that is of no use, or would take long to check a signature with."""
    if not isinstance(data, dict):
        return None
    fields = cast("dict[str, Any]", data)
    if not isinstance(fields.get("kid", ""), str) or any(
        len(str(fields.get(name, ""))) > LARGEST_MODULUS // 4 for name in ("n", "e", "x", "y", "kid")
    ):
        return None
    try:
        key = jwt.PyJWK.from_dict(fields)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if key.public_key_use not in (None, "sig") or key.algorithm_name not in ALGORITHMS:
        return None
    if isinstance(key.key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return None
    if isinstance(key.key, rsa.RSAPublicKey):
        numbers = key.key.public_numbers()
        if not 2_048 <= numbers.n.bit_length() <= LARGEST_MODULUS or numbers.e >= LARGEST_EXPONENT:
            return None
    return key


def read_unverified_issuer(token: str) -> str | None:
    """Read who the token says has made it: to find the keys to check it with, and for nothing else."""
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return None
    issuer = claims.get("iss")
    return issuer if isinstance(issuer, str) else None


def describe_error(error: jwt.PyJWTError) -> str:
    """Say what is wrong, without anything of the token in it."""
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
