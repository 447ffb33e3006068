"""`identities` of `access.yaml`: people and programs that others vouch for, and the roles they get."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from graphs.config.spec.base import Duration, Spec


class LiteLLMKeysSpec(Spec):
    """LiteLLM's virtual keys: whoever shows one is asked about at LiteLLM's /key/info, with that key itself."""

    prefix: str = "sk-"
    """What such a key begins with, as LiteLLM wants it; any other is not sent there. Empty: any."""

    role_from: Annotated[str, Field(min_length=1)] = "metadata.interlock_role"
    """Which field of LiteLLM's answer names the role; dots lead into it, as in team_id or metadata.role."""
    roles: dict[str, str] = {}
    """What stands in that field → the role here: the whole list. Absent: the field names a role itself."""
    default: str | None = None
    """The role of a key whose field names none. Absent: such a key is refused."""
    cache: Duration = 30.0
    """How long LiteLLM's answer is used before it is asked again."""


class OidcSpec(Spec):
    """An OpenID Connect issuer whose signed tokens (RFC 7519) are taken as keys."""

    issuer: Annotated[str, Field(min_length=1)]
    """The issuer exactly as its tokens say it (`iss`)."""
    audience: Annotated[str, Field(min_length=1)]
    """What its tokens must be for (`aud`): a token made for another program is refused."""
    jwks_url: str = ""
    """Where its public keys are. Empty: asked of the issuer's /.well-known/openid-configuration."""
    role_from: Annotated[str, Field(min_length=1)] = "roles"
    """Which claim names the role, or several; dots lead into it, as in realm_access.roles."""
    roles: dict[str, str] = {}
    """What stands in that claim → the role here: the whole list; of several, its first line that is there counts.
    Absent: the claim names roles themselves."""
    default: str | None = None
    """The role of a token whose claim names none. Absent: such a token is refused."""
    leeway: Duration = 30.0
    """How far the clocks of two machines may differ."""

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("an address begins with https:// (or http:// on a network of your own)")
        return value


class IdentitiesSpec(Spec):
    """Who else vouches for callers, beside `keys`."""

    litellm: LiteLLMKeysSpec | None = None
    """LiteLLM's virtual keys."""
    oidc: list[OidcSpec] = []
    """Issuers of signed tokens."""
