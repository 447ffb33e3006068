"""`interlock diff`: finds the two sides, which may be folders or revisions of git, and compares them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from graphs.config.loader import Snapshot, load
from graphs.diagnostics.diff.changes import Change
from graphs.diagnostics.diff.compare import compare_snapshots
from graphs.errors import ConfigError, Problem

_GIT_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")


class CannotCompare(Exception):
    """There are no two sides; the text says what to name instead."""


class SideBroken(Exception):
    """The files of one side have mistakes, so that nobody can say what they mean."""

    def __init__(self, name: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(f"{name}: the files have mistakes")
        self.name = name
        self.problems = problems


def compare_sides(old: str, new: str | None, configs: Path, env: Mapping[str, str]) -> list[Change]:
    """Compare two sides, each a folder or a revision of git with `configs` in it; None: `configs` as it is now.

    Raises CannotCompare, and SideBroken.
    """
    with open_side(old, configs) as before, open_side(new or str(configs), configs) as now:
        one, other = load_side(old, before, env), load_side(new or str(configs), now, env)
        return [redact(change, one, other) for change in compare_snapshots(one, other)]


def load_side(name: str, folder: Path, env: Mapping[str, str]) -> Snapshot:
    """Load the files of one side, the tests among them. Nothing that is compared is run. Raises SideBroken."""
    try:
        return load(folder, env, with_cases=True, imports_python=False)
    except ConfigError as error:
        raise SideBroken(name, error.problems) from error


def redact(change: Change, *snapshots: Snapshot) -> Change:
    """Return a change without the secrets that the files of both sides name."""

    def scrub(text: str) -> str:
        for snapshot in snapshots:
            text = snapshot.redaction.redact_known(text)
        return text

    texts = (scrub(change.texts[0]), scrub(change.texts[1])) if change.texts is not None else None
    return replace(change, text=scrub(change.text), texts=texts)


@contextmanager
def open_side(name: str, configs: Path) -> Generator[Path]:
    """Open the folder that a name means: the folder of this name, else `configs` in the revision of this name, written
    out for as long as the block lasts. Raises CannotCompare."""
    folder = Path(name)
    if folder.is_dir():
        yield folder
        return
    if folder.exists():
        raise CannotCompare(f"{name} is a file; name a config folder, or a revision of git")
    top, inside = find_repository(name, configs)
    if find_object(top, f"{name}^{{commit}}") is None:
        raise CannotCompare(f"{name} is no folder, and no revision of git in {top}; name one of both")
    if (tree := find_object(top, f"{name}:{inside}")) is None:
        raise CannotCompare(f"there is no folder {inside or '.'} in revision {name}; name another with --configs")
    with tempfile.TemporaryDirectory(prefix="interlock-diff-") as made:
        write_tree(top, tree, Path(made))
        yield Path(made) / "files"


def find_repository(name: str, configs: Path) -> tuple[Path, str]:
    """Find the repository that the configs lie in, and where in it they do. Raises CannotCompare."""
    place = Path(os.path.abspath(configs))
    beginning = next(folder for folder in (place, *place.parents) if folder.is_dir())
    top, why = run_git(beginning, "rev-parse", "--show-toplevel")
    if top is None:
        raise CannotCompare(f"{name} is no folder, and git finds no repository around {configs}: {why}")
    inside = beginning.resolve().relative_to(Path(top).resolve()) / place.relative_to(beginning)
    return Path(top), "" if inside == Path() else inside.as_posix()


def write_tree(top: Path, tree: str, folder: Path) -> None:
    """Write the files of a tree out as git checks them out, without a change in the repository or its index. Raises
    CannotCompare."""
    index = {"GIT_INDEX_FILE": str(folder / "index")}
    (folder / "files").mkdir()
    for arguments in (("read-tree", tree), ("checkout-index", "--all", f"--prefix={folder / 'files'}/")):
        done, why = run_git(top, *arguments, env=index)
        if done is None:
            raise CannotCompare(f"git {arguments[0]} failed in {top}: {why}")


def find_object(top: Path, name: str) -> str | None:
    """Find the object that git knows by this name; None: there is none."""
    return run_git(top, "rev-parse", "--quiet", "--verify", "--end-of-options", name)[0]


def run_git(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> tuple[str | None, str]:
    """Run git in a folder; return what it prints, None where it fails, and then why. Raises CannotCompare where there
    is no git."""
    # In a hook, git says by these which repository is meant, and the index that is about to be committed.
    own = {name: value for name, value in os.environ.items() if name not in _GIT_VARIABLES}
    try:
        done = subprocess.run(  # noqa: S603 -- no shell; revisions stand behind --end-of-options
            ["git", "-C", str(folder), *arguments],  # noqa: S607 -- the git of whoever runs this
            env={**own, **(env or {})},
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )
    except OSError as error:
        raise CannotCompare(f"git cannot be run ({error.strerror}); install it, or name two folders") from error
    why = done.stderr.strip().partition("\n")[0]
    return (done.stdout.rstrip("\n"), "") if done.returncode == 0 else (None, why)
