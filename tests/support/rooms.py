"""How tests are shared out among processes that run them at once."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling


class ByRoom(LoadFileScheduling):
    """Each file is one process's from beginning to end, and so is each folder: its files share what starts slowly."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return file if folder == "tests" else folder


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Rooms in the order of collection, which begins with the long ones, for whichever process is free."""
    config.option.loadscopereorder = False
    return ByRoom(config, log)
