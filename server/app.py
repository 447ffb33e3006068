"""The one place where the parts are joined."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from graphs.errors import InterlockError
from graphs.library import load, opened, settled_environment
from server.demo.model.serving import serve_demo_model
from server.identity import UnknownKey, load_keys
from server.parts import Facade, LifespanState
from server.routes import approvals, chat, health, models
from server.settings import Settings
from server.wire.errors import BadRequest, refusal
from server.wire.json import JSON

log = logging.getLogger(__name__)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The facade. Reads the config folder when it starts; raises ConfigError then, with every problem."""
    chosen = settings or Settings()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[LifespanState]:
        env = settled_environment(os.environ, chosen.data)
        snapshot = load(chosen.configs, env)
        keys = load_keys(snapshot, env, chosen.data)
        for name in keys.off:
            log.warning("access.yaml: the key %r is off: its variable is not set", name)
        async with AsyncExitStack() as stack:
            model_url = None
            if not snapshot.gateway.models.base_url:
                model_url = await stack.enter_async_context(serve_demo_model())
            library = await stack.enter_async_context(
                opened(snapshot, storage=chosen.storage, data=chosen.data, model_url=model_url)
            )
            yield {"facade": Facade(settings=chosen, library=library, keyring=keys.ring)}

    app = FastAPI(title="Interlock", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    for router in (health.router, models.router, chat.router, approvals.router):
        app.include_router(router)
    for kind in (InterlockError, UnknownKey):
        app.add_exception_handler(kind, told)
    app.add_exception_handler(HTTPException, not_found)
    app.add_exception_handler(RequestValidationError, unreadable)
    app.add_exception_handler(Exception, told)
    return app


async def told(_: Request, error: Exception) -> Response:
    """Any error as OpenAI's error body."""
    answer = refusal(error)
    headers: dict[str, str] = {}
    if answer.retry_after is not None:
        headers["retry-after"] = answer.retry_after
    if answer.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSON(answer.body(), status_code=answer.status, headers=headers)


async def not_found(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (no such path, wrong method) in OpenAI's error body."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = f"There is no {request.method} {request.url.path} here."
    return await told(request, BadRequest(words, status=status))


async def unreadable(request: Request, error: Exception) -> Response:
    """Path or query parameters that do not fit."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": "not readable"}
    field = ".".join(str(step) for step in first["loc"][1:]) or None
    return await told(request, BadRequest(f"{field or 'request'}: {first['msg']}", param=field))
