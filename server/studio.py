"""`interlock studio`: the graphs in LangGraph Studio, and the life of what they need there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from graphs import studio
from graphs.errors import InterlockError
from graphs.library import load, settled_environment
from server.demo.model.serving import serve_demo_model
from server.settings import Settings

STUDIO_MODULES = ("langgraph_cli", "langgraph_api", "langgraph_runtime_inmem")
"""What `langgraph dev` loads, of pyproject.toml's group `studio`."""


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[None]:
    """Runs the demo model where no other is configured, and closes MCP servers at the end."""
    async with AsyncExitStack() as stack:
        env = settled_environment(os.environ, studio.data_folder())
        snapshot = load(studio.configs_folder(), env)
        if not snapshot.gateway.models.base_url:
            studio.workshop.model_url = await stack.enter_async_context(serve_demo_model())
        stack.push_async_callback(studio.workshop.close)
        yield


app = Starlette(lifespan=lifespan)
"""Named by `langgraph.json` under `http.app`: langgraph runs its lifespan around its own."""


def langgraph_config(configs: Path, root: Path) -> dict[str, Any]:
    """A langgraph.json for the graphs of a config folder."""
    return {
        "$schema": "https://langgra.ph/schema.json",
        "dependencies": [str(root)],
        "graphs": {name: f"graphs.studio:{studio.variable(name)}" for name in studio.graph_names(configs)},
        "http": {"app": "server.studio:app"},
    }


def run_studio(settings: Settings, *, host: str, port: int, browser: bool) -> int:
    """Starts `langgraph dev` for the graphs of the config folder and returns its exit code.

    Raises ConfigError when the files have problems: they are better read here than in langgraph's log; InterlockError
    where `langgraph dev` is not installed, which serving does not need.
    """
    if not all(find_spec(module) for module in STUDIO_MODULES):
        raise InterlockError(
            "LangGraph Studio's server is not installed here: serving does without it. In the checkout, `make studio` "
            "installs it from requirements-studio.lock and starts it; after that, this command works too."
        )
    env = settled_environment(os.environ, settings.data)
    load(settings.configs, env)
    settings.data.mkdir(parents=True, exist_ok=True)
    file = settings.data / "langgraph.json"
    root = Path(__file__).resolve().parent.parent
    file.write_text(json.dumps(langgraph_config(settings.configs, root), indent=2) + "\n")
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--config", str(file.resolve())]
    command += ["--host", host, "--port", str(port), "--no-reload", *([] if browser else ["--no-browser"])]
    return subprocess.call(command, env=studio_environment(settings, env))  # noqa: S603  our own words


def studio_environment(settings: Settings, env: Mapping[str, str]) -> dict[str, str]:
    """What the development server's process reads."""
    return {**env, "INTERLOCK_CONFIGS": str(settings.configs.resolve())}
