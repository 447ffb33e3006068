"""Which connection goes where there are too many."""

from __future__ import annotations

import logging
import os

import pytest

from graphs.config.spec.gateway import HttpSpec
from graphs.telemetry.metrics import Metrics
from graphs.telemetry.store_figures import StoreFigures
from server.protocols.http import connections
from server.protocols.http.connections import RESERVED_FILES, SPARE, ConnectionTable, build_limits, is_short_of_files


class Fake:
    """A connection of no socket."""

    def __init__(self, table: ConnectionTable, address: str | None = "192.0.2.1", deadline: float = 10.0) -> None:
        self.table = table
        self.address = address
        self.authenticated = False
        self.spare = False
        self.deadline = deadline
        self.state = "open"

    def expire(self, now: float) -> None:
        self.state = "expired"
        self.deadline = float("inf")

    def evict(self) -> None:
        self.state = "evicted"


def table_of(**http: int) -> ConnectionTable:
    spec = HttpSpec(**http)
    return ConnectionTable(lambda: spec, Metrics(), None)


def admit(table: ConnectionTable, count: int, now: float = 0.0, address: str | None = "192.0.2.1") -> list[Fake]:
    made = [Fake(table, address) for _ in range(count)]
    for each in made:
        assert table.admit(each, now)
    return made


def states(made: list[Fake]) -> list[str]:
    return [each.state for each in made]


def test_the_one_that_waits_longest_makes_room() -> None:
    table = table_of(connections=16)
    made = admit(table, 16)
    table.start_request(made[0])
    table.note_valid_key(made[1])
    admit(table, 2, 1.0, "192.0.2.2")
    assert states(made)[:5] == ["open", "open", "evicted", "evicted", "open"]
    assert len(table) == 16


def test_where_all_are_at_work_some_may_still_ask_whether_it_lives() -> None:
    table = table_of(connections=16)
    for each in admit(table, 16):
        table.start_request(each)
    spare = admit(table, SPARE)
    assert all(each.spare for each in spare)
    assert admit(table, 1)[0].spare  # at the cost of the oldest of these
    assert spare[0].state == "evicted"
    assert len(table) == 16 + SPARE


def test_where_even_those_are_at_work_a_new_one_is_refused() -> None:
    table = table_of(connections=16)
    for _ in range(16 + SPARE):
        table.start_request(admit(table, 1)[0])
    assert not table.admit(Fake(table), 0.0)
    assert len(table) == 16 + SPARE


def test_a_place_is_free_again_when_a_connection_is_gone() -> None:
    table = table_of(connections=16)
    made = admit(table, 16)
    for each in made:
        table.start_request(each)
    table.remove(made[0])
    table.remove(made[0])
    assert not admit(table, 1)[0].spare


def test_one_address_keeps_so_many_without_a_key() -> None:
    table = table_of(connections_per_address=5)
    strangers, others = admit(table, 20), admit(table, 5, 0.0, "192.0.2.2")
    behind = admit(table, 20, 0.0, None)
    known = admit(table, 20)
    for each in known:
        table.note_valid_key(each)
    table.sweep(0.5)
    assert states(strangers) == ["open"] * 20  # a burst is none
    table.sweep(1.5)
    assert states(strangers) == ["evicted"] * 15 + ["open"] * 5
    assert {each.state for each in (*others, *behind, *known)} == {"open"}


def test_what_is_overdue_is_ended() -> None:
    table = table_of()
    late, later = Fake(table, deadline=1.0), Fake(table, deadline=3.0)
    for each in (late, later):
        table.admit(each, 0.0)
    table.sweep(2.0)
    assert (late.state, later.state) == ("expired", "open")


def test_files_are_left_for_turns(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    assert build_limits(HttpSpec(), None, 65_536).connections == 2_000
    assert not caplog.records
    assert build_limits(HttpSpec(), None, 1_024).connections == 448
    assert "448 of 2000" in caplog.text
    monkeypatch.setattr(connections, "raise_file_limit", lambda: 1_024)
    table = table_of()
    (first,) = admit(table, 1)
    assert table.admit(Fake(table), 1.0, file=1_024 - RESERVED_FILES)
    assert first.state == "evicted"


def test_a_low_file_does_not_say_that_files_no_longer_run_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was closed to make room leaves a low number, which the next connection gets."""
    monkeypatch.setattr(connections, "raise_file_limit", lambda: 1_024)
    table = table_of()
    admit(table, 4)
    for low, high in ((10, 960), (11, 961), (12, 962)):
        assert table.admit(Fake(table), 1.0, file=high)
        assert table.admit(Fake(table), 1.0, file=low)
    assert len(table) == 4
    monkeypatch.setattr(connections, "is_short_of_files", lambda limit: False)
    table.sweep(1.0)
    assert table.admit(Fake(table), 1.0, file=13)
    assert len(table) == 5


def test_files_that_are_open_are_counted() -> None:
    used = len(os.listdir("/dev/fd"))
    assert not is_short_of_files(RESERVED_FILES + used + 10)
    assert is_short_of_files(RESERVED_FILES + used - 1)


def test_a_limit_of_the_environment_wins() -> None:
    assert build_limits(HttpSpec(), 7, 1_024).body_size == 7
    assert build_limits(HttpSpec(body_size=9), None, 1_024).body_size == 9


def test_limits_are_those_of_the_current_snapshot() -> None:
    current = HttpSpec(header_count=11)
    table = ConnectionTable(lambda: current, Metrics(), None)
    assert table.limits.spec.header_count == 11
    current = HttpSpec(header_count=12)
    assert table.limits.spec.header_count == 12


def test_an_address_is_logged_once_a_minute_and_counted_each_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    metrics = Metrics()
    spec = HttpSpec()
    table = ConnectionTable(lambda: spec, metrics, None)
    for number in range(300):
        for _ in range(10):
            table.note_refusal(f"192.0.2.{number}", "header_size")
    assert len(caplog.records) == connections.LINES_A_MINUTE
    page, _ = metrics.render_page("", StoreFigures(is_up=True))
    assert b'interlock_refused_connections_total{reason="header_size"} 3000.0' in page
