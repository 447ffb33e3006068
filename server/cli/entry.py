"""The program's entry point: it loads the rest without the garbage collector, which would take a quarter of that time.

Whatever is loaded stays, so there is nothing to find; and once it is frozen, no later collection looks through it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

# ruff: noqa: PLC0415  to load late is what this file is for


INTERRUPTED = 130
"""The exit code that shells give to Ctrl-C."""


def main() -> None:
    """Run the command `interlock`. A file that cannot be read or written ends it in words, whichever command it is, and
    Ctrl-C without any, also while it loads."""
    try:
        with pause_collection():
            from server.cli.main import app
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.filename is None:  # not about a file: a fault of ours
            raise
        sys.exit(f"{error.filename}: {error.strerror}")


def facade() -> FastAPI:
    """Build the facade in a process of its own, such as each of several workers is."""
    with pause_collection():
        from server.cli.serve import create_logging_app
    return create_logging_app()


@contextmanager
def pause_collection() -> Generator[None]:
    """Pause garbage collection while the block lasts; what is there at its end is never looked through."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
