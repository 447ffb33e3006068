"""`interlock backup` and `restore` where nobody serves: what is refused and in which words, and what is left of it."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.configs import MINIMAL_GRAPH, write_configs
from support.postgres import Postgres
from typer.testing import CliRunner, Result

from graphs.store.audit.record import AuditEntry
from graphs.store.store import Store
from server.cli.main import app

GATEWAY = "models: {base_url: http://127.0.0.1:9/v1, default: one}\n"
KEYS = "# made\nadmin=ilk_0123456789\n"


@dataclass(frozen=True)
class Place:
    """A config folder, a data folder, a storage, and commands there."""

    folder: Path
    storage: str = ""
    path: str = ""
    """Of programs, before the machine's."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def invoke(self, *words: str | Path, stdin: bytes = b"") -> Result:
        env = {"INTERLOCK_DATA": str(self.data), "INTERLOCK_STORAGE": self.storage}
        env |= {"INTERLOCK_CONFIGS": str(self.folder / "configs"), **self.env}
        env["PATH"] = self.path if self.path.startswith("!") else f"{self.path}{os.pathsep}{os.environ['PATH']}"
        return CliRunner().invoke(app, [str(word) for word in words], env=env, input=stdin)

    def succeed(self, *words: str | Path, stdin: bytes = b"") -> Result:
        result = self.invoke(*words, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result

    def fail(self, *words: str | Path, stdin: bytes = b"", code: int = 1) -> str:
        """What it says, on stderr alone."""
        result = self.invoke(*words, stdin=stdin)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        return result.stderr


def use(place: Place) -> Place:
    """The place with configs, keys, a database, and a few records in its audit."""
    write_configs(place.folder / "configs", {"gateway.yaml": GATEWAY, "graphs/assistant.yaml": MINIMAL_GRAPH})
    place.data.mkdir()
    (place.data / "keys.env").write_text(KEYS)
    asyncio.run(record(place))
    return place


async def record(place: Place) -> None:
    store = await Store.open(place.storage, place.data)
    for number in range(3):
        await store.audit.append([AuditEntry(time=float(number), kind="decision", rule=f"rule {number}", args={})])
    await store.close()


@pytest.fixture
def used(tmp_path: Path) -> Place:
    return use(Place(tmp_path / "used"))


@pytest.fixture
def empty(used: Place, tmp_path: Path) -> Place:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "configs").symlink_to(used.folder / "configs")
    return Place(tmp_path / "empty")


@pytest.fixture
def archive(used: Place) -> bytes:
    """What `backup -` writes; what it says is not in it."""
    result = used.succeed("backup", "-")
    assert "audit head 3:" in result.stderr
    return result.stdout_bytes


