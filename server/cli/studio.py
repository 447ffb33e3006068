"""`interlock studio`: the graphs in LangGraph Studio, and the life of what they need there."""

from __future__ import annotations

import json
import os
import secrets
import sys
import threading
import webbrowser
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware

from graphs import studio
from graphs.config.environment import build_environment
from graphs.config.loader import load
from graphs.errors import InterlockError
from server.cli.child_program import run_in_front
from server.cli.local_address import find_port, format_address, is_loopback, wait_for_answer
from server.cli.serve import CannotServe
from server.cli.studio_guard import STUDIO_ORIGINS, TOKEN_VARIABLE, StudioGuard, is_loopback_name
from server.demo.model.serving import serve_demo_model
from server.settings import Settings

STUDIO_MODULES = ("langgraph_cli", "langgraph_api", "langgraph_runtime_inmem")
"""What `langgraph dev` loads, of pyproject.toml's group `studio`."""


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[None]:
    """Run the demo model where no other is configured, and close MCP servers at the end.

    Raises CannotServe where others could reach the server: `langgraph dev --host 0.0.0.0`, or with `--tunnel`.
    """
    refuse_to_be_reached(os.environ)
    async with AsyncExitStack() as stack:
        env = build_environment(os.environ, studio.find_data_folder())
        snapshot = load(studio.find_configs_folder(), env)
        if not snapshot.gateway.models.base_url:
            studio.studio_services.use_demo_model(await stack.enter_async_context(serve_demo_model()))
        stack.push_async_callback(studio.studio_services.close)
        yield


app = Starlette(lifespan=lifespan, middleware=[Middleware(StudioGuard)])
"""Named by `langgraph.json` under `http.app`: langgraph runs its lifespan around its own, and its middleware outside of
all others, before every route."""

HTTP: dict[str, Any] = {"app": "server.cli.studio:app", "cors": {"allow_origins": []}}
"""What `langgraph.json` says of HTTP: the guard answers preflights, langgraph itself allows no origin."""


def refuse_to_be_reached(env: Mapping[str, str]) -> None:
    """Raise CannotServe where the address that langgraph announces is not this machine's own."""
    address = env.get("LANGGRAPH_API_URL", "")
    if address and not is_loopback_name(urlsplit(address).netloc):
        raise CannotServe(
            f"{address} can be reached by others, and Studio's server has no keys: whoever reaches it runs tools as "
            "INTERLOCK_STUDIO_ROLE. Start it on 127.0.0.1, without --tunnel; to be reached, use `interlock serve`."
        )


def build_langgraph_config(configs: Path, root: Path) -> dict[str, Any]:
    """Build a langgraph.json for the graphs of a config folder."""
    return {
        "$schema": "https://langgra.ph/schema.json",
        "dependencies": [str(root)],
        "graphs": {
            name: f"graphs.studio:{studio.build_variable_name(name)}" for name in studio.list_graph_names(configs)
        },
        "http": HTTP,
    }


def run_studio(settings: Settings, *, host: str, port: int, browser: bool, token: bool = True) -> int:
    """Start `langgraph dev` for the graphs of the config folder and return its exit code.

    `token`: requests must carry a local token, that of INTERLOCK_STUDIO_TOKEN or one made now.
    Raises ConfigError when the files have problems: they are better read here than in langgraph's log; CannotServe for
    an address that others can reach; InterlockError where `langgraph dev` is not installed.
    """
    if not all(find_spec(module) for module in STUDIO_MODULES):
        raise InterlockError(
            "LangGraph Studio's server is not installed here: serving does without it. In the checkout, `make studio` "
            "installs it from requirements-studio.lock and starts it; after that, this command works too."
        )
    if not is_loopback(host):
        raise CannotServe(
            f"{host} can be reached by others, and Studio's server has no keys. Leave --host at 127.0.0.1; to be "
            "reached, use `interlock serve`."
        )
    env = build_environment(os.environ, settings.data)
    load(settings.configs, env)
    settings.data.mkdir(parents=True, exist_ok=True)
    file = settings.data / "langgraph.json"
    root = Path(__file__).resolve().parents[2]
    file.write_text(json.dumps(build_langgraph_config(settings.configs, root), indent=2) + "\n")
    free = find_port(host, port)  # as `langgraph dev` would choose
    if free is None:
        raise CannotServe(f"Cannot listen on {host}. Leave --host at 127.0.0.1.")
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--config", str(file.resolve())]
    command += ["--host", host, "--port", str(free), "--no-reload", "--no-browser"]
    secret = (env.get(TOKEN_VARIABLE) or secrets.token_urlsafe(24)) if token else ""
    threading.Thread(target=announce_studio, args=(format_address(host, free), secret, browser), daemon=True).start()
    return run_in_front(command, build_studio_environment(settings, env, secret))


def build_studio_environment(settings: Settings, env: Mapping[str, str], token: str) -> dict[str, str]:
    """Build the environment of the development server's process."""
    return {**env, "INTERLOCK_CONFIGS": str(settings.configs.resolve()), TOKEN_VARIABLE: token}


def announce_studio(address: str, token: str, browser: bool) -> None:
    """Print, once the server answers, where Studio finds it; and open Studio there."""
    if not wait_for_answer(f"{address}/ok"):
        return
    page = f"{STUDIO_ORIGINS[0]}/studio/?baseUrl={address}{f'/{token}' if token else ''}"
    print(f"studio {page}", flush=True)
    if browser:
        webbrowser.open(page)
