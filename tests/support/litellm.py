"""A real LiteLLM proxy whose models are the scripted one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.environments import python_environment
from support.processes import Process, free_port, running

KEY = "sk-litellm-of-the-tests"
LOOPS = ("openai", "hosted_vllm", "litellm_proxy", "deepseek")
"""LiteLLM's providers whose address can be Interlock's. Each has a model `round-…` in the integration tests' LiteLLM,
which is Interlock's graph `circle-…`."""


@dataclass(frozen=True)
class LiteLLM:
    """`url` ends in /v1; every model of it answers what the scripted endpoint says."""

    url: str
    key: str
    process: Process

    def wait(self) -> None:
        """Returns once it answers. It takes a few seconds to import itself."""
        self.process.wait_for_url(self.url.removesuffix("/v1") + "/health/liveliness", timeout=120)


def build_entry(name: str, model: str, api_base: str, *, api_key: str = "none", **params: Any) -> dict[str, Any]:
    """An entry of `model_list`."""
    params = {"model": model, "api_base": api_base, "api_key": api_key, **params}
    return {"model_name": name, "litellm_params": params}


@contextmanager
def litellm_proxy(
    upstream: str,
    models: Sequence[str],
    folder: Path,
    *,
    entries: Sequence[Mapping[str, Any]] = (),
    forwards: Sequence[str] = (),
) -> Iterator[LiteLLM]:
    """Starts the proxy without waiting for it: see `LiteLLM.wait`.

    `entries`: further entries of `model_list`. `forwards`: the models to which clients' headers are handed on.
    """
    home = python_environment("litellm")
    config = {
        "model_list": [build_entry(name, f"openai/{name}", upstream) for name in models]
        + [dict(entry) for entry in entries],
        "litellm_settings": {
            "num_retries": 0,
            "telemetry": False,
            "model_group_settings": {"forward_client_headers_to_llm_api": list(forwards)},
        },
        # One failure on purpose must not take the model away from the next test.
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "general_settings": {"master_key": KEY},
    }
    file = folder / "litellm.yaml"
    file.write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    command = [home / "bin" / "litellm", "--config", file, "--host", "127.0.0.1", "--port", str(port)]
    # Without this it asks the internet for a price list before it serves.
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONUNBUFFERED": "1"}
    with running("LiteLLM", command, folder / "litellm.log", env=env, cwd=folder) as process:
        yield LiteLLM(f"http://127.0.0.1:{port}/v1", KEY, process)