def rewrite(archive: bytes, tampered: str = "", **changes: object) -> bytes:
    """The archive with other words in its manifest; the last byte of `tampered` is another one."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=out, mode="w:gz") as new:
        for member in old:
            content = old.extractfile(member)
            assert content is not None
            data = content.read()
            if member.name == "manifest.json":
                data = json.dumps({**json.loads(data), **changes}).encode()
            if member.name == tampered:
                data = data[:-1] + bytes([data[-1] ^ 1])
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return out.getvalue()


def test_an_archive_through_a_pipe_is_restored_from_one(empty: Place, archive: bytes) -> None:
    assert "the store: 3 records, 1 to 3, whole" in empty.succeed("restore", "-", stdin=archive).stdout
    assert (empty.data / "keys.env").read_text() == KEYS
    assert (empty.data / "keys.env").stat().st_mode & 0o777 == 0o600
    assert "3 records, 1 to 3, whole" in empty.succeed("audit", "verify").stdout


def test_the_manifest_says_what_the_backup_is_of(used: Place, archive: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        members = {member.name: member for member in opened}
        content = opened.extractfile("manifest.json")
        assert content is not None
        manifest = json.load(content)
    assert [*members] == ["manifest.json", "store.sqlite", "data/keys.env"]
    assert {member.mode for member in members.values()} == {0o600}
    assert manifest["database"] == "sqlite"
    assert manifest["interlock"]
    assert manifest["revision"].startswith("00")
    assert manifest["audit_seq"] == 3
    assert manifest["files"]["data/keys.env"]["bytes"] == len(KEYS)
    assert manifest["files"].keys() == {"store.sqlite", "data/keys.env"}


def test_included_files_are_in_the_archive_and_stay_there(used: Place, empty: Place, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar.gz"
    used.succeed("backup", file, "--include", used.folder / "configs", "--include", used.data / "keys.env")
    printed = empty.succeed("restore", file).stdout
    assert f"take them out with: tar -xzf {file} included/" in printed
    assert {entry.name for entry in empty.data.iterdir()} == {"interlock.db", "keys.env"}
    with tarfile.open(file) as opened:
        names = opened.getnames()
    assert "included/configs/graphs/assistant.yaml" in names
    assert "included/keys.env" in names
    two = ["--include", used.data / "keys.env", "--include", copy_of(used.data / "keys.env", tmp_path / "other")]
    assert "would both be keys.env" in used.fail("backup", "-", *two)


def test_files_that_kubernetes_mounts_are_included_once(used: Place, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    dated = mounted / "..2026_01_01"
    (dated / "graphs").mkdir(parents=True)
    (dated / "access.yaml").write_text("roles: {}\n")
    (dated / "graphs" / "one.yaml").write_text("nodes: {}\n")
    (mounted / "..data").symlink_to(dated.name)
    (mounted / "access.yaml").symlink_to("..data/access.yaml")
    (mounted / "graphs").symlink_to("..data/graphs")
    (dated / "graphs" / "up").symlink_to("..")
    used.succeed("backup", tmp_path / "backup.tar.gz", "--include", mounted)
    with tarfile.open(tmp_path / "backup.tar.gz") as opened:
        names = [name for name in opened.getnames() if name.startswith("included/")]
    assert names[:2] == ["included/mounted/access.yaml", "included/mounted/graphs/one.yaml"]
    assert len(names) < 5


def copy_of(file: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / file.name).write_bytes(file.read_bytes())
    return folder / file.name


def test_nothing_is_replaced(used: Place, archive: bytes, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar.gz"
    file.write_bytes(archive)
    assert "exists, and a backup replaces none" in used.fail("backup", file, code=2)
    assert file.read_bytes() == archive
    before = {entry: entry.read_bytes() for entry in used.data.iterdir() if entry.is_file()}
    said = used.fail("restore", file)
    assert f"{used.data} is not empty (it has " in said
    assert "a restore replaces nothing: name an empty folder with INTERLOCK_DATA, or move these away" in said
    assert {entry: entry.read_bytes() for entry in used.data.iterdir() if entry.is_file()} == before


def test_a_database_elsewhere_is_not_replaced_and_neither_are_keys(empty: Place, archive: bytes) -> None:
    elsewhere = empty.folder / "elsewhere.db"
    place = Place(empty.folder, storage=str(elsewhere))
    place.data.mkdir()
    (place.data / "keys.env").write_text("mine")
    assert "keys.env exists, and a restore replaces nothing" in place.fail("restore", "-", stdin=archive)
    assert not elsewhere.exists()
    (place.data / "keys.env").unlink()
    elsewhere.with_name("elsewhere.db-wal").touch()
    assert "is not empty (it has elsewhere.db-wal)" in place.fail("restore", "-", stdin=archive)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"revision": "9999_from_tomorrow"}, "the backup has shape 9999_from_tomorrow, this Interlock knows "),
        ({"format": 2}, "a newer Interlock may have made it"),
        ({"database": "postgresql"}, "is of PostgreSQL, `storage` names SQLite"),
        ({"tampered": "store.sqlite"}, "store.sqlite is not what was backed up: its checksum is another one"),
        ({"tampered": "data/keys.env"}, "data/keys.env is not what was backed up"),
        ({"audit_hash": "0" * 64}, "is another one than was there before"),
        ({"audit_seq": 2}, "is another one than was there before"),
        ({"files": {}}, "'store.sqlite' is in it, and its manifest does not name it"),
        ({"files": {"../out": {"bytes": 1, "sha256": ""}}}, "names '../out', which is no place in a backup"),
        ({"files": {"data//out": {"bytes": 1, "sha256": ""}}}, "names 'data//out', which is no place in a backup"),
    ],
    ids=["newer", "format", "database", "store", "keys", "hash", "head", "unnamed", "outside", "rooted"],
)
def test_what_is_no_whole_backup_for_this_place_is_refused_and_leaves_nothing(
    empty: Place, archive: bytes, change: Mapping[str, str], complaint: str
) -> None:
    assert complaint in empty.fail("restore", "-", stdin=rewrite(archive, **change))
    assert list(empty.data.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda archive: archive[: len(archive) // 2], "damaged or cut off"),
        (lambda _: b"age-encryption.org/v1\n", "an encrypted one is decrypted first"),
        (lambda _: gzip.compress(b""), "the backup is no backup"),
        (lambda _: b"", "the backup is no backup"),
    ],
    ids=["half", "encrypted", "empty", "nothing"],
)
def test_a_file_that_is_no_archive_is_refused(
    empty: Place, archive: bytes, spoil: Callable[[bytes], bytes], complaint: str
) -> None:
    assert complaint in empty.fail("restore", "-", stdin=spoil(archive))
    assert list(empty.data.iterdir()) == []
    assert "No such file or directory" in empty.fail("restore", empty.folder / "absent.tar.gz")


def pack(name: str, content: bytes, **headers: str) -> bytes:
    """An archive of one file, with these pax headers."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size, member.pax_headers = len(content), headers
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def test_an_archive_with_words_of_an_attacker_is_refused_in_words(empty: Place, archive: bytes) -> None:
    assert "is damaged" in empty.fail("restore", "-", stdin=pack("x", b"", **{"GNU.sparse.map": "a,b"}))
    said = empty.fail("restore", "-", stdin=pack("manifest.json", b"no JSON"))
    assert said.startswith("the backup: manifest.json cannot be read; ")
    # A restore writes what a backup holds, and nothing else into the data folder.
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=out, mode="w:gz") as new:
        for member in old:
            content = old.extractfile(member)
            assert content is not None
            data = content.read().replace(b"data/keys.env", b"data/evil.env")
            member.name, member.size = member.name.replace("keys.env", "evil.env"), len(data)
            new.addfile(member, io.BytesIO(data))
    said = empty.fail("restore", "-", stdin=out.getvalue())
    assert "its manifest names 'data/evil.env', which this Interlock puts into no backup" in said
    assert list(empty.data.iterdir()) == []


