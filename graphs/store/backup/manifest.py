"""The manifest of a backup: what is in the archive, from which database, with the checksum of every file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from graphs.store.audit.chain import ChainHead

DatabaseKind = Literal["sqlite", "postgresql"]

DATABASE_FILES: dict[DatabaseKind, str] = {"sqlite": "store.sqlite", "postgresql": "store.pgdump"}
"""The name of the database's copy in the archive."""
DATA_FOLDER = "data/"
"""What stands before the names of files that a restore puts into the data folder."""
INCLUDED_FOLDER = "included/"
"""What stands before the names of further files, which a restore leaves in the archive."""


class FileSum(BaseModel):
    """The size and the checksum of one file."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a backup says of itself; the first file of its archive."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1]
    """Of the archive."""
    interlock: str
    """The version that made it."""
    created: str
    """When the copy of the database was begun: ISO 8601, UTC."""
    database: DatabaseKind
    database_version: str
    """Of SQLite's library, or of the PostgreSQL server."""
    revision: str
    """The shape of the tables: the newest migration that they had."""
    audit_seq: int
    """The number of the newest audit record in the copy; 0 where there is none."""
    audit_hash: str
    files: dict[str, FileSum]
    """By their names in the archive."""

    @property
    def audit_head(self) -> ChainHead:
        """The head of the audit's chain in the copy."""
        return ChainHead(seq=self.audit_seq, hash=self.audit_hash)

    def list_below(self, folder: str) -> list[str]:
        """List the names of files below a folder of the archive, without it."""
        return [name.removeprefix(folder) for name in self.files if name.startswith(folder)]
