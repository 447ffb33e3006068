"""The program Open WebUI: how it is found, the settings that connect it with one Interlock, its start and its end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from graphs.errors import InterlockError
from server.cli.chat.gateway_client import GatewayClient
from server.cli.chat.server_choice import Server
from server.cli.child_program import run_in_front
from server.cli.local_address import find_port, format_address, wait_for_answer

VERSION = "0.12.4"
"""The one that the tests and deploy/ use."""
PYTHONS = ">=3.11,<3.13"
"""What that version runs on."""
HOST = "127.0.0.1"
"""Everybody who signs in asks with the same key: for others there is deploy/."""
SIGNALLED = 128
"""Exit codes from here on: a person or the system ended it."""
SHOWN = 20
"""Lines of the log that are shown where it ended by itself."""
START_TIMEOUT = 600.0
"""Seconds that it gets to answer for the first time."""
HEADERS = {
    "X-OpenWebUI-Message-Id": "{{MESSAGE_ID}}",
    "X-OpenWebUI-User-Message-Parent-Id": "{{USER_MESSAGE_PARENT_ID}}",
    "X-OpenWebUI-Task": "{{TASK}}",
}
"""By which Interlock knows edited and regenerated answers, and what the page asks on its own account."""
DEFAULTS = {
    # What is said here counts, not the address and key of an earlier start.
    "ENABLE_PERSISTENT_CONFIG": "False",
    "ENABLE_OLLAMA_API": "False",
    # Nothing is downloaded at the start: files given to a chat go to the model whole, without an index.
    "OFFLINE_MODE": "True",
    "HF_HUB_OFFLINE": "1",
    "RAG_EMBEDDING_ENGINE": "openai",
    "BYPASS_EMBEDDING_AND_RETRIEVAL": "True",
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "true",
    "GLOBAL_LOG_LEVEL": "WARNING",
}
"""Settings of Open WebUI, where the environment has none of these names."""
FOREIGN = ("INTERLOCK_", "LITELLM_", "DATABASE_", "REDIS_")
"""Variables that begin so are not for this program: our secrets, and databases of others that the shell knows."""


def run_open_webui(server: Server, data: Path, port: int) -> int:
    """Start Open WebUI for the server, print its address once it answers, and return its exit code when it ends.

    Its accounts, chats and log are in DATA/open-webui. Where it is not installed, uv does that first.
    Raises ChatFailed where the server does not answer or does not know the key; InterlockError where Open WebUI cannot
    be started.
    """
    command = find_program(os.environ)
    asyncio.run(check_server(server))
    chosen = find_port(HOST, port)
    if chosen is None:
        raise InterlockError(f"Cannot listen on {HOST}.")
    address = format_address(HOST, chosen)
    env = build_environment(server, data / "open-webui", chosen, os.environ)
    folder = Path(env["DATA_DIR"])
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InterlockError(f"{folder}: no folder can be made there: {error.strerror}.") from None
    if len(command) > 1:
        print(f"uv gets Open WebUI {VERSION}. The first time, it downloads up to 3 GB.", flush=True)
        if code := run_in_front([*command[:-1], "python", "-c", ""], env):
            return code
    log = folder / "open-webui.log"
    print(f"Open WebUI starts for {server.url}, which takes about half a minute. Its log: {log}", flush=True)
    threading.Thread(target=announce_page, args=(address,), daemon=True).start()
    # It writes the secret of its sessions into the folder that it is started in.
    code = run_in_front([*command, "serve", "--host", HOST, "--port", str(chosen)], env, folder, log)
    if code and code < SIGNALLED:
        lines = log.read_text(errors="replace").splitlines()[-SHOWN:]
        raise InterlockError(
            "\n".join([*lines, f"Open WebUI ended with exit code {code}; the end of its log is above."])
        )
    return code


async def check_server(server: Server) -> None:
    """Raise ChatFailed where the server does not answer, or not with this key: the page would show no models, and not
    say why."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        await GatewayClient(session, server.url, server.key).get("/models")


def find_program(env: Mapping[str, str]) -> list[str]:
    """Find the program `open-webui`, or uv's way to get and run it. Raises InterlockError where both are missing."""
    if found := shutil.which("open-webui", path=env.get("PATH")):
        return [found]
    beside = Path(sys.executable).parent  # where the lock file puts it
    uvx = shutil.which("uvx", path=env.get("PATH")) or shutil.which("uvx", path=str(beside))
    if uvx is None:
        raise InterlockError(
            "Open WebUI is not installed, and uv is not there to get it. Install uv (https://docs.astral.sh/uv); or, "
            f"with Python 3.11 or 3.12, Open WebUI in an environment of its own: pip install open-webui=={VERSION}"
        )
    return [uvx, "--python", PYTHONS, "--from", f"open-webui=={VERSION}", "open-webui"]


def build_environment(server: Server, folder: Path, port: int, env: Mapping[str, str]) -> dict[str, str]:
    """Build the environment of its process: what a person has set for Open WebUI stays, but for the connection and the
    place of its files."""
    own = {"CORS_ALLOW_ORIGIN": f"http://{HOST}:{port};http://localhost:{port}"}
    connection = {
        "DATA_DIR": str(folder.resolve()),
        "OPENAI_API_BASE_URLS": server.url,
        "OPENAI_API_KEYS": server.key,
        "OPENAI_API_CONFIGS": json.dumps({"0": {"enable": True, "headers": HEADERS}}),
    }
    direct = name_direct_hosts(env)
    inherited = {name: value for name, value in env.items() if not name.startswith(FOREIGN)}
    return {**DEFAULTS, **own, **inherited, **connection, "NO_PROXY": direct, "no_proxy": direct}


def name_direct_hosts(env: Mapping[str, str]) -> str:
    """Name the hosts that no proxy is asked for: those of the environment, and this machine, or the key would go to the
    proxy in clear."""
    hosts = env.get("no_proxy") or env.get("NO_PROXY") or ""
    if hosts.strip() == "*":
        return hosts  # "no proxy at all", which counts alone only
    return ",".join([*filter(None, [hosts.strip(" ,")]), HOST, "localhost"])


def announce_page(address: str) -> None:
    """Print where the page is, once it is there."""
    if wait_for_answer(f"{address}/health", START_TIMEOUT):
        print(
            f"page {address}\n"
            "Make the account that it asks for at once: the first one, whoever on this machine makes it, is the\n"
            "administrator's, who can read Interlock's key. It stays on this machine. Ctrl-C ends Open WebUI.",
            flush=True,
        )