def start(place: Place, *words: str, folder: Path) -> subprocess.Popen[bytes]:
    """The command in a process of its own, with its temporary files in the folder."""
    env = {"INTERLOCK_DATA": str(place.data), "INTERLOCK_CONFIGS": str(place.folder / "configs")}
    return subprocess.Popen(
        [Path(sys.executable).with_name("interlock"), *words],
        env=os.environ | env | {"TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Where nohup runs the tests, the signal is ignored, and so it would be there.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_working_folder_of_a_backup(used: Place, tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    (tmp_path / "large").write_bytes(os.urandom(1_000_000))  # more than a pipe holds
    process = start(used, "backup", "-", "--include", str(tmp_path / "large"), folder=folder)
    assert process.stdout is not None
    process.stdout.read(1)  # it writes, and waits for the pipe
    assert list(folder.glob(".interlock-backup-*"))
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert list(folder.iterdir()) == []


def test_a_signal_leaves_no_working_folder_of_a_restore(empty: Place, archive: bytes, tmp_path: Path) -> None:
    with start(empty, "restore", "-", folder=tmp_path) as process:
        assert process.stdin is not None
        process.stdin.write(archive[: len(archive) // 2])
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while not list(empty.data.glob(".interlock-restore-*")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert list(empty.data.iterdir()) == []


def test_an_older_backup_is_brought_to_the_tables_of_today(used: Place, empty: Place, archive: bytes) -> None:
    script = (Path(__file__).parents[2] / "support" / "store_version_1.sql").read_text()
    (used.data / "interlock.db").unlink()
    with closing(sqlite3.connect(used.data / "interlock.db")) as connection:
        connection.executescript(script)
    old = used.succeed("backup", "-")
    assert "audit head 0:" in old.stderr
    with closing(sqlite3.connect(used.data / "interlock.db")) as connection:
        # A backup before an upgrade is no upgrade.
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'audit'").fetchone() == (0,)
    assert "the store: no records, whole" in empty.succeed("restore", "-", stdin=old.stdout_bytes).stdout


def test_older_backups_are_deleted_after_a_new_one_and_nothing_else(used: Place, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    for name in ("interlock-20250101T000000Z.tar.gz", "interlock-20250102T000000Z.tar.gz", "notes.txt"):
        (folder / name).write_text("older")
    killed, running = folder / ".interlock-backup-killed", folder / ".interlock-backup-running"
    killed.mkdir()
    running.mkdir()
    os.utime(killed, (0, 0))
    printed = used.succeed("backup", folder, "--keep", "2").stdout
    assert f"deleted {folder / 'interlock-20250101T000000Z.tar.gz'}" in printed
    names = sorted(file.name for file in folder.iterdir())
    assert names[:2] == [".interlock-backup-running", "interlock-20250102T000000Z.tar.gz"]
    assert names[3:] == ["notes.txt"]
    assert (folder / names[2]).stat().st_mode & 0o777 == 0o600
    assert "is none" in used.fail("backup", folder / "new.tar.gz", "--keep", "2", code=2)


def test_a_backup_of_a_clock_that_was_ahead_costs_the_new_one_nothing(used: Place, tmp_path: Path) -> None:
    ahead = tmp_path / "interlock-20990101T000000Z.tar.gz"
    ahead.write_text("ahead")
    printed = used.succeed("backup", tmp_path, "--keep", "1").stdout
    assert f"deleted {ahead}" in printed
    [new] = tmp_path.glob("interlock-*.tar.gz")
    assert printed.startswith(f"{new}: ")


def test_what_killed_backups_left_is_deleted_before_the_next_copy(used: Place, tmp_path: Path) -> None:
    killed = tmp_path / ".interlock-backup-killed"
    killed.mkdir()
    os.utime(killed, (0, 0))
    used.fail("backup", tmp_path, "--include", tmp_path / "absent")
    assert not killed.exists()


def test_what_cannot_be_included_fails_the_backup_in_words(used: Place, tmp_path: Path) -> None:
    mine, backup = tmp_path / "mine", ("backup", tmp_path / "one.tar.gz", "--include", tmp_path / "mine")
    (mine / "below").mkdir(parents=True)
    entry = mine / "below" / "entry"
    entry.symlink_to("nothing")
    assert f"{entry} is a link to nothing, which no backup can hold" in used.fail(*backup)
    entry.unlink()
    os.mkfifo(entry)
    assert f"{entry} is neither a file nor a folder" in used.fail(*backup)
    for place in (used.data / "keys.env", used.data):
        entry.unlink()
        entry.symlink_to(place)
        assert f"{entry} leads to {place}, out of the included folder {mine}" in used.fail(*backup)
    entry.unlink()
    entry.symlink_to(mine)
    used.succeed(*backup)


def test_a_backup_that_fails_says_why_and_leaves_neither_a_file_nor_fewer(used: Place, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "interlock-20250101T000000Z.tar.gz").write_text("older")
    keep = ("backup", folder, "--keep", "1")
    assert "No such file or directory" in used.fail(*keep, "--include", tmp_path / "absent")
    database = used.data / "interlock.db"
    whole = database.read_bytes()
    database.write_bytes(whole[:100] + b"x" * (len(whole) - 100))
    assert "cannot be backed up" in used.fail(*keep)
    database.unlink()
    assert f"there is no database {database}; nothing has been stored there" in used.fail(*keep)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE t (x)")
    assert "holds no tables of Interlock" in used.fail(*keep)
    assert [file.name for file in folder.iterdir()] == ["interlock-20250101T000000Z.tar.gz"]
    assert "there is no folder" in used.fail("backup", tmp_path / "absent" / "one.tar.gz", code=2)


def test_a_mistake_in_another_config_file_costs_no_backup(used: Place, tmp_path: Path) -> None:
    (used.folder / "configs" / "graphs" / "assistant.yaml").write_text("nodes: {")
    file = used.folder / "configs" / "gateway.yaml"
    file.write_text(f"{GATEWAY}unknown: 1\nstorage: {used.data / 'interlock.db'}\n")
    used.succeed("backup", tmp_path / "one.tar.gz")
    file.write_text(file.read_text().replace("storage:", "storge:"))
    assert "Did you mean 'storage'?" in used.fail("backup", tmp_path / "two.tar.gz")
    file.write_text(f"{GATEWAY}storage: ${{NO_SUCH_VARIABLE}}\n")
    assert "NO_SUCH_VARIABLE" in used.fail("backup", tmp_path / "two.tar.gz")
    file.write_bytes(b"\xff")
    assert "the file is not UTF-8" in used.fail("backup", tmp_path / "two.tar.gz")


def test_pg_dump_must_be_there_and_new_enough_and_shows_no_password(tmp_path: Path, postgres_empty: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    used = use(Place(tmp_path / "used", postgres_empty.replace("postgres@", "postgres:pa55word@"), str(programs)))
    write_program(programs / "pg_dump", "echo 'pg_dump (PostgreSQL) 12.3'")
    said = used.fail("backup", tmp_path / "one.tar.gz")
    assert f"{programs / 'pg_dump'} is of version 12, the server of version 16" in said
    write_program(programs / "pg_dump", 'test "$1" = --version || { echo "$@" >&2; echo "<$PGPASSWORD>" >&2; exit 3; }')
    said = used.fail("backup", tmp_path / "one.tar.gz")
    assert "pg_dump failed: --format=custom" in said
    assert "<***>" in said
    assert "pa55word" not in said
    away = Place(used.folder, used.storage, "!")
    said = away.fail("backup", tmp_path / "one.tar.gz")
    assert "pg_dump is not on the PATH: install PostgreSQL's client programs, version 16 or newer" in said
    gone = Place(used.folder, used.storage.replace("/test", "/gone"), str(programs))
    said = gone.fail("backup", tmp_path / "one.tar.gz")
    assert "does not exist" in said
    assert "pa55word" not in said
    assert not (tmp_path / "one.tar.gz").exists()


def write_program(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_keys_are_not_replaced_beside_a_new_postgresql(
    tmp_path: Path, postgres_shared: Postgres, postgres_empty: str
) -> None:
    programs = str(postgres_shared.programs)
    used = use(Place(tmp_path / "used", postgres_empty, programs))
    file = tmp_path / "backup.tar.gz"
    used.succeed("backup", file)
    said = used.fail("restore", file)
    assert "is not empty (it has public." in said
    assert "make an empty database" in said
    with postgres_shared.database("untouched") as url:
        place = Place(used.folder, url, programs)
        assert "keys.env exists, and a restore replaces nothing" in place.fail("restore", file)
        assert postgres_shared.query("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", "untouched") == "0"
        (used.data / "keys.env").unlink()
        assert "3 records, 1 to 3, whole" in place.succeed("restore", file).stdout
