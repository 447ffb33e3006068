"""A process that evaluates conditions for another: length and request on stdin, length and answer on stdout."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from contextlib import suppress
from functools import lru_cache
from typing import BinaryIO

import psutil

from graphs.expressions.conditions import Condition, compile_rule_condition
from graphs.expressions.evaluator import unpack
from graphs.expressions.graph_expressions import ValueOutcome, compile_value
from graphs.expressions.prepared import PreparedValues

compile_rule_cached = lru_cache(maxsize=256)(compile_rule_condition)
compile_value_cached = lru_cache(maxsize=256)(compile_value)


MAX_SECONDS = 30.0
"""Seconds for one condition, whoever asks."""
MAX_MEMORY = 256 * 2**20
"""Bytes that conditions may take beyond what the process takes at its start."""


def limit_memory() -> None:
    """End the process where a condition builds more than it may, as `args.list.map(x, args.text + args.text)` can."""
    with suppress(OSError, ValueError):  # not every system has such limits
        most = psutil.Process().memory_info().vms + MAX_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def evaluate(request: bytes) -> ValueOutcome:
    """Return the outcome of one request."""
    scope, source, values, rest = unpack(request)
    if scope != "access":
        return compile_value_cached(source, rest, scope).evaluate_data(values)
    condition: Condition = compile_rule_cached(source)
    return condition.compute_outcome(PreparedValues(values, rest))


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until stdin ends."""
    _send(answers, b"ready")
    while len(head := requests.read(4)) == 4:
        request = requests.read(int.from_bytes(head, "big"))
        # Whoever asks ends this process when it is late; where they are gone themselves, the alarm does, which no
        # lock of the interpreter holds up.
        signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
        try:
            outcome = evaluate(request)
        except Exception:  # noqa: BLE001 - a rule that fails is closed
            outcome = None, "it fails on these values"
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(answers, json.dumps(outcome).encode())


def _send(answers: BinaryIO, answer: bytes) -> None:
    answers.write(len(answer).to_bytes(4, "big") + answer)
    answers.flush()


if __name__ == "__main__":
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever prints, prints there
        limit_memory()
        serve(sys.stdin.buffer, out)
