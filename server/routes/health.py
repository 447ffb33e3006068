"""`GET /health` says that the process lives, `GET /ready` what of it works."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from server.parts import FacadeDep
from server.wire.json import JSON

router = APIRouter()


@router.get("/health")
async def health() -> dict[str, str]:
    """Alive."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(parts: FacadeDep) -> Response:
    """The state of graphs and servers; 503 only when nothing can run."""
    state: dict[str, Any] = await parts.library.readiness()
    return JSON(state, status_code=503 if state["status"] == "failed" else 200)
