"""The way that turns take through their graphs, for whoever wants to know it; nobody else pays for it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

ERROR_WAY = -1
"""The place of the way that a node takes where it fails: it stands before those under `next`."""


class GraphPath:
    """Nodes in the order in which they began, and the branches that were chosen.

    A node that paused and goes on, or is tried again, is there once, and so is an agent with all its rounds.
    """

    def __init__(self) -> None:
        self.nodes: list[tuple[str, str]] = []
        """Each with its graph before it."""
        self.branches: list[tuple[str, str, int]] = []
        """Graph, node, and the place of the branch among those under the node's `next`."""
        self._interrupted: set[tuple[str, str]] = set()
        self._failed: tuple[str, str] | None = None
        self._agent: tuple[str, str] | None = None
        """The agent that runs its tools, and will ask its model again."""

    @property
    def is_broken_off(self) -> bool:
        """Whether the node that began last has failed, so that no way led on from it."""
        return bool(self.nodes) and self.nodes[-1] == self._failed

    def enter(self, graph: str, node: str) -> None:
        """Note that a node begins."""
        self._failed = None
        name, _, part = node.partition(".")
        is_later_round = not part and self._agent == (graph, name)
        self._agent = (graph, name) if part == "tools" else None
        if (graph, node) in self._interrupted:
            self._interrupted.discard((graph, node))
        elif not part and not is_later_round:
            self.nodes.append((graph, node))

    def interrupt(self, graph: str, node: str) -> None:
        """Note that a node paused; it will begin once more."""
        self._interrupted.add((graph, node))

    def fail(self, graph: str, node: str) -> None:
        """Note that a node failed; it may be tried again."""
        self._failed = (graph, node.partition(".")[0])

    def retry(self) -> None:
        """Note that the node that failed is tried again."""
        self._failed = None

    def choose(self, graph: str, node: str, at: int) -> None:
        """Note which branch was chosen."""
        self.branches.append((graph, node, at))


_current_path: ContextVar[GraphPath | None] = ContextVar("path", default=None)


def find_current_path() -> GraphPath | None:
    """Find where the way of this turn is recorded; None where nobody wants to know it."""
    return _current_path.get()


@contextmanager
def record_path() -> Generator[GraphPath]:
    """Record the way of all turns that are started inside the block, one after the other."""
    path = GraphPath()
    token = _current_path.set(path)
    try:
        yield path
    finally:
        _current_path.reset(token)


def record_branch(graph: str, node: str, at: int) -> None:
    """Record that a node's branch was chosen."""
    path = _current_path.get()
    if path is not None:
        path.choose(graph, node, at)
