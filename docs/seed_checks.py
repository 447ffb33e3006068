"""The three checks of docs/seed-checks.md. Exit code 0 when the first detects and the others execute."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SEED = "seed-check.txt"
TOOL = {
    "type": "function",
    "function": {
        "name": "filesystem__read_file",
        "description": "Reads a file.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
}


def post(url: str, key: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
    """The JSON that a chat completion answers with; HTTP errors become a sentence."""
    request = urllib.request.Request(
        url,
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json", "authorization": f"Bearer {key}", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        sys.exit(f"{url} answered {error.code}: {error.read().decode(errors='replace')[:500]}")
    except urllib.error.URLError as error:
        sys.exit(f"{url} does not answer ({error.reason}). Is `make serve` running?")


@contextmanager
def model_endpoint() -> Iterator[tuple[str, str, str]]:
    """Base URL, key and model of the endpoint behind Interlock."""
    if url := os.environ.get("LITELLM_BASE_URL"):
        yield url.rstrip("/"), os.environ.get("LITELLM_API_KEY", "none"), os.environ.get("INTERLOCK_MODEL", "demo")
        return
    command = [sys.executable, "-m", "server.demo", "model"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1], "none", "demo"
        process.terminate()


def admin_key(data: Path) -> str:
    """The key to use: INTERLOCK_KEY, INTERLOCK_ADMIN_KEY, or the generated one."""
    if key := os.environ.get("INTERLOCK_KEY") or os.environ.get("INTERLOCK_ADMIN_KEY"):
        return key
    file = data / "keys.env"
    lines = file.read_text().splitlines() if file.is_file() else []
    keys = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    if "admin" not in keys:
        sys.exit(f"No key: set INTERLOCK_KEY, or start `make serve`, which makes one in {file}.")
    return keys["admin"]


def text(answer: dict[str, Any]) -> str:
    return answer["choices"][0]["message"].get("content") or ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1", help="where Interlock serves")
    parser.add_argument("--model", default="assistant")
    parser.add_argument("--question", help="a question of your own, which needs a tool")
    parser.add_argument("--expect", help="text that only the tool's result holds")
    options = parser.parse_args()
    if (options.question is None) != (options.expect is None):
        parser.error("--question and --expect go together")

    data = Path(os.environ.get("INTERLOCK_DATA", "data"))
    key = admin_key(data)
    question, expect = options.question or f"read {SEED}", options.expect
    if expect is None:
        expect = secrets.token_hex(8)
        workspace = data / "workspace"
        if not workspace.is_dir():
            sys.exit(f"{workspace} is not there: name a --question and what to --expect for your own servers.")
        (workspace / SEED).write_text(f"The number is {expect}.\n")

    user = [{"role": "user", "content": question}]
    results: list[bool] = []

    with model_endpoint() as (url, model_key, model):
        answer = post(f"{url}/chat/completions", model_key, {"model": model, "messages": user, "tools": [TOOL]})
    calls = answer["choices"][0]["message"].get("tool_calls") or []
    results.append(bool(calls))
    print(f"1. the model alone: {'detected' if calls else 'NOT DETECTED'}, not executed")

    if webui := os.environ.get("OPENWEBUI_URL"):
        through = f"{webui.rstrip('/')}/api/chat/completions"
        answer = post(through, os.environ.get("OPENWEBUI_KEY", ""), {"model": options.model, "messages": user})
        how = "through Open WebUI"
    else:
        injected = {"type": "function", "function": {"name": "search_chats", "parameters": {"type": "object"}}}
        body = {"model": options.model, "messages": user, "tools": [injected]}
        answer = post(f"{options.url}/chat/completions", key, body, {"X-OpenWebUI-Chat-Id": "seed-check"})
        how = "as Open WebUI sends it (set OPENWEBUI_URL for the real one)"
    results.append(expect in text(answer))
    print(f"2. {how}: {'executed' if results[-1] else 'NOT EXECUTED: ' + text(answer)[:200]}")

    answer = post(f"{options.url}/chat/completions", key, {"model": options.model, "messages": user})
    results.append(expect in text(answer))
    print(f"3. direct: {'executed' if results[-1] else 'NOT EXECUTED: ' + text(answer)[:200]}")
    if options.expect is None:
        (data / "workspace" / SEED).unlink(missing_ok=True)
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
