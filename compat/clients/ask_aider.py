"""The command `aider`, asked one question in a folder of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from steps import KEY, MODEL, URL, run

home = tempfile.mkdtemp(prefix="interlock-compat-aider-")
# Nothing that asks a person, or the internet.
OPTIONS = ["--no-git", "--yes-always", "--no-check-update", "--no-show-release-notes", "--no-show-model-warnings"]
OPTIONS += ["--no-analytics", "--no-pretty", "--edit-format", "ask"]
COMMAND = [
    *(str(Path(sys.executable).with_name("aider")), *OPTIONS, "--model", f"openai/{MODEL}"),
    *("--weak-model", f"openai/{MODEL}", "--openai-api-base", URL, "--openai-api-key", KEY),
]
ENVIRONMENT = {**os.environ, "HOME": home, "PYTHONUNBUFFERED": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def ask(prompt: str) -> str:
    return "".join(say(prompt, "--no-stream"))


def stream(prompt: str) -> Iterator[str]:
    yield from say(prompt, "--stream")


def say(prompt: str, *options: str) -> Iterator[str]:
    command = [*COMMAND, *options, "--message", prompt]
    with subprocess.Popen(
        command, cwd=home, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        while piece := os.read(process.stdout.fileno(), 65536):
            yield piece.decode()
        if process.wait():
            raise RuntimeError(f"aider ended with {process.returncode}")


run(ask, stream)
