"""How tests are shared out among processes that run them at once."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

SHARED = ("tests/deploy", "tests/integration")
"""Folders whose files share what starts slowly."""


class FileScheduling(LoadFileScheduling):
    """Each file is one process's from beginning to end, and so is each folder of SHARED."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return folder if folder in SHARED else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Schedule in the order of collection for whichever process is free."""
    config.option.loadscopereorder = False
    return FileScheduling(config, log)
