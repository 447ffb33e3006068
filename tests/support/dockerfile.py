"""A Dockerfile as the tests need it: its stages, and what each instruction says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """One `FROM` and what follows it."""

    image: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)
    """Instruction and its text, in order, continued lines joined."""

    @property
    def env(self) -> dict[str, str]:
        """All `ENV` of the stage, as written."""
        words = [word for kind, text in self.instructions if kind == "ENV" for word in shlex.split(text)]
        return dict(word.split("=", 1) for word in words)

    def last(self, kind: str) -> str:
        """The text of the last instruction of this kind."""
        return [text for found, text in self.instructions if found == kind][-1]

    def command(self, kind: str) -> list[str]:
        """The list that the last instruction of this kind carries (`CMD ["a", "b"]`)."""
        text = self.last(kind)
        return json.loads(text[text.index("[") :])


def stages(file: Path) -> Sequence[Stage]:
    text = re.sub(r"(?m)^\s*#.*\n", "", file.read_text())
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if not line.strip():
            continue
        kind, _, rest = line.partition(" ")
        if kind == "FROM":
            image, _, name = rest.partition(" AS ")
            found.append(Stage(image, name))
        else:
            found[-1].instructions.append((kind, rest.strip()))
    return found
