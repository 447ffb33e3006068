"""How the command `interlock` is typed at this terminal, for lines that people paste."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def describe_own_command() -> str:
    """Describe it: the bare name where a shell finds this program by it, else the program's path, as in a checkout."""
    program = Path(sys.executable).with_name("interlock")
    found = shutil.which("interlock")
    if not program.exists() or (found and Path(found).resolve() == program.resolve()):
        return "interlock"
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))
