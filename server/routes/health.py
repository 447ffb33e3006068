"""`GET /health`: whether the process lives. `GET /ready`: what of it works."""

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
    """Answer, which shows that the process lives."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(request: Request, facade: FacadeDep) -> Response:
    """Answer with the state of graphs and servers (docs/ARCHITECTURE.md, "Readiness"); 503 only when nothing can run.

    Names of tools and the reasons of failures are for key holders, unless gateway.yaml says `ready: public`.
    """
    state: dict[str, Any] = await facade.engine.check_readiness()
    shown = state if await may_see_details(request, facade) else {name: state[name] for name in ("status", "snapshot")}
    return JSON(shown, status_code=503 if state["status"] == "failed" else 200)


async def may_see_details(request: Request, facade: Facade) -> bool:
    """Tell whether this request shows a valid key, or none is needed. A wrong key is no error: a probe wants the
    status."""
    if facade.revision.snapshot.gateway.ready == "public":
        return True
    try:
        # A key that speaks for many people is valid without a person too.
        if not facade.identities.is_own_key(request.headers):
            await identify_caller(request, facade)
    except (InterlockError, UnknownKey, AddressLocked):
        return False
    return True
