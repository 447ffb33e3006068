"""`interlock check`: what is wrong in a config folder, or in one file of it."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from graphs.config.loader import FILES, Snapshot, list_case_files, list_graph_files, load
from graphs.config.worst_case import compute_worst_case
from graphs.errors import ConfigError, Problem, describe_missing_folder, did_you_mean
from server.cli.options import silence_engine_log
from server.cli.progress import show_progress


class CannotCheck(Exception):
    """What was asked for is nothing that can be checked; the text says what to ask for instead."""


@dataclass(frozen=True)
class Target:
    """What is checked."""

    folder: Path
    shown: str
    """As the person called it."""
    file: str = ""
    """One file of the folder, as problems name it; empty: all."""

    def select(self, problems: Iterable[Problem]) -> list[Problem]:
        """Select the problems that are about it."""
        return [problem for problem in problems if not self.file or self._is_about(problem)]

    def _is_about(self, problem: Problem) -> bool:
        # Of two files for one graph, either is the one to remove.
        is_twin = problem.line == 0 and PurePath(problem.file).with_suffix("") == PurePath(self.file).with_suffix("")
        return problem.file == self.file or is_twin


def choose_target(path: Path | None, configs: Path, *, is_given: bool) -> Target:
    """Choose what to check: a folder, or one file with the folder that it lies in. Raises CannotCheck.

    `configs`: the folder where `path` names none; `is_given`: the command line names it too.
    """
    chosen = path or configs
    if chosen.is_dir():
        return Target(chosen, str(chosen))
    if not chosen.exists():
        if chosen.suffix in (".yaml", ".yml"):
            raise CannotCheck(f"{chosen}: no such file")
        raise CannotCheck(describe_missing_folder(chosen))
    target = _locate_file(chosen)
    if path is not None and is_given and not (configs.is_dir() and target.folder.samefile(configs)):
        raise CannotCheck(f"{chosen} does not lie in {configs}; leave --configs out, or name a file of that folder")
    return target


def _locate_file(file: Path) -> Target:
    """Find the config folder of a file. Raises CannotCheck where nothing reads the file."""
    whole = Path(os.path.abspath(file))  # links are not followed: the folder is that of the link
    if whole.name in FILES:
        return Target(whole.parent, str(file), whole.name)
    if whole.parent.name == "graphs":
        read = [*list_graph_files(whole.parents[1]), *list_case_files(whole.parents[1])]
        if whole.name in (each.name for each in read):
            return Target(whole.parents[1], str(file), f"graphs/{whole.name}")
        raise CannotCheck(f"{file}: no graph is read from a file of this name; it begins with no dot and ends in .yaml")
    if hint := did_you_mean(f"{whole.stem}.yaml", FILES, cutoff=0.8):
        raise CannotCheck(f"{file}: no file of this name is read{hint}")
    if "graphs" in (parent.name for parent in whole.parents[1:3]):
        raise CannotCheck(
            f"{file}: graphs are read from the folder graphs/ alone, not from folders in it; move it there"
        )
    raise CannotCheck(
        f"{file} lies in no config folder, so nothing reads it: a graph lies in the folder graphs/ of one, beside"
        f" {', '.join(FILES)}; move it there, or name the folder"
    )


@dataclass(frozen=True)
class CheckResult:
    """What there is to tell."""

    problems: Sequence[Problem]
    notes: Sequence[str]
    """For a person; what is no mistake."""
    sound: bool
    """Whether all was checked that was asked for, and nothing is wrong."""


def check_files(target: Target, env: Mapping[str, str], *, patience: float | None) -> CheckResult:
    """Check the files, and with `patience` the servers too: the seconds that they get to start."""
    try:
        snapshot = load(target.folder, env, with_cases=True)
    except ConfigError as error:
        found = target.select(sorted((*error.problems, *error.doubts)))
        notes = [f"{target.shown}: no problems"] if not found else []
        if others := sum(problem not in found for problem in error.problems):
            counted = "one problem" if others == 1 else f"{others} problems"
            notes.append(f"other files have {counted}: interlock check {shlex.quote(str(target.folder))}")
        if patience is not None:
            notes.append("the servers were not asked: mend this first")
        return CheckResult(found, notes, sound=not found and patience is None)
    if patience is None:
        problems = target.select(snapshot.doubts)
        notes = [str(replace(note, message=f"note: {note.message}")) for note in target.select(snapshot.notes)]
    else:
        from graphs.diagnostics.doctor import check_servers  # noqa: PLC0415 -- the engine, which files alone need not

        silence_engine_log()
        with show_progress() as waiting:
            seen, notes = asyncio.run(check_servers(snapshot, patience, waiting))
        problems = target.select(seen)
    if not problems:
        graphs = "" if target.file else f"; graphs: {', '.join(snapshot.graphs)}"
        worst_cases = describe_worst_cases(target, snapshot)
        notes = [*notes, *worst_cases, f"{target.shown}: no problems{graphs}"]
    return CheckResult(problems, notes, sound=not problems)


def describe_worst_cases(target: Target, snapshot: Snapshot) -> list[str]:
    """Say of each graph that is checked how much one turn of it can do at most."""
    return [
        f"graph {name}: {compute_worst_case(plan)}"
        for name, plan in snapshot.graphs.items()
        if not target.file or PurePath(target.file).with_suffix("") == PurePath("graphs", name)
    ]
