"""What clients are told of errors, and what only the log is told."""

from __future__ import annotations

import pytest

from graphs.errors import StorageError
from server.protocols.errors import refusal


def test_the_database_s_path_is_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    told = refusal(StorageError("the database /srv/interlock/interlock.db cannot be used: disk I/O error"))
    assert told.status == 503
    assert "/srv" not in str(told.body())
    assert "disk I/O" not in str(told.body())
    assert "/srv/interlock/interlock.db cannot be used: disk I/O error" in caplog.text
