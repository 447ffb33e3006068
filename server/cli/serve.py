"""`interlock serve`: checks everything that can be checked before the port opens, then serves."""

from __future__ import annotations

import asyncio
import gc
import json
import logging as standard_logging
import os
import shlex
import socket
import threading
from contextlib import suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from graphs.config.environment import build_environment
from graphs.config.loader import Snapshot, load
from graphs.diagnostics.doctor import examine_models
from graphs.errors import describe_missing_folder
from graphs.telemetry.multiprocess import share_metrics
from server.app import create_app
from server.auth.keys import Keys, load_keys
from server.cli.local_address import format_address, is_loopback, wait_for_answer
from server.cli.local_server import DEFAULT_MODEL, note_local_server
from server.cli.own_command import describe_own_command
from server.cli.supervisor import Supervisor
from server.observability import logging
from server.settings import Settings

log = standard_logging.getLogger(__name__)

SEND_BUFFER = 256 * 1024
"""Bytes of an answer that the system holds for a client that has not read them; Linux doubles it (socket(7))."""


class CannotServe(Exception):
    """The start is refused; the text says why to the person at the terminal."""


def serve_forever(settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError or CannotServe before anything is listened to."""
    logging.set_up(settings.log)
    make_default_folder(settings)
    env = build_environment(os.environ, settings.data)
    snapshot = load(settings.configs, env)
    keys = load_keys(snapshot, env, settings.data)
    if keys.generated and not is_loopback(host):
        raise CannotServe(
            f"{host} can be reached by others, and no key is configured. Set the variables that access.yaml names "
            f"({', '.join(spec.env for spec in snapshot.keys if spec.env)}), or serve on 127.0.0.1."
        )
    listener = bind_listener(host, port, settings.send_timeout)
    address = format_address(host, listener.getsockname()[1])
    hand_to_workers(settings)
    config = uvicorn.Config(
        "server.cli.entry:facade",
        factory=True,
        workers=workers,
        log_config=None,
        log_level="warning",
        access_log=False,  # ours says more: server/observability/request_log.py
        http="server.protocols.http.protocol:LimitedHttpProtocol",
        ws="none",
        proxy_headers=False,  # the protocol believes those that gateway.yaml names
        timeout_graceful_shutdown=int(settings.grace),
        server_header=False,
        # A busy machine may take long to import everything: uvicorn's 5 s would end workers that are just starting.
        timeout_worker_healthcheck=60,
    )
    threading.Thread(target=announce, args=(address, settings, snapshot, keys), daemon=True).start()
    if workers > 1:
        with share_metrics(settings.data):
            Supervisor(config, sockets=[listener]).run()
        return
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    if not server.started:
        raise CannotServe("The start failed; the log above says why.")


def make_default_folder(settings: Settings) -> None:
    """Make an empty config folder where nobody named one and there is none: the shipped files stand in for all of its
    own, and what is saved there later is loaded.

    Raises CannotServe for one that was named: it is mistyped, or not mounted.
    """
    if settings.configs.is_dir():
        return
    if "configs" in settings.model_fields_set:
        raise CannotServe(describe_missing_folder(settings.configs))
    try:
        settings.configs.mkdir()
    except OSError as error:
        raise CannotServe(
            f"{settings.configs.absolute()}: no folder can be made there: {error.strerror}. Name one with --configs."
        ) from None


def freeze_heap() -> None:
    """Exempt from garbage collection what is there when the first request comes: it stays for long.

    Measured, a turn with a tool call pays 1.0 ms for collections without this, 0.1 ms with it. A reload leaves the
    cycles of the first snapshot behind, once: some megabytes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)


def create_logging_app() -> FastAPI:
    """Build the facade in a process of its own, which logs as the settings say: workers do not inherit that."""
    settings = Settings()
    logging.set_up(settings.log)
    return create_app(settings, ready=freeze_heap)


def bind_listener(host: str, port: int, send_timeout: float) -> socket.socket:
    """Bind the socket; a client that takes nothing for `send_timeout` seconds loses its connection. Raises CannotServe
    with the cure."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # A system lets a connection hold up to 4 MB that its client does not read, and that nobody counts.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Of every connection, also one whose whole answer was written: Linux alone counts what was not taken (tcp(7)).
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(send_timeout * 1000)))
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise CannotServe(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another with --port.") from None
    return listener


def hand_to_workers(settings: Settings) -> None:
    """Put the settings into the environment, where workers read theirs; secrets, perhaps in files, they find
    themselves."""
    for name, value in settings.model_dump(mode="json", exclude={"forwarded_jwt_secret", "storage"}).items():
        if value is not None:
            os.environ[f"INTERLOCK_{name.upper()}"] = str(value)
    os.environ["INTERLOCK_DATA"] = str(settings.data.resolve())


def announce(address: str, settings: Settings, snapshot: Snapshot, keys: Keys) -> None:
    """Print what is served, with which keys, once the server answers, and note it for `interlock chat`; then what is
    wrong with the models, which the first question would find out."""
    if wait_for_answer(f"{address}/health"):
        variables = [spec.env for spec in snapshot.keys if spec.env and spec.name not in keys.unset_names]
        with suppress(OSError):  # `interlock chat` then needs --url
            note_local_server(settings.data, f"{address}/v1", () if keys.generated else tuple(variables))
        print("\n".join(format_announcement(address, settings.configs, snapshot, keys)), flush=True)
        for finding in asyncio.run(examine_models(snapshot)):
            if not finding.sound:
                log.warning("%s: %s", finding.where, finding.message)


def format_announcement(address: str, folder: Path, snapshot: Snapshot, keys: Keys) -> list[str]:
    """Format the lines of the start: graphs, servers, files that the folder lacks, the keys that were made up for it,
    addresses, and what to try."""
    model, command = snapshot.gateway.models, describe_own_command()
    lines = [f"Interlock serves {len(snapshot.graphs)} graph{'s' if len(snapshot.graphs) != 1 else ''}:"]
    lines += [f"  {name}: {plan.spec.description}" for name, plan in snapshot.graphs.items()]
    lines.append(
        f"  models of {model.base_url}"
        if model.base_url
        else "  the built-in demo model (set LITELLM_BASE_URL for yours)"
    )
    lines.append(f"  MCP servers: {', '.join(snapshot.servers) or 'none'}")
    if snapshot.shipped_files:
        lines += [
            f"  shipped defaults for what {folder} does not have: {', '.join(snapshot.shipped_files)}",
            f"  (to have them there, and change them: {command} init {shlex.quote(str(folder))})",
        ]
    lines += [f"key {name} {key}" for name, key in keys.generated.items()]
    lines += [f"url {address}/v1", f"console {address}/console", f"docs {address}/docs"]
    lines.append(f"A chat page, Open WebUI:  {command} open-webui")
    key = next(iter(keys.generated.values()), "YOUR-KEY")
    graph = snapshot.gateway.default_graph
    model_option = "" if graph == DEFAULT_MODEL else f"--model {shlex.quote(graph)} "
    body = json.dumps({"model": graph, "messages": [{"role": "user", "content": QUESTION}]})
    lines += [
        "Try it:",
        f'  {command} chat {model_option}"list the files"',
        f"  curl -s {address}/v1/chat/completions -H 'Content-Type: application/json' \\",
        f"    -H 'Authorization: Bearer {key}' -d {shlex.quote(body)}",
    ]
    return lines


QUESTION = "list the files, then read welcome.md"
