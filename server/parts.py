"""What routes ask for: the library, the keys and the caller of this request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypedDict, cast

from fastapi import Depends, Request

from graphs.library import Caller, Edition, Library
from server.forwarded import person
from server.identity import Keyring
from server.requests import noted
from server.settings import Settings
from server.wire.errors import BadRequest


@dataclass(frozen=True, kw_only=True)
class Facade:
    """Everything a route may need."""

    settings: Settings
    library: Library
    edition: Edition
    """The one that is current when the request comes: its keys, rules and graphs belong together."""

    @property
    def keyring(self) -> Keyring:
        """The keys of the edition."""
        return cast(Keyring, self.edition.attached)


class LifespanState(TypedDict):
    """What Starlette puts on every request's state."""

    settings: Settings
    library: Library


async def facade(request: Request) -> Facade:
    """The parts of this request. (FastAPI sends plain functions to a thread; these are `async` to stay here.)"""
    library = cast(Library, request.state.library)
    return Facade(settings=cast(Settings, request.state.settings), library=library, edition=library.current)


FacadeDep = Annotated[Facade, Depends(facade)]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who asks, and whose conversations that opens."""

    caller: Caller
    owner: str
    remembers: bool
    """False where many people share the key and nobody vouches for who asks."""


async def identity(request: Request, parts: FacadeDep) -> Identity:
    """Who is behind this request. Raises UnknownKey."""
    holder = parts.keyring.holder(request.headers.get("authorization"))
    noted().key = holder.name
    secret = parts.settings.forwarded_jwt_secret.get_secret_value()
    who = person(request.headers, secret) if holder.forwards_users else None
    if who is None:
        caller = Caller(user=holder.name, role=holder.role, key=holder.name)
        return Identity(caller=caller, owner=f"key:{holder.name}", remembers=not holder.forwards_users)
    roles = parts.edition.snapshot.policy.roles
    caller = Caller(
        user=who.name,
        email=who.email,
        role=holder.role,
        key=holder.name,
        narrowed_by=who.role if who.role in roles else None,
    )
    # Without a signature nobody vouches for the person, but two who call themselves differently are two all the same.
    claimed = who.email or who.name
    owner = f"claimed:{holder.name}:{claimed}" if who.id is None else f"user:{holder.name}:{who.id}"
    return Identity(caller=caller, owner=owner, remembers=who.id is not None)


IdentityDep = Annotated[Identity, Depends(identity)]


async def read_bytes(request: Request, largest: int) -> bytes:
    """The body, if it is no larger than `largest` bytes. Raises BadRequest (413)."""
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > largest:
            raise BadRequest(f"The body is larger than {largest} bytes.", status=413)
    return bytes(raw)
