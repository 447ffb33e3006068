"""What to do when PostgreSQL fails a transaction: try again where that is safe and may help, else say why in words."""

from __future__ import annotations

import logging
import random
import threading
import time

import psycopg
from psycopg.pq import PGconn, Ping
from sqlalchemy.exc import DBAPIError

from graphs.errors import StorageError
from graphs.store.backends.address import PostgresAddress

log = logging.getLogger(__name__)

LOST_STATES = ("08", "57P01", "57P02", "57P03")
"""SQLSTATEs (or their beginnings) of connections that ended, and of a server that comes up or goes down."""
CONFLICT_STATES = ("40001", "40P01")
"""SQLSTATEs by which PostgreSQL says that the same transaction may succeed the next time."""
CURES = {
    # Since PostgreSQL 15 the schema `public` belongs to the owner of its database.
    "42501": "; let the user own the database, or GRANT USAGE, CREATE ON SCHEMA public TO it",
}
"""What to do about an error, by its SQLSTATE."""


class Retry:
    """The attempts at one transaction."""

    def __init__(
        self, address: PostgresAddress, patience: float, cancelled: threading.Event, *, is_repeatable: bool
    ) -> None:
        """For `patience` seconds, or until it is given up. `again`: it may be repeated even if it may be committed."""
        self._address = address
        self._patience = patience
        self._until = time.monotonic() + patience
        self._cancelled = cancelled
        self._is_repeatable = is_repeatable
        self._pause = 0.02
        self._refusals = 0
        self._has_warned = False

    def wait_or_raise(self, error: DBAPIError | psycopg.Error, *, connected: bool, worked: bool) -> None:
        """Returns when it is time for another attempt. `worked`: only the commit can have failed.

        Raises StorageError if another attempt cannot help.
        """
        fault = error.orig if isinstance(error, DBAPIError) else error
        place = self._address.place
        words = self._describe(fault)
        state: str = getattr(fault, "sqlstate", None) or ""
        in_time = time.monotonic() < self._until and not self._cancelled.is_set()
        if not connected:
            if self._is_refused():
                if self._refusals > 1:
                    cure = "check the user, the password and the database that `storage` names"
                    raise StorageError(f"{place} does not let us in: {words}; {cure}") from error
            elif not in_time:
                cure = "is it running, and is the address in `storage` right?"
                raise StorageError(f"{place} cannot be reached: {words}; {cure}") from error
        elif state in CONFLICT_STATES:
            if not in_time:
                raise StorageError(f"{place} cannot be used: {words}") from error
        elif not is_lost(fault):
            raise StorageError(f"{place} cannot be used: {words}{CURES.get(state, '')}") from error
        elif worked and not self._is_repeatable:
            raise StorageError(
                f"{place} was lost in the middle of a commit, so whether it was kept is not known: {words}"
            ) from error
        elif not in_time:
            raise StorageError(f"{place} was lost: {words}") from error
        if state not in CONFLICT_STATES and not self._refusals and not self._has_warned:
            self._has_warned = True
            log.warning("%s cannot be reached; trying again for %.0f s: %s", place, self._patience, words)
        self._cancelled.wait(self._pause * random.uniform(0.5, 1.5))  # noqa: S311
        self._pause = min(self._pause * 2, 0.5)

    def _is_refused(self) -> bool:
        """Whether a server that is up would not have us: a wrong password, no such database, too many connections.

        Once may be chance: it came up between the attempt and the question.
        """
        refused = PGconn.ping(self._address.conninfo.encode()) == Ping.OK
        self._refusals += refused
        return refused

    def _describe(self, fault: BaseException | None) -> str:
        """What PostgreSQL said, on one line. Not its details, which quote rows, and never the password."""
        said = fault.diag.message_primary if isinstance(fault, psycopg.Error) else None
        words = " ".join((said or str(fault)).split())
        return words.replace(self._address.password, "…") if self._address.password else words


def is_lost(fault: BaseException | None) -> bool:
    """Whether the connection ended, rather than the statement being wrong. Such errors mostly carry no SQLSTATE."""
    if isinstance(fault, psycopg.OperationalError | psycopg.InterfaceError):
        return fault.sqlstate is None or fault.sqlstate.startswith(LOST_STATES)
    return False
