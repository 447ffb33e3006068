"""The one place where a request becomes a caller: by a key of access.yaml or of LiteLLM, or by an issuer's token."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

import httpx

from graphs.config.loader import Snapshot
from graphs.policy.rules import Caller
from server.auth.forwarded_user import read_forwarded_user
from server.auth.keys import Holder, Keyring, read_key
from server.auth.litellm_keys import LiteLLMKeys
from server.auth.oidc import Issuer, is_signed_token, read_unverified_issuer
from server.auth.role_mapping import ExternalIdentity


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The caller of a request, and whose conversations it may continue."""

    caller: Caller
    owner: str
    remembers: bool
    """False where many people share the key and nobody vouches for who asks."""
    litellm_knows: bool = True
    """Whether the key that was shown may be a key of LiteLLM's too; an issuer's token never is."""
    forwards_users: bool = False
    """Whether the key belongs to a chat page that asks for its people."""


class Identities:
    """Everybody whom one snapshot lets in."""

    def __init__(self, snapshot: Snapshot, keyring: Keyring, forwarded_secret: str, http: httpx.AsyncClient) -> None:
        self._keyring = keyring
        self._secret = forwarded_secret
        self._roles = snapshot.policy.roles
        spec = snapshot.identities
        base_url = snapshot.gateway.models.base_url
        self._issuers = {issuer.issuer: Issuer(issuer, self._roles, http) for issuer in spec.oidc}
        self._litellm = (
            LiteLLMKeys(spec.litellm, base_url, self._roles, http) if spec.litellm is not None and base_url else None
        )

    async def identify(
        self, headers: Mapping[str, str], lookup: AbstractAsyncContextManager[None] | None = None
    ) -> Identity:
        """Identify the caller of a request. `lookup` is entered around a question to LiteLLM or an issuer.

        Raises UnknownKey, NotAllowed where the caller has no role here, GraphUnavailable where whoever vouches for it
        does not answer.
        """
        key = read_key(headers)
        holder = self._keyring.find_holder(key)
        if holder is not None:
            return self._identify_holder(holder, headers)
        if not self._issuers and self._litellm is None:
            raise self._keyring.build_unknown_key()
        async with lookup or nullcontext():
            return await self._ask_external(key)

    def is_own_key(self, headers: Mapping[str, str]) -> bool:
        """Tell whether the request shows a key of access.yaml, whoever it asks for. Raises UnknownKey if it shows
        none."""
        return self._keyring.find_holder(read_key(headers)) is not None

    async def _ask_external(self, key: str) -> Identity:
        if self._issuers and is_signed_token(key) and (issuer := self._issuers.get(read_unverified_issuer(key) or "")):
            return build_identity(await issuer.vouch(key), litellm_knows=False)
        if self._litellm is not None and self._litellm.may_be_key(key):
            return build_identity(await self._litellm.vouch(key), litellm_knows=True)
        raise self._keyring.build_unknown_key()

    def _identify_holder(self, holder: Holder, headers: Mapping[str, str]) -> Identity:
        who = read_forwarded_user(headers, self._secret) if holder.forwards_users else None
        if who is None:
            caller = Caller(user=holder.name, role=holder.role, key=holder.name)
            return Identity(
                caller=caller,
                owner=f"key:{holder.name}",
                remembers=not holder.forwards_users,
                forwards_users=holder.forwards_users,
            )
        caller = Caller(
            user=who.name,
            email=who.email,
            role=holder.role,
            key=holder.name,
            narrowed_by=who.role if who.role in self._roles else None,
        )
        # Without a signature nobody vouches for the person, but two who call themselves differently are two.
        claimed = who.email or who.name
        owner = f"claimed:{holder.name}:{claimed}" if who.id is None else f"user:{holder.name}:{who.id}"
        return Identity(caller=caller, owner=owner, remembers=who.id is not None, forwards_users=True)


def build_identity(who: ExternalIdentity, *, litellm_knows: bool) -> Identity:
    """Build the identity of a caller for whom LiteLLM or an issuer vouches."""
    caller = Caller(user=who.user, email=who.email, role=who.role, key=who.key)
    return Identity(caller=caller, owner=who.owner, remembers=True, litellm_knows=litellm_knows)
