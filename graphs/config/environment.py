"""The environment that config files read: variables, and files that hold what a variable should (`NAME_FILE`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from graphs.errors import InterlockError

Stamp = tuple[int, int, int]
"""Inode, size and time (nanoseconds) of a file: what tells that it was written or replaced. All 0: it is not there."""

LARGEST_SECRET = 64 * 1024
"""Bytes. What is larger is no secret but a wrong path."""


class SecretUnreadable(InterlockError):
    """A `NAME_FILE` variable names a file that gives no value."""


class Environment(Mapping[str, str]):
    """Variables by name; one that is unset or empty is read from the file that `NAME_FILE` names.

    Container engines hand secrets out as files. They are read when they are asked for, so that a reload sees a new
    one, and so that nobody's `SSL_CERT_FILE` is opened. Only the variables themselves are iterated: what is handed on
    to another process names the files and does not hold what is in them.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.secret_files: dict[str, Stamp] = {}
        """Every file that was asked for a secret, as it was before it was last read."""
        self._variables = dict(variables)

    def __getitem__(self, name: str) -> str:
        """Return the value. Raises KeyError where nothing gives one, SecretUnreadable where the file gives none."""
        value = self._variables.get(name)
        if value or name.endswith("_FILE"):
            return self._variables[name]
        file = self._variables.get(f"{name}_FILE")
        if not file:
            return self._variables[name]
        self.secret_files[file] = read_stamp(file)
        return read_secret(f"{name}_FILE", file)

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def build_environment(env: Mapping[str, str], data: Path) -> Environment:
    """The environment that config files read: secrets may be in files (`NAME_FILE`), and the data folder is absolute,
    because servers run elsewhere."""
    return Environment({**env, "INTERLOCK_DATA": str(data.resolve())})


def read_stamp(file: str | Path) -> Stamp:
    """Read the stamp of a file, with links followed."""
    try:
        status = Path(file).stat()
    except (OSError, ValueError):
        return (0, 0, 0)
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def read_secret(variable: str, file: str) -> str:
    """Read a file without the line ends at its end. Raises SecretUnreadable, whose message never holds the text."""
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(LARGEST_SECRET + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no path"
        raise SecretUnreadable(
            f"{variable} names {file}, which cannot be read ({reason}); put the secret there, or unset {variable}"
        ) from None
    if len(content) > LARGEST_SECRET:
        raise SecretUnreadable(
            f"{variable} names {file}, which is larger than {LARGEST_SECRET // 1024} kB; name the file of one secret"
        )
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise SecretUnreadable(f"{variable} names {file}, which is not UTF-8 text; write the secret as text") from None
    if not (text := text.rstrip("\r\n")):
        raise SecretUnreadable(f"{variable} names {file}, which is empty; put the secret there, or unset {variable}")
    return text
