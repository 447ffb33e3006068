"""`graphs` and `server` are common words: they must be ours, and no installed distribution may bring others."""

from __future__ import annotations

from importlib.metadata import packages_distributions
from pathlib import Path

import graphs
import server

ROOT = Path(__file__).resolve().parents[2]


def test_graphs_and_server_are_loaded_from_this_repository() -> None:
    assert graphs.__file__ == str(ROOT / "graphs" / "__init__.py")
    assert server.__file__ == str(ROOT / "server" / "__init__.py")


def test_no_other_distribution_provides_these_names() -> None:
    providers = packages_distributions()
    for name in ("graphs", "server", "configs", "scripts", "tests"):
        assert set(providers.get(name, [])) <= {"interlock"}, name
