"""Make and restore backups: a copy of the database and the key files in one archive, checked when it is restored."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO

from graphs.errors import StorageError
from graphs.store.audit.chain import ChainReport
from graphs.store.backends.address import parse_postgres_address
from graphs.store.backends.sqlite import parse_sqlite_path
from graphs.store.backup.archive import BadArchive, compute_sum, read_archive, write_archive
from graphs.store.backup.description import DatabaseDescription, check_revision
from graphs.store.backup.manifest import (
    DATA_FOLDER,
    DATABASE_FILES,
    INCLUDED_FOLDER,
    DatabaseKind,
    Manifest,
)
from graphs.store.backup.postgres_copy import check_postgres_vacancy, copy_postgres, load_postgres
from graphs.store.backup.sqlite_copy import check_sqlite_vacancy, copy_sqlite
from graphs.store.store import Store, is_postgres

__all__ = [
    "DATA_FOLDER",
    "INCLUDED_FOLDER",
    "BadArchive",
    "Manifest",
    "Restored",
    "create_backup",
    "restore_backup",
]

_KIND_NAMES: Mapping[DatabaseKind, str] = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def create_backup(
    stream: IO[bytes], storage: str, data: Path, *, key_files: Sequence[str], included: Sequence[Path], work: Path
) -> Manifest:
    """Write a backup of what `storage` names, or of `data`/interlock.db, to `stream`; others may read and write it
    meanwhile. Blocks its thread.

    `key_files` are the names of files in `data`, those that exist; `included` further files, or folders whose files are
    taken; `work` is an empty folder for the copies, on a disk that has room for the database. Raises StorageError, and
    OSError where a file cannot be read or written.
    """
    created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    files: dict[str, Path] = {}
    # The keys first: one that is made meanwhile is in neither, instead of in the database alone.
    for name in key_files:
        if (data / name).is_file():
            files[DATA_FOLDER + name] = _copy_private(data / name, work / name)
    for number, path in enumerate(_list_files(included)):
        files[INCLUDED_FOLDER + path[0]] = _copy_private(path[1], work / f"included-{number}")
    copy = work / "store"
    found = _copy_database(storage, data, copy)
    files = {DATABASE_FILES[found.kind]: copy, **files}
    manifest = Manifest(
        format=1,
        interlock=version("interlock"),
        created=created,
        database=found.kind,
        database_version=found.version,
        revision=found.revision,
        audit_seq=found.audit_head.seq,
        audit_hash=found.audit_head.hash,
        files={name: compute_sum(file) for name, file in files.items()},
    )
    write_archive(stream, manifest, files)
    return manifest


def _copy_database(storage: str, data: Path, copy: Path) -> DatabaseDescription:
    if is_postgres(storage):
        return copy_postgres(parse_postgres_address(storage), copy)
    return copy_sqlite(parse_sqlite_path(storage, data), copy)


def _copy_private(source: Path, target: Path) -> Path:
    """Copy a file, so that its checksum stays that of what is written. Raises OSError."""
    target.touch(mode=0o600)
    shutil.copyfile(source, target)
    return target


def _list_files(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """List the files of these paths, each with its name in the archive: that of the path, and what is below it. Raises
    OSError for a path that is not there, and StorageError for two of one name and for what cannot be taken."""
    found: dict[str, Path] = {}
    for path in paths:
        base = path.absolute()
        files = sorted(_iter_folder(base, base.resolve(), set())) if base.is_dir() else [base]
        for file in files:
            name = file.relative_to(base.parent).as_posix()
            if found.setdefault(name, file) != file:
                raise StorageError(f"two files to include would both be {name}: {found[name]} and {file}")
    return list(found.items())


def _iter_folder(folder: Path, root: Path, above: Set[Path]) -> Iterator[Path]:
    """Yield the files below a folder of the included folder `root`. Kubernetes mounts files as links into a folder
    called `..DATE`, which is passed over, and so are links that lead back up. Raises StorageError for a link that is
    broken or leads out of `root`, and for pipes and the like: a backup without them would not be whole."""
    here = folder.resolve()
    for entry in folder.iterdir():
        is_folder = entry.is_dir()
        if is_folder and entry.name.startswith(".."):
            continue
        if not is_folder and not entry.is_file():
            found = "a link to nothing" if entry.is_symlink() else "neither a file nor a folder"
            raise StorageError(f"{entry} is {found}, which no backup can hold: move it away, or include less")
        if not (place := entry.resolve()).is_relative_to(root):
            raise StorageError(
                f"{entry} leads to {place}, out of the included folder {root}: include that path too, and move the "
                "link away"
            )
        if not is_folder:
            yield entry
        elif here not in above:
            yield from _iter_folder(entry, root, {*above, here})


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a restore did."""

    manifest: Manifest
    place: str
    """Where the database is now, for people."""
    files: tuple[Path, ...]
    """The key files that were written."""
    audit: ChainReport


