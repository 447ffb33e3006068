"""The results of tests as JUnit's XML, which CI systems show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from graphs.testing.case_run import CaseRun
from graphs.testing.comparison import find_differences, has_passed, list_facts
from graphs.text import escape_invisible


def write_junit(path: Path, runs: Sequence[CaseRun]) -> None:
    """Write one suite for each file, with its cases. Raises OSError."""
    root = ElementTree.Element("testsuites", count_results(runs))
    for file in dict.fromkeys(run.case.position.file for run in runs):
        own = [run for run in runs if run.case.position.file == file]
        suite = ElementTree.SubElement(root, "testsuite", {"name": file, **count_results(own)})
        for run in own:
            add_case(suite, run)
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def count_results(runs: Sequence[CaseRun]) -> dict[str, str]:
    """Count cases and failures, and add up their times."""
    failed = sum(not has_passed(run) for run in runs)
    seconds = sum(run.seconds for run in runs)
    return {"tests": str(len(runs)), "failures": str(failed), "errors": "0", "time": f"{seconds:.3f}"}


def add_case(suite: ElementTree.Element, run: CaseRun) -> None:
    """Add one case; one that failed says why, and what happened."""
    position = run.case.position
    attributes = {
        "name": clean(run.case.name),
        "classname": run.case.graph,
        "file": position.file,
        "line": str(position.line),
        "time": f"{run.seconds:.3f}",
    }
    case = ElementTree.SubElement(suite, "testcase", attributes)
    if has_passed(run):
        return
    reasons = [
        *run.faults,
        *(f"{one.key}: expected {one.expected}; found {one.found}" for one in find_differences(run)),
    ]
    facts = [f"{name}: {text}" for name, text in list_facts(run).items()]
    failure = ElementTree.SubElement(case, "failure", {"message": clean(reasons[0])})
    failure.text = clean("\n".join([f"{position}: {run.case.name}", *reasons, *facts]))


def clean(text: str) -> str:
    """Write out what XML cannot hold, and what nobody sees."""
    return escape_invisible(text, keep="\n\t")
