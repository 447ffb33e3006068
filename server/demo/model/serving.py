"""Serving the demo model: inside another program's event loop, or as a program of its own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from graphs.errors import InterlockError
from server.demo.model.endpoint import DEFAULT_DELAY, create_demo_model

DELAY = "INTERLOCK_DEMO_DELAY"


class GuestServer(uvicorn.Server):
    """A uvicorn server that leaves the signals to the program it runs in."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def serve_demo_model(port: int = 0, delay: float | None = None) -> AsyncGenerator[str]:
    """Serve the demo model on 127.0.0.1 while the block runs; gives its base URL, which ends in /v1.

    `port` 0 takes a free one. `delay` is in seconds, by default `$INTERLOCK_DEMO_DELAY` milliseconds. Raises OSError
    when the port is taken, InterlockError when the variable is no number.
    """
    app = create_demo_model(read_demo_delay(os.environ) if delay is None else delay)
    with socket.create_server(("127.0.0.1", port)) as listener:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        server = GuestServer(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            # The socket listens already: who connects before the server is up waits a moment and is answered.
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            await serving


def read_demo_delay(environ: Mapping[str, str]) -> float:
    """Read the seconds between two chunks from `$INTERLOCK_DEMO_DELAY`, which is in milliseconds. Raises
    InterlockError."""
    text = environ.get(DELAY)
    if not text:
        return DEFAULT_DELAY
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = -1.0
    if not 0 <= milliseconds <= 10_000:
        raise InterlockError(f"{DELAY} is {text!r}; give milliseconds between two words, 0 to 10000, such as 15.")
    return milliseconds / 1000


async def run_demo_model(port: int) -> None:
    """Serve until the process is told to stop, and print the URL. Raises what `serve_demo_model` raises."""
    async with serve_demo_model(port) as url:
        print(f"url {url}", flush=True)
        await asyncio.Event().wait()
