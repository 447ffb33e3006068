"""The command `llm`, with Interlock among its extra OpenAI models."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from steps import KEY, MODEL, URL, run

COMMAND = [str(Path(sys.executable).with_name("llm")), "--model", "interlock", "--no-log"]
home = Path(tempfile.mkdtemp(prefix="interlock-compat-llm-"))
model = {"model_id": "interlock", "model_name": MODEL, "api_base": URL, "api_key_name": "interlock"}
(home / "extra-openai-models.yaml").write_text(json.dumps([model]))  # JSON is YAML
(home / "keys.json").write_text(json.dumps({"interlock": KEY}))
os.environ["LLM_USER_PATH"] = str(home)


def ask(prompt: str) -> str:
    done = subprocess.run([*COMMAND, "--no-stream", prompt], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def stream(prompt: str) -> Iterator[str]:
    os.environ["PYTHONUNBUFFERED"] = "1"
    with subprocess.Popen([*COMMAND, prompt], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while piece := os.read(process.stdout.fileno(), 65536):
            yield piece.decode()
        if process.wait():
            raise RuntimeError(process.stderr.read().decode())


run(ask, stream)
