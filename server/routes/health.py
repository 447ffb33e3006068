"""`GET /health` says that the process lives, `GET /ready` what of it works."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from graphs.errors import InterlockError
from server.auth.failed_keys import AddressLocked
from server.auth.keys import UnknownKey
from server.protocols.json import JSON
from server.routes.dependencies import Facade, FacadeDep, identify_caller

router = APIRouter()


@router.get("/health")
async def health() -> dict[str, str]:
    """Alive."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(request: Request, parts: FacadeDep) -> Response:
    """The state of graphs and servers (DESIGN §1, READY); 503 only when nothing can run.

    Names of tools and the reasons of failures are for key holders, unless gateway.yaml says `ready: public`.
    """
    state: dict[str, Any] = await parts.engine.check_readiness()
    shown = state if await may_see_details(request, parts) else {name: state[name] for name in ("status", "snapshot")}
    return JSON(shown, status_code=503 if state["status"] == "failed" else 200)


async def may_see_details(request: Request, parts: Facade) -> bool:
    """Whether this request shows a valid key, or none is needed. A wrong key is no error: a probe wants the status."""
    if parts.revision.snapshot.gateway.ready == "public":
        return True
    if "authorization" not in request.headers:
        return False
    try:
        # A key that speaks for many people is valid without a person too.
        if not parts.identities.is_own_key(request.headers):
            await identify_caller(request, parts)
    except (InterlockError, UnknownKey, AddressLocked):
        return False
    return True
