"""`GET /v1/models`: the graphs, and LiteLLM's models that run through the default graph."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from graphs.runtime.revision import ModelListEntry
from server.routes.dependencies import FacadeDep, IdentityDep

router = APIRouter(prefix="/v1")

CHAT = "chat"
ALL = "all"
INJECTED = (
    "time",
    "knowledge",
    "chats",
    "memory",
    "notes",
    "skills",
    "tasks",
    "automations",
    "calendar",
    "channels",
    "files",
    "web_search",
    "image_generation",
    "code_interpreter",
    "subagents",
    "notifications",
)
"""Open WebUI's categories of tools of its own, which it would put into every request (25 kB) and which are not ours."""
WEBUI_META: dict[str, Any] = {
    "capabilities": {"usage": True, "builtin_tools": True},
    "builtinTools": {**dict.fromkeys(INJECTED, False), "user_input": True},
}
"""What Open WebUI takes over for a model that it keeps no record of: only `ask_user` stays, and usage is asked for."""


def format_model(entry: ModelListEntry) -> dict[str, Any]:
    """Format one model as OpenAI does; `name` and `description` are for chat pages."""
    return {
        "id": entry.id,
        "object": "model",
        "created": 0,
        "owned_by": "interlock" if entry.is_graph else "litellm",
        "name": entry.id,
        "description": entry.description,
        "info": {"meta": {**WEBUI_META, "description": entry.description}},
    }


@router.get("/models")
async def list_models(facade: FacadeDep, identity: IdentityDep, mode: str = CHAT) -> dict[str, Any]:
    """List what this key may chat with; with `mode`, LiteLLM's models of that mode, such as `embedding`, or `all`."""
    revision, caller = facade.revision, identity.caller
    if mode == CHAT:
        entries = await revision.list_models(caller)
    else:
        entries = await revision.list_models_of(None if mode == ALL else mode, caller)
    return {"object": "list", "data": [format_model(entry) for entry in entries]}


@router.get("/models/{name:path}")
async def get_model(name: str, facade: FacadeDep, identity: IdentityDep) -> dict[str, Any]:
    """Find one model. Raises UnknownModel, also for what this key may not use."""
    return format_model(await facade.revision.find_model(name, identity.caller))
