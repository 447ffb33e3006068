"""A page of docs/ as a script: what it tells a person to type, in its order, and what it says will be shown then.

Typed as somebody who has never been here would: in an empty folder, in an environment without settings.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import psutil
from support.processes import Process, descendants, running

FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
FIRST_MINUTES = "first minutes"
"""The property of a test with how long it took to follow the page."""
TIMEOUT = 300.0
"""Seconds that one command gets."""


@dataclass(frozen=True)
class Step:
    """One block of commands."""

    commands: Sequence[str]
    shown: Sequence[str] = ()
    """The lines of the block below it that is in no language: what the last command prints, among others."""


def read_steps(page: str) -> list[Step]:
    """The blocks of commands, in order."""
    steps: list[Step] = []
    for _, language, text in FENCED.findall(page):
        lines = dedent(text).splitlines()
        if language == "sh":
            steps.append(Step(lines))
        elif not language and steps:
            steps[-1] = Step(steps[-1].commands, lines)
    return steps


def read_questions(page: str) -> list[str]:
    """What the page tells a person to ask in a chat: its blocks of text."""
    return [dedent(text).strip() for _, language, text in FENCED.findall(page) if language == "text"]


@dataclass
class Newcomer:
    """Somebody at some terminals, who types what a page says."""

    folder: Path
    env: dict[str, str]
    """All of it."""
    exports: Mapping[str, str]
    """Values in place of those that the page sets."""
    words: Mapping[str, str]
    """What the page says → what is typed and shown here, such as another port."""
    lasting: Sequence[str]
    """Commands of the page that go on until somebody ends them."""
    stack: ExitStack
    """Ends what still runs."""
    begun: dict[str, Process] = field(default_factory=dict[str, Process])

    def follow(self, step: Step) -> str:
        """Type the commands one by one, look for what the page shows, and return what the last one printed."""
        printed = ""
        for command in step.commands:
            words = command.split()
            shown = step.shown if command == step.commands[-1] else ()
            if words[0] == "cd":
                self.folder /= words[1]
            elif words[0] == "export":
                name = words[1].split("=")[0]
                self.env[name] = self.exports[name]
            elif command in self.lasting:
                printed = self._begin(command, shown)
            else:
                printed = self._run(command)
                assert [line for line in shown if not re.search(self._to_pattern(line), printed, re.MULTILINE)] == []
        return printed

    def interrupt(self, command: str) -> str:
        """Ctrl-C in the terminal where the command runs; returns all that was shown there."""
        process = self.begun.pop(command)
        family = descendants(process.popen.pid)
        os.killpg(process.popen.pid, signal.SIGINT)
        process.popen.wait(timeout=30)
        _, left = psutil.wait_procs(family, timeout=30)  # make does not always wait for them
        assert left == []
        return process.text()

    def _begin(self, command: str, shown: Sequence[str]) -> str:
        log = self.folder.parent / f"{len(self.begun)}-{command.split()[-1]}.log"
        process = self.stack.enter_context(running(command, self._build(command), log, cwd=self.folder))
        for line in shown:
            process.wait_for_line(self._to_pattern(line), timeout=TIMEOUT)
        self.begun[command] = process
        return process.text()

    def _run(self, command: str) -> str:
        done = subprocess.run(
            self._build(command), cwd=self.folder, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _build(self, command: str) -> list[str]:
        variables = [f"{name}={value}" for name, value in self.env.items()]
        return ["env", "-i", *variables, "bash", "-c", f"exec {self.translate(command)}"]

    def translate(self, text: str) -> str:
        """The page's words as they are here."""
        for word, other in self.words.items():
            text = text.replace(word, other)
        return text

    def _to_pattern(self, line: str) -> str:
        """A line that the page shows; `…` in it stands for anything."""
        return f"^{re.escape(self.translate(line)).replace('…', '.+')}$"
