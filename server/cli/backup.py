"""`interlock backup` and `interlock restore`: what must not be lost, in one file, and back."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphs.config.environment import build_environment
from graphs.errors import InterlockError
from server.cli.options import Configs, load_settings, report_error
from server.cli.output import escape_lines
from server.cli.progress import show_progress

if TYPE_CHECKING:
    from graphs.diagnostics.backup import Manifest
    from server.settings import Settings

# ruff: noqa: PLC0415  what needs the engine loads it itself: `--help` does not


def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new file, a folder, or - for stdout.")],
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Delete all backups of the folder but the newest so many.", show_default="all"),
    ] = None,
    include: Annotated[
        list[Path] | None, typer.Option(help="A further file or folder, which `restore` leaves in the archive.")
    ] = None,
    configs: Configs = None,
) -> None:
    """Writes the database, the generated keys and what --include names into one archive (.tar.gz, mode 0600), while
    Interlock serves or not. Exit 0: written; 1: it failed; 2: usage.

    The archive holds conversations and keys as they are. To encrypt it, in bash: set -o pipefail; interlock backup - |
    age -r KEY > NEW && mv NEW FILE. PostgreSQL is copied by pg_dump, which must be on the PATH.
    """
    from graphs.diagnostics.backup import create_backup
    from server.auth.keys import KEYS_FILE
    from server.cli.backup_files import (
        CannotBackUp,
        choose_file,
        delete_older,
        end_by_exception,
        open_stdout,
        open_whole,
    )

    is_piped = str(target) == "-"
    if keep is not None and not target.is_dir():
        typer.echo(f"--keep deletes older backups of a folder; {target} is none", err=True)
        raise typer.Exit(2)
    settings = load_settings(configs)
    try:
        file = None if is_piped else choose_file(target)
        with show_progress() as waiting, waiting.wait_for("the copy of the database"):
            storage = find_storage(settings)
            with end_by_exception(), open_stdout() if file is None else open_whole(file) as (stream, work):
                manifest = create_backup(
                    stream, storage, settings.data, key_files=[KEYS_FILE], included=include or [], work=work
                )
        deleted = delete_older(file, keep) if keep is not None and file is not None else []
    except CannotBackUp as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except InterlockError as error:
        raise report_error(error) from None
    except OSError as error:
        raise report_os_error("the backup", error) from None
    for line in describe_backup(manifest, file):
        typer.echo(escape_lines(line), err=is_piped)
    for old in deleted:
        typer.echo(f"deleted {old}")


def restore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="What `interlock backup` wrote; - reads stdin.")],
    configs: Configs = None,
) -> None:
    """Restores a backup into an empty data folder and, for PostgreSQL, an empty database; checks its checksums and its
    audit. Exit 0: restored; 1: it cannot be; 2: usage.

    Nothing is replaced. Stop `interlock serve` first. An older backup is brought to this version's tables; one of a
    newer version is refused. PostgreSQL is restored by pg_restore, which must be on the PATH.
    """
    from graphs.diagnostics.audit_reader import describe_extent
    from graphs.diagnostics.backup import INCLUDED_FOLDER, restore_backup
    from server.auth.keys import KEYS_FILE
    from server.cli.backup_files import end_by_exception

    settings = load_settings(configs)
    name = "the backup" if str(source) == "-" else str(source)
    try:
        with (
            end_by_exception(),
            show_progress() as waiting,
            waiting.wait_for("the restored database"),
            sys.stdin.buffer if str(source) == "-" else source.open("rb") as stream,
        ):
            done = restore_backup(stream, name, find_storage(settings), settings.data, key_files=[KEYS_FILE])
    except InterlockError as error:
        raise report_error(error) from None
    except OSError as error:
        raise report_os_error(name, error) from None
    made = f"of {done.manifest.created}, by Interlock {done.manifest.interlock}"
    typer.echo(escape_lines(f"restored {', '.join([done.place, *map(str, done.files)])} ({made})"))
    if left := done.manifest.list_below(INCLUDED_FOLDER):
        archive = "ARCHIVE" if str(source) == "-" else shlex.quote(str(source))
        count = f"{len(left)} included file{'s' if len(left) > 1 else ''}"
        typer.echo(f"left in the archive: {count}; take them out with: tar -xzf {archive} {INCLUDED_FOLDER}")
    typer.echo(f"the store: {describe_extent(done.audit)}, whole")
    typer.echo(f"head {done.audit.head}")


def find_storage(settings: Settings) -> str:
    """Find where the database is: what the environment says, or else gateway.yaml alone, so that a mistake in another
    file costs no backup. Raises ConfigError."""
    from graphs.config.loader import load_storage

    return settings.storage or load_storage(settings.configs, build_environment(os.environ, settings.data))


def describe_backup(manifest: Manifest, file: Path | None) -> list[str]:
    """Describe a backup for people and logs: where it is, what it holds, and that it is secret."""
    from graphs.diagnostics.backup import DATA_FOLDER, INCLUDED_FOLDER

    size = sum(entry.bytes for entry in manifest.files.values())
    held = [f"database ({manifest.database} {manifest.database_version}, {manifest.revision})"]
    held += manifest.list_below(DATA_FOLDER)
    if included := manifest.list_below(INCLUDED_FOLDER):
        held.append(f"{len(included)} included file{'s' if len(included) > 1 else ''}")
    place = "the backup" if file is None else f"{file}: {file.stat().st_size:,} bytes"
    return [
        f"{place}, {size:,} unpacked: {', '.join(held)}",
        f"audit head {manifest.audit_head}",
        "it holds conversations and keys as they are: encrypt what leaves this machine",
    ]


def report_os_error(name: str, error: OSError) -> typer.Exit:
    """Show why a file could not be read or written, and end with exit code 1."""
    place = f" ({error.filename})" if error.filename else ""
    typer.echo(escape_lines(f"{name}: {error.strerror or error}{place}"), err=True)
    return typer.Exit(1)
