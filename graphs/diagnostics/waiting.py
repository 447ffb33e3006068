"""What a diagnosis waits for at present, for whoever shows it to a person."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager


class Waiting:
    """The names of what is waited for, in the order in which it began; `show` is told each time these change."""

    def __init__(self, show: Callable[[Sequence[str]], None] | None = None) -> None:
        self._show = show
        self._names: dict[str, None] = {}

    def begin(self, *names: str) -> None:
        """Begin to wait for them."""
        self._names.update(dict.fromkeys(names))
        self._tell()

    def end(self, *names: str) -> None:
        """Wait for them no longer; nothing for those that are not waited for."""
        known = [name for name in names if name in self._names]
        for name in known:
            del self._names[name]
        if known:
            self._tell()

    @contextmanager
    def wait_for(self, *names: str) -> Generator[None]:
        """Wait for them while the block lasts."""
        self.begin(*names)
        try:
            yield
        finally:
            self.end(*names)

    def _tell(self) -> None:
        if self._show is not None:
            self._show([*self._names])