def restore_backup(stream: IO[bytes], name: str, storage: str, data: Path, *, key_files: Sequence[str]) -> Restored:
    """Restore a backup into what `storage` names, or `data`/interlock.db, and into `data`; `name` is the archive's.
    Blocks its thread, which may run no event loop. `key_files` are the names that files may get in `data`.

    Everything is checked before anything is written: the checksums, the shape of the tables, that nothing is there, and
    for SQLite the audit's chain; PostgreSQL's is checked where it was restored. Raises BadArchive, StorageError and
    OSError.
    """
    address = parse_postgres_address(storage) if is_postgres(storage) else None
    path = data / "interlock.db" if address else parse_sqlite_path(storage, data)
    if address:
        check_postgres_vacancy(address)
    else:
        check_sqlite_vacancy(path, data)
    if not address:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A file's copy lies on the disk where it is to be, so that it gets there whole, by its new name.
    with tempfile.TemporaryDirectory(prefix=".interlock-restore-", dir=None if address else path.parent) as folder:
        work = Path(folder)
        manifest = read_archive(stream, name, work)
        _check_manifest(manifest, "postgresql" if address else "sqlite", name, key_files)
        targets = {work / DATA_FOLDER / file: data / file for file in manifest.list_below(DATA_FOLDER)}
        if present := [target for target in targets.values() if target.exists()]:
            raise StorageError(f"{present[0]} exists, and a restore replaces nothing: move it away")
        copy = work / DATABASE_FILES[manifest.database]
        if address:
            load_postgres(address, copy)
        report = asyncio.run(_verify(storage if address else f"sqlite:///{copy.absolute()}", data, manifest, name))
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for source, target in targets.items():
            shutil.move(source, target)
        # Last: a database without the keys beside it would be served with new ones.
        if not address:
            copy.replace(path)
    return Restored(
        manifest=manifest, place=address.place if address else str(path), files=tuple(targets.values()), audit=report
    )


def _check_manifest(manifest: Manifest, wanted: DatabaseKind, name: str, key_files: Sequence[str]) -> None:
    if manifest.database != wanted:
        raise StorageError(
            f"{name} is of {_KIND_NAMES[manifest.database]}, `storage` names {_KIND_NAMES[wanted]}: "
            f"restore it where `storage` or INTERLOCK_STORAGE names a {_KIND_NAMES[manifest.database]} database"
        )
    if DATABASE_FILES[manifest.database] not in manifest.files:
        raise BadArchive(f"{name}: its manifest names no copy of the database")
    known = {DATABASE_FILES[manifest.database], *(DATA_FOLDER + file for file in key_files)}
    for file in manifest.files:
        if file not in known and not file.startswith(INCLUDED_FOLDER):
            raise BadArchive(f"{name}: its manifest names {file!r}, which this Interlock puts into no backup")
    check_revision(manifest.revision)


async def _verify(storage: str, data: Path, manifest: Manifest, name: str) -> ChainReport:
    """Check the audit of a restored database, which is migrated where it is older. Raises StorageError."""
    store = await Store.open(storage, data)
    try:
        head = manifest.audit_head
        report = await store.audit.verify({head.seq: head.hash} if head.seq else {})
    finally:
        await store.close()
    if report.flaw is not None:
        raise StorageError(f"{name}: the audit in it is not whole: {report.flaw.description}")
    if report.head != head:
        raise StorageError(f"{name}: the audit in it ends with {report.head}, its manifest says {head}")
    return report
