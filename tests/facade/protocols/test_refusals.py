"""What clients are told of errors, and what only the log is told."""

from __future__ import annotations

import pytest

from graphs.errors import StorageError
from server.protocols.errors import build_http_error


def test_the_database_s_path_is_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    told = build_http_error(StorageError("the database /srv/interlock/interlock.db cannot be used: disk I/O error"))
    assert told.status == 503
    assert "/srv" not in str(told.build_body())
    assert "disk I/O" not in str(told.build_body())
    assert "/srv/interlock/interlock.db cannot be used: disk I/O error" in caplog.text
