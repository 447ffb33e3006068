"""The archive of a backup, a .tar.gz: the manifest first, then the files that it names."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from pydantic import ValidationError

from graphs.errors import StorageError
from graphs.store.backup.manifest import INCLUDED_FOLDER, FileSum, Manifest

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1_000_000
BLOCK = 1 << 20
"""Bytes that are read at once."""
COMPRESSION = 6


class BadArchive(StorageError):
    """A file is no whole backup; the message is for the person who named it."""


def compute_sum(file: Path) -> FileSum:
    """Compute the size and checksum of a file. Raises OSError."""
    with file.open("rb") as content:
        return FileSum(sha256=hashlib.file_digest(content, "sha256").hexdigest(), bytes=content.tell())


def write_archive(stream: IO[bytes], manifest: Manifest, files: Mapping[str, Path]) -> None:
    """Write the manifest and then the files, by their names in the archive. Raises OSError."""
    text = manifest.model_dump_json(indent=1).encode()
    with (
        gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=COMPRESSION) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        archive.addfile(_describe_member(MANIFEST, len(text)), io.BytesIO(text))
        for name, file in files.items():
            with file.open("rb") as content:
                archive.addfile(_describe_member(name, manifest.files[name].bytes), content)


def read_archive(stream: IO[bytes], name: str, folder: Path) -> Manifest:
    """Unpack an archive into `folder`, without what is below `included/`, and check every file against the manifest.

    `name` is the archive's, for messages. Raises BadArchive for all but a whole backup, and OSError.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|gz") as archive:
            members = iter(archive)
            manifest = _read_manifest(archive, next(members, None), name)
            found: set[str] = set()
            for member in members:
                if member.name not in manifest.files or not member.isreg() or member.name in found:
                    raise BadArchive(f"{name}: {member.name!r} is in it, and its manifest does not name it")
                _unpack_member(archive, member, manifest.files[member.name], name, folder)
                found.add(member.name)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError) as error:
        raise BadArchive(
            f"{name} is no backup, or is damaged or cut off ({error}); an encrypted one is decrypted first"
        ) from None
    if missing := [file for file in manifest.files if file not in found]:
        raise BadArchive(f"{name}: {', '.join(missing)} is missing: the archive was cut off")
    return manifest


def _describe_member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


def _read_manifest(archive: tarfile.TarFile, first: tarfile.TarInfo | None, name: str) -> Manifest:
    if first is None or first.name != MANIFEST or not first.isreg() or first.size > MAX_MANIFEST_BYTES:
        raise BadArchive(f"{name} is no backup of Interlock: expected {MANIFEST} as its first file")
    content = archive.extractfile(first)
    try:
        manifest = Manifest.model_validate_json(content.read() if content else b"")
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        subject = f"{place} of {MANIFEST}" if place else MANIFEST
        raise BadArchive(
            f"{name}: {subject} cannot be read; a newer Interlock may have made it: restore with that one"
        ) from None
    for file in manifest.files:
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts or not path.parts or str(path) != file:
            raise BadArchive(f"{name}: its manifest names {file!r}, which is no place in a backup")
    return manifest


def _unpack_member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, expected: FileSum, name: str, folder: Path
) -> None:
    content = archive.extractfile(member)
    assert content is not None  # noqa: S101  it is a regular file
    digest, size = hashlib.sha256(), 0
    target = None if member.name.startswith(INCLUDED_FOLDER) else folder / member.name
    if target is not None:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open_private(target) if target is not None else io.BytesIO() as copy:
        while block := content.read(BLOCK):
            digest.update(block)
            size += len(block)
            if target is not None:
                copy.write(block)
    if (size, digest.hexdigest()) != (expected.bytes, expected.sha256):
        raise BadArchive(f"{name}: {member.name} is not what was backed up: its checksum is another one")


def open_private(file: Path) -> IO[bytes]:
    """Open a new file for writing, which its owner alone may read. Raises OSError."""
    file.touch(mode=0o600, exist_ok=False)
    return file.open("wb")
