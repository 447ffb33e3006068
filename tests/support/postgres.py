"""A real PostgreSQL on a free loopback port, from the binaries that pgserver carries."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import psycopg
from support.environments import python_environment
from support.processes import Process, free_port, running


class Postgres:
    """A server with a database and a superuser, both named postgres, that trusts loopback."""

    def __init__(self, port: int, programs: Path, data: Path, user: str | None, log: Path) -> None:
        self.port = port
        self.programs = programs
        self._data = data
        self._user = user
        self._log = log
        self._running = ExitStack()

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def query(self, sql: str, database: str = "postgres") -> str:
        """Runs SQL with psql; rows as lines, columns separated by `|`."""
        command = [self.programs / "psql", self.url_of(database), "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1"]
        return subprocess.run([*command, "-c", sql], check=True, capture_output=True, text=True).stdout.strip()

    @contextmanager
    def database(self, name: str, template: str = "template0") -> Iterator[str]:
        """The address of a new database while the block lasts."""
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'")
        yield self.url_of(name)
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, statement: str, database: str = "postgres") -> None:
        """Runs one statement outside a transaction."""
        with psycopg.connect(self.url_of(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def start(self) -> Process:
        """Starts it, at the port that it always has; returns once it takes connections."""
        command = [
            self.programs / "postgres",
            "-D",
            self._data,
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-k",
            "",
            "-F",
        ]
        ready = re.compile("database system is ready to accept connections")
        before = len(ready.findall(self._log.read_text())) if self._log.exists() else 0
        # SIGINT is its "fast" stop: it does not wait for clients to leave.
        program = running("PostgreSQL", command, self._log, cwd=self._data, user=self._user, stop=signal.SIGINT)
        process = self._running.enter_context(program)
        self._process = psutil.Process(process.popen.pid)
        process.wait_for_line(rf"(?s)(.*{ready.pattern}){{{before + 1}}}", timeout=30)
        return process

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections, and says nothing, while the block lasts."""
        family = [self._process, *self._process.children(recursive=True)]
        for process in family:
            process.suspend()
        try:
            yield
        finally:
            for process in family:
                process.resume()

    def stop(self) -> None:
        """Ends it; all connections are lost."""
        self._running.close()


@contextmanager
def postgres(log: Path) -> Iterator[Postgres]:
    """A new, empty server while the block lasts."""
    with tempfile.TemporaryDirectory(prefix="interlock-postgres-") as name:
        folder = Path(name)
        programs, user = programs_for_us(folder)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if user:
            shutil.chown(data, user)
        initdb = [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=utf8", "--locale=C"]
        identity = {"user": user, "group": "nogroup", "extra_groups": []} if user else {}
        subprocess.run([*initdb, "--no-sync"], check=True, capture_output=True, cwd=folder, **identity)
        server = Postgres(free_port(), programs, data, user, log)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def programs_for_us(folder: Path) -> tuple[Path, str | None]:
    """The folder of PostgreSQL's programs, and who must run them.

    PostgreSQL refuses to run as root. Under root another user runs it, who may not be able to read our home: that one
    gets a copy.
    """
    installed = next(python_environment("pgserver").glob("lib/python*/site-packages"))
    if os.geteuid() != 0:
        return installed / "pgserver" / "pginstall" / "bin", None
    folder.chmod(0o755)
    shutil.copytree(installed / "pgserver" / "pginstall", folder / "pgserver" / "pginstall")
    if (libraries := installed / "pgserver.libs").exists():
        shutil.copytree(libraries, folder / "pgserver.libs")
    return folder / "pgserver" / "pginstall" / "bin", "nobody"
