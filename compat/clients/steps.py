"""The frame of every client program in Python: asks in each way that the job names, and prints what the client gave."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

sys.stdout = sys.stderr  # only results go to the real standard output: clients print there too
JOB: dict[str, Any] = json.load(sys.stdin)
URL: str = JOB["url"]
KEY: str = JOB["key"]
MODEL: str = JOB["model"]


def run(ask: Callable[[str], str], stream: Callable[[str], Iterable[str]] | None) -> None:
    """Asks the job's questions, whole with `ask` and in pieces with `stream`; None: the client cannot stream."""
    for way, prompt in JOB["prompts"].items():
        try:
            if not way.endswith("streamed"):
                answer: dict[str, Any] = {"pieces": [ask(prompt)]}
            elif stream:
                answer = {"pieces": [piece for piece in stream(prompt) if piece]}
            else:
                answer = {"cannot": "the client does not stream"}
        except Exception as error:  # noqa: BLE001  # whatever the client raises is the result
            answer = {"error": f"{type(error).__name__}: {error}"}
        os.write(1, json.dumps({"way": way, **answer}).encode() + b"\n")
