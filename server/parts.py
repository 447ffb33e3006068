"""What routes ask for: the library, the keys and the caller of this request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypedDict, cast

from fastapi import Depends, Request

from graphs.library import Edition, Library
from server.identity import Identities, Identity
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
    def identities(self) -> Identities:
        """All who are known to the edition."""
        return cast(Identities, self.edition.attached)


class LifespanState(TypedDict):
    """What Starlette puts on every request's state."""

    settings: Settings
    library: Library


async def facade(request: Request) -> Facade:
    """The parts of this request. (FastAPI sends plain functions to a thread; these are `async` to stay here.)"""
    library = cast(Library, request.state.library)
    return Facade(settings=cast(Settings, request.state.settings), library=library, edition=library.current)


FacadeDep = Annotated[Facade, Depends(facade)]


async def identity(request: Request, parts: FacadeDep) -> Identity:
    """Who is behind this request. Raises what `Identities.identify` raises."""
    found = await parts.identities.identify(request.headers)
    noted().key = found.caller.key
    return found


IdentityDep = Annotated[Identity, Depends(identity)]


async def read_bytes(request: Request, largest: int) -> bytes:
    """The body, if it is no larger than `largest` bytes. Raises BadRequest (413)."""
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > largest:
            raise BadRequest(f"The body is larger than {largest} bytes.", status=413)
    return bytes(raw)
