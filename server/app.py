"""Build the facade: settings, config, engine, identities and routes joined into one application."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from graphs.config.environment import SecretUnreadable, build_environment
from graphs.config.loader import Snapshot, load
from graphs.diagnostics.coverage import describe_server
from graphs.errors import ConfigError, InterlockError, Problem
from graphs.runtime.engine import open_engine
from server.auth.failed_keys import AddressLocked
from server.auth.http_client import build_client
from server.auth.identity import Identities
from server.auth.keys import UnknownKey, load_keys
from server.demo.model.serving import serve_demo_model
from server.observability.request_log import ObservedFastAPI
from server.observability.tracing_export import open_tracing
from server.protocols.errors import BadRequest, build_http_error
from server.protocols.http.connections import ConnectionTable
from server.protocols.json import JSON
from server.protocols.openwebui import APPROVALS
from server.routes import (
    approvals,
    chat,
    console,
    console_audit,
    console_servers,
    console_trial,
    console_turns,
    docs,
    health,
    metrics,
    models,
    pass_through,
    questions,
)
from server.routes.cross_origin import CrossOrigin
from server.routes.dependencies import LifespanState
from server.settings import Settings

log = logging.getLogger(__name__)


def create_app(settings: Settings | None = None, *, ready: Callable[[], None] | None = None) -> FastAPI:
    """Build the facade. When it starts, it reads the config folder, and raises ConfigError with every problem.

    `ready` is called once, when everything is there that the first request needs.
    """
    chosen = settings or Settings()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[LifespanState]:
        env = build_environment(os.environ, chosen.data)
        snapshot = load(chosen.configs, env)
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(build_client())
            identities = IdentityLoader(env, chosen.data, chosen.forwarded_jwt_secret.get_secret_value(), http)
            tracing = await stack.enter_async_context(open_tracing(os.environ))
            opening = open_engine(
                snapshot,
                storage=chosen.storage,
                data=chosen.data,
                demo=DemoModel(stack).get_url,
                attach=identities.build_identities,
                reload_with=env,
                tracing=tracing,
                describe_server=describe_server,
            )
            try:
                engine = await stack.enter_async_context(opening)
            except InterlockError as error:
                # uvicorn says only that something failed.
                log.critical("%s", error)
                raise
            connections = ConnectionTable(
                lambda: engine.current_revision.snapshot.gateway.http, engine.metrics, chosen.max_body
            )
            await stack.enter_async_context(connections.watch())
            if ready is not None:
                ready()
            yield {"settings": chosen, "engine": engine, "connections": connections}

    app = ObservedFastAPI(
        title="Interlock",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # clients lose their key, or their body, on the way
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},  # we have our own
    )
    app.add_middleware(CrossOrigin)
    app.router.routes[:0] = [chat.ROUTE, console.ROOT, *pass_through.PASSED_ROUTES]
    for router in (
        health.router,
        metrics.router,
        models.router,
        approvals.router,
        questions.router,
        console.router,
        console_audit.router,
        console_servers.router,
        console_turns.router,
        console_trial.router,
    ):
        app.include_router(router)
    app.include_router(console.build_page_router())
    app.include_router(docs.build_docs_router())
    for kind in (InterlockError, UnknownKey, AddressLocked):
        app.add_exception_handler(kind, answer_error)
    app.add_exception_handler(HTTPException, answer_not_found)
    app.add_exception_handler(RequestValidationError, answer_invalid_parameters)
    app.add_exception_handler(Exception, answer_error)
    return app


class DemoModel:
    """Starts the demo model when a gateway file first names no other."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._url: str | None = None

    async def get_url(self) -> str:
        """Return the demo model's base URL, starting it the first time."""
        if self._url is None:
            self._url = await self._stack.enter_async_context(serve_demo_model())
        return self._url


class IdentityLoader:
    """Builds the identities of each snapshot."""

    def __init__(self, env: Mapping[str, str], data: Path, forwarded_secret: str, http: httpx.AsyncClient) -> None:
        self._env = env
        self._data = data
        self._secret = forwarded_secret
        self._http = http
        self._configured = False

    def build_identities(self, snapshot: Snapshot) -> Identities:
        """Build the identities of a snapshot. Raises ConfigError where a reload would put generated keys in the place
        of real ones: the address may be one that others reach."""
        keys = load_keys(snapshot, self._env, self._data, generate=not self._configured)
        self._configured = not keys.generated
        for name in keys.unset_names:
            log.warning("access.yaml: the key %r is off: its variable is not set", name)
        return Identities(snapshot, keys.keyring, self._read_forwarded_secret(), self._http)

    def _read_forwarded_secret(self) -> str:
        """Read the secret as it is now, since its file may have been replaced. Raises ConfigError where it cannot be
        read."""
        try:
            return self._env.get("INTERLOCK_FORWARDED_JWT_SECRET") or self._secret
        except SecretUnreadable as error:
            raise ConfigError([Problem("access.yaml", 0, 0, str(error))]) from None


async def answer_error(_: Request, error: Exception) -> Response:
    """Answer any error with OpenAI's error body."""
    answer = build_http_error(error)
    headers: dict[str, str] = {}
    if answer.retry_after is not None:
        headers["retry-after"] = answer.retry_after
    if answer.approvals:
        headers[APPROVALS] = ",".join(answer.approvals)
    if answer.approvals or answer.questions:
        headers["x-should-retry"] = "false"  # OpenAI's libraries would ask again, although nobody has decided
    if answer.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSON(answer.build_body(), status_code=answer.status, headers=headers)


async def answer_not_found(request: Request, error: Exception) -> Response:
    """Answer Starlette's own refusals (no such path, wrong method) with OpenAI's error body, and OPTIONS with what a
    path takes."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    allowed = dict((error.headers if isinstance(error, HTTPException) else None) or {})
    if request.method == "OPTIONS" and status == 405:
        return Response(status_code=204, headers=allowed)
    words = f"There is no {request.method} {request.url.path} here."
    answer = await answer_error(request, BadRequest(words, status=status))
    answer.headers.update(allowed)
    return answer


async def answer_invalid_parameters(request: Request, error: Exception) -> Response:
    """Answer path or query parameters that do not fit."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": "not readable"}
    field = ".".join(str(step) for step in first["loc"][1:]) or None
    return await answer_error(request, BadRequest(f"{field or 'request'}: {first['msg']}", param=field))
