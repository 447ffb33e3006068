"""`GET /v1/models`: the graphs, and LiteLLM's models that run through the default graph."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from graphs.errors import UnknownModel
from graphs.library import Listed
from server.parts import FacadeDep, HolderDep

router = APIRouter(prefix="/v1")


def card(entry: Listed) -> dict[str, Any]:
    """One model in OpenAI's words; `name` and `description` are for chat pages."""
    return {
        "id": entry.id,
        "object": "model",
        "created": 0,
        "owned_by": "interlock" if entry.graph else "litellm",
        "name": entry.id,
        "description": entry.description,
    }


@router.get("/models")
async def models(parts: FacadeDep, holder: HolderDep) -> dict[str, Any]:
    """What this key may use."""
    return {"object": "list", "data": [card(entry) for entry in await parts.library.listing(holder.caller())]}


@router.get("/models/{name:path}")
async def model(name: str, parts: FacadeDep, holder: HolderDep) -> dict[str, Any]:
    """One of them. Raises UnknownModel, also for what this key may not use."""
    for entry in await parts.library.listing(holder.caller()):
        if entry.id == name:
            return card(entry)
    raise UnknownModel(f"There is no model {name!r}. GET /v1/models lists what there is.")
