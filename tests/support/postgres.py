"""A real PostgreSQL on a free loopback port, from the binaries that pgserver carries."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.environments import python_environment
from support.processes import free_port, running


@dataclass(frozen=True)
class Postgres:
    """A server with one database and one superuser, both named postgres, that trusts loopback."""

    port: int
    programs: Path

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable"

    def query(self, sql: str) -> str:
        """Runs SQL with psql; rows as lines, columns separated by `|`."""
        command = [self.programs / "psql", self.url, "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


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
        port = free_port()
        command = [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"]
        # SIGINT is its "fast" stop: it does not wait for clients to leave.
        with running("PostgreSQL", command, log, cwd=folder, user=user, stop=signal.SIGINT) as process:
            process.wait_for_line("database system is ready to accept connections", timeout=30)
            yield Postgres(port, programs)


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
