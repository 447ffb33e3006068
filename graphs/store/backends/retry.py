"""Transactions on PostgreSQL: run again where that is safe and may help, else failed in words."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Literal, TypeVar

import psycopg
from psycopg.pq import PGconn, Ping
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_delay,
    stop_when_event_set,
    wait_exponential,
    wait_random_exponential,
)
from tenacity.nap import sleep_using_event

from graphs.errors import StorageError
from graphs.store.backends.address import PostgresAddress

log = logging.getLogger(__name__)

T = TypeVar("T")

LOST_STATES = ("08", "57P01", "57P02", "57P03")
"""SQLSTATEs (or their beginnings) of connections that ended, and of a server that comes up or goes down."""
CONFLICT_STATES = ("40001", "40P01")
"""SQLSTATEs by which PostgreSQL says that the same transaction may succeed the next time."""
CURES = {
    # Since PostgreSQL 15 the schema `public` belongs to the owner of its database.
    "42501": "; let the user own the database, or GRANT USAGE, CREATE ON SCHEMA public TO it",
}
"""What to do about an error, by its SQLSTATE."""
BACK_OFF = wait_exponential(multiplier=0.01, max=0.25) + wait_random_exponential(multiplier=0.02, max=0.5)
"""Seconds between two attempts: 0.02, doubled up to 0.5, and half of it more or less."""

FailureKind = Literal["unreachable", "refused", "conflict", "lost", "lost in commit", "wrong"]
TRANSIENT: frozenset[FailureKind] = frozenset({"unreachable", "conflict", "lost"})


class Retry:
    """The attempts at one transaction, for `patience` seconds or until `cancelled` is set.

    `is_repeatable`: it may be repeated even if it may be committed.
    """

    def __init__(
        self, address: PostgresAddress, patience: float, cancelled: threading.Event, *, is_repeatable: bool
    ) -> None:
        self._address = address
        self._patience = patience
        self._is_repeatable = is_repeatable
        self._is_over = stop_after_delay(patience) | stop_when_event_set(cancelled)
        self._retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, _AttemptFailed) and error.kind in TRANSIENT),
            stop=self._should_stop,
            wait=BACK_OFF,
            sleep=sleep_using_event(cancelled),
            before_sleep=self._warn_once,
            reraise=True,
        )
        self._refusals = 0
        self._has_warned = False

    def run(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns, once its transaction is committed. Raises StorageError."""
        try:
            return self._retrying(self._attempt, engine, work)
        except _AttemptFailed as failed:
            raise StorageError(self._describe_failure(failed)) from failed.__cause__

    def _attempt(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        connected = worked = False
        try:
            with engine.connect() as connection:
                connected = True
                with connection.begin():
                    result = work(connection)
                    worked = True
        except (DBAPIError, psycopg.Error) as error:
            fault = error.orig if isinstance(error, DBAPIError) else error
            raise _AttemptFailed(self._classify(fault, connected=connected, worked=worked), fault) from error
        return result

    def _classify(self, fault: BaseException | None, *, connected: bool, worked: bool) -> FailureKind:
        """`worked`: only the commit can have failed."""
        if not connected:
            # One refusal may be chance: the server came up between the attempt and the question.
            self._refusals += self._is_server_up()
            return "refused" if self._refusals > 1 else "unreachable"
        if find_sqlstate(fault) in CONFLICT_STATES:
            return "conflict"
        if not is_lost(fault):
            return "wrong"
        return "lost in commit" if worked and not self._is_repeatable else "lost"

    def _is_server_up(self) -> bool:
        """Whether the server that did not let us in is there: a wrong password, no such database, too many users."""
        return PGconn.ping(self._address.conninfo.encode()) == Ping.OK

    def _should_stop(self, state: RetryCallState) -> bool:
        # After a first refusal another attempt tells what it means, however late it is.
        return self._refusals != 1 and self._is_over(state)

    def _warn_once(self, state: RetryCallState) -> None:
        failed = state.outcome.exception() if state.outcome is not None else None
        if self._has_warned or self._refusals or not isinstance(failed, _AttemptFailed) or failed.kind == "conflict":
            return
        self._has_warned = True
        words = self._quote(failed.fault)
        log.warning("%s cannot be reached; trying again for %.0f s: %s", self._address.place, self._patience, words)

    def _describe_failure(self, failed: _AttemptFailed) -> str:
        place, words = self._address.place, self._quote(failed.fault)
        match failed.kind:
            case "refused":
                cure = "check the user, the password and the database that `storage` names"
                return f"{place} does not let us in: {words}; {cure}"
            case "unreachable":
                return f"{place} cannot be reached: {words}; is it running, and is the address in `storage` right?"
            case "lost in commit":
                return f"{place} was lost in the middle of a commit, so whether it was kept is not known: {words}"
            case "lost":
                return f"{place} was lost: {words}"
            case "conflict" | "wrong":
                return f"{place} cannot be used: {words}{CURES.get(find_sqlstate(failed.fault), '')}"

    def _quote(self, fault: BaseException | None) -> str:
        """What PostgreSQL said, on one line. Not its details, which quote rows, and never the password."""
        said = fault.diag.message_primary if isinstance(fault, psycopg.Error) else None
        words = " ".join((said or str(fault)).split())
        return words.replace(self._address.password, "…") if self._address.password else words


class _AttemptFailed(Exception):
    """One attempt failed; `fault` is what the driver raised."""

    def __init__(self, kind: FailureKind, fault: BaseException | None) -> None:
        super().__init__(kind)
        self.kind: FailureKind = kind
        self.fault = fault


def find_sqlstate(fault: BaseException | None) -> str:
    """The SQLSTATE of an error; empty where it has none."""
    return getattr(fault, "sqlstate", None) or ""


def is_lost(fault: BaseException | None) -> bool:
    """Whether the connection ended, rather than the statement being wrong. Such errors mostly carry no SQLSTATE."""
    if isinstance(fault, psycopg.OperationalError | psycopg.InterfaceError):
        return fault.sqlstate is None or fault.sqlstate.startswith(LOST_STATES)
    return False
