"""The address of a PostgreSQL, read by libpq's rules, and shown to people without its password."""

from __future__ import annotations

from dataclasses import dataclass, field

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from graphs.errors import StorageError

DEFAULTS = {
    "application_name": "interlock",
    "client_encoding": "utf8",
    # Seconds for one attempt to connect; and a server that vanished without a word is noticed within half a minute.
    "connect_timeout": "5",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""What the address may say otherwise."""


@dataclass(frozen=True, kw_only=True)
class PostgresAddress:
    """Where a PostgreSQL is, and how to be let in."""

    conninfo: str = field(repr=False)
    password: str | None = field(repr=False)
    place: str
    """For people."""


def parse_postgres_address(url: str) -> PostgresAddress:
    """Parse the address `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE`, with all of libpq's options.

    Raises StorageError in words that never hold the URL.
    """
    _, _, rest = url.partition("://")
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(f"postgresql://{rest}").items()}
    except psycopg.ProgrammingError:
        # Its words quote the address.
        parts = {"host": "@"}
    # A bare @ or / in a password moves its rest into the host, the port or the database, which errors name.
    misread = "@" in parts.get("host", "") + parts.get("dbname", "")
    if misread or not parts.get("port", "0").replace(",", "").isdecimal():
        raise StorageError(
            "storage: the address of PostgreSQL cannot be read; expected "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE, with %40 for @ and %2F for / in the password"
        )
    host = parts.get("host") or parts.get("hostaddr") or "this machine"
    port = f":{parts['port']}" if "port" in parts else ""
    database = f"/{parts['dbname']}" if "dbname" in parts else ""
    return PostgresAddress(
        conninfo=make_conninfo(**{**DEFAULTS, **parts}),
        password=parts.get("password"),
        place=f"PostgreSQL at {host}{port}{database}",
    )
