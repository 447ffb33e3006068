"""The person behind a key that many share: Open WebUI names whom it asks for in headers, and may sign them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import jwt

from server.auth.keys import UnknownKey
from server.auth.role_mapping import LONGEST, clean_text

JWT_HEADER = "x-openwebui-user-jwt"
ISSUER = "open-webui"
LEEWAY = 30
"""Seconds that the clocks of two machines may differ."""


@dataclass(frozen=True, kw_only=True)
class ForwardedUser:
    """The person who asks. `id` is set only where a signature vouches for it."""

    id: str | None
    name: str
    email: str
    role: str


def read_forwarded_user(headers: Mapping[str, str], secret: str) -> ForwardedUser | None:
    """Read the person that the headers name; None where they name nobody.

    With a secret, only the signed header counts (HS256, issuer `open-webui`, not expired; RFC 7519): plain ones can be
    written by anybody who has the key. Raises UnknownKey for a signed header that is missing or does not hold.
    """
    if not secret:
        name = unquote(headers.get("x-openwebui-user-name", ""))
        email = headers.get("x-openwebui-user-email", "")
        if not (name or email):
            return None
        if max(len(name), len(email)) > LONGEST:
            raise UnknownKey(f"The headers that say for whom this key asks hold more than {LONGEST:,} characters.")
        return ForwardedUser(id=None, name=name or email, email=email, role=headers.get("x-openwebui-user-role", ""))
    token = headers.get(JWT_HEADER)
    if not token:
        # Open WebUI falls back to unsigned headers when signing fails; nobody may get more rights by that.
        raise UnknownKey(
            "This key speaks for many people, and the signed header that says for whom is missing. Set "
            "ENABLE_FORWARD_USER_INFO_HEADERS=True and FORWARD_USER_INFO_HEADER_JWT_SECRET in Open WebUI."
        )
    try:
        claims = jwt.decode(
            token,
            secret,
            algorithms=["HS256"],
            issuer=ISSUER,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "sub"], "verify_aud": False},
        )
    except jwt.PyJWTError as error:
        raise UnknownKey(
            f"The signed user header does not hold ({type(error).__name__}). Do Open WebUI's "
            "FORWARD_USER_INFO_HEADER_JWT_SECRET and Interlock's INTERLOCK_FORWARDED_JWT_SECRET say the same?"
        ) from None
    subject, email, role = (clean_text(claims.get(name)) for name in ("sub", "email", "role"))
    if not subject.strip():
        raise UnknownKey("The signed user header does not hold: its `sub` is no text that names anybody.")
    return ForwardedUser(id=subject, name=clean_text(claims.get("name")) or email or subject, email=email, role=role)
