"""What routes ask for: the library, the keys and the caller of this request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypedDict, cast

from fastapi import Depends, Request

from graphs.library import Library
from server.identity import Holder, Keyring
from server.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Facade:
    """Everything a route may need; made once, in `create_app`'s lifespan."""

    settings: Settings
    library: Library
    keyring: Keyring


class LifespanState(TypedDict):
    """What Starlette puts on every request's state."""

    facade: Facade


def facade(request: Request) -> Facade:
    """The parts of this process."""
    return cast(Facade, request.state.facade)


FacadeDep = Annotated[Facade, Depends(facade)]


def holder(request: Request, parts: FacadeDep) -> Holder:
    """The holder of the request's key. Raises UnknownKey."""
    return parts.keyring.holder(request.headers.get("authorization"))


HolderDep = Annotated[Holder, Depends(holder)]
