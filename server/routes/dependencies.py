"""Dependencies of routes: the engine, its current revision, and the caller of this request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypedDict, cast

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from graphs.runtime.engine import Engine
from graphs.runtime.revision import Revision
from server.auth.addresses import UNKNOWN, find_group
from server.auth.failed_keys import AddressLocked
from server.auth.identity import Identities, Identity
from server.auth.keys import UnknownKey
from server.observability.request_log import get_request_note
from server.protocols.errors import BadRequest
from server.protocols.http.connections import EXTENSION, ClientConnection, ConnectionTable
from server.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Facade:
    """Everything a route may need."""

    settings: Settings
    engine: Engine[Identities]
    revision: Revision[Identities]
    """The one that is current when the request comes: its keys, rules and graphs belong together."""

    @property
    def identities(self) -> Identities:
        """Everybody whom the revision lets in."""
        return self.revision.attachment


class LifespanState(TypedDict):
    """The state that Starlette puts on every request."""

    connections: ConnectionTable
    settings: Settings
    engine: Engine[Identities]


async def build_facade(request: Request) -> Facade:
    """Build the facade of this request. (FastAPI sends plain functions to a thread; these are `async` to stay here.)"""
    engine = cast("Engine[Identities]", request.state.engine)
    return Facade(settings=cast(Settings, request.state.settings), engine=engine, revision=engine.current_revision)


FacadeDep = Annotated[Facade, Depends(build_facade)]


async def identify_caller(request: Request, facade: FacadeDep) -> Identity:
    """Identify the caller of this request. Raises what `Identities.identify` raises, and AddressLocked."""
    table = cast(ConnectionTable, request.state.connections)
    connection = cast("Mapping[str, ClientConnection]", request.scope.get("extensions", {})).get(EXTENSION)
    address = find_address(request, connection)
    try:
        try:
            found = await facade.identities.identify(request.headers, table.failed_keys.guard_lookup(address))
        except UnknownKey:
            table.failed_keys.note_failure(address)
            raise
    except AddressLocked:
        get_request_note().is_quiet = True
        table.note_refusal(address, "failed_keys")
        raise
    table.failed_keys.note_valid(address)
    if connection is not None:
        table.note_valid_key(connection)
    get_request_note().key = found.caller.key
    if (server := request.scope.get("server")) is not None and server[1] is not None:
        facade.engine.own_address.note_port(server[1])
    return found


def find_address(request: Request, connection: ClientConnection | None) -> str:
    """Find whose keys are counted together: the other end's, or the client's for whom a trusted proxy asks."""
    if connection is not None and connection.address is not None:
        return connection.address
    return find_group(request.client.host if request.client else UNKNOWN)


IdentityDep = Annotated[Identity, Depends(identify_caller)]


async def read_bytes(request: Request, largest: int) -> bytes:
    """Read the body, if it is no larger than `largest` bytes. Raises BadRequest (413)."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > largest:
        raise BadRequest(f"The body is larger than {largest} bytes.", status=413)
    raw = bytearray()
    try:
        async for part in request.stream():
            raw += part
            if len(raw) > largest:
                raise BadRequest(f"The body is larger than {largest} bytes.", status=413)
    except ClientDisconnect:
        raise BadRequest("The client left before its request was whole.", status=499) from None
    return bytes(raw)
