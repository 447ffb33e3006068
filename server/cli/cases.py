"""`interlock test`: chooses cases, runs them, and prints what came of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import PurePath

from graphs.config.compile_cases import CaseFile, CasePlan
from graphs.config.loader import Snapshot
from graphs.config.spec.cases import find_tested_graph
from graphs.errors import did_you_mean, list_some
from graphs.testing.case_run import CaseRun, open_case_runner
from graphs.testing.comparison import find_differences, has_passed, list_facts
from graphs.testing.coverage import Coverage, compute_coverage, compute_share
from graphs.testing.live import LiveServices, open_servers
from graphs.testing.recording import record_case, run_live_case
from server.cli.output import escape_line
from server.demo.model.serving import serve_demo_model

Print = Callable[[str], None]
Chosen = Sequence[tuple[CaseFile, CasePlan]]
_MOST_GRAPHS = 20


class CannotTest(Exception):
    """There is nothing to run; the text says what to do."""


def choose_cases(snapshot: Snapshot, named: Sequence[str]) -> list[tuple[CaseFile, CasePlan]]:
    """Choose the cases of the graphs that are named, by name or file; without any, all. Raises CannotTest."""
    graphs = {name: find_graph(snapshot, name) for name in named}
    chosen = [
        (file, case)
        for file in snapshot.case_files
        for case in file.cases
        if not graphs or case.graph in graphs.values() or file.graph in graphs.values()
    ]
    tested = {graph for file, case in chosen for graph in (file.graph, case.graph)}
    for graph in graphs.values():
        if graph not in tested:
            raise CannotTest(f"there are no tests of {graph!r}; write them in graphs/{graph}.test.yaml")
    if not chosen:
        first = next(iter(snapshot.graphs), "NAME")
        raise CannotTest(
            f"{snapshot.folder}: there are no tests; write some beside a graph, such as graphs/{first}.test.yaml"
        )
    return chosen


def choose_live_cases(snapshot: Snapshot, named: Sequence[str]) -> list[tuple[CaseFile, CasePlan]]:
    """Choose those of the cases that name a cassette: what others have the model and the tools say is no more than a
    text. Raises CannotTest."""
    chosen = [(file, case) for file, case in choose_cases(snapshot, named) if case.cassette is not None]
    if not chosen:
        raise CannotTest(
            "no case here names a cassette; write 'cassette: cassettes/NAME.yaml' in one, in place of 'model' and "
            "'tools'"
        )
    return chosen


def find_graph(snapshot: Snapshot, name: str) -> str:
    """Find the graph that somebody means by its name, its file or its file of tests. Raises CannotTest."""
    file = PurePath(name)
    wanted = find_tested_graph(file.name)
    if wanted == file.name and file.suffix in (".yaml", ".yml"):
        wanted = file.stem
    known = [*snapshot.graphs, *(file.graph for file in snapshot.case_files)]
    if wanted not in known:
        there = list_some(snapshot.graphs, _MOST_GRAPHS)
        raise CannotTest(f"there is no graph {wanted!r}; there is {there}{did_you_mean(wanted, known)}")
    return wanted


async def run_cases(snapshot: Snapshot, chosen: Chosen, show: Print) -> list[CaseRun]:
    """Run the cases one after the other, showing each as it ends. Raises StorageError."""
    runs: list[CaseRun] = []
    async with open_case_runner(snapshot) as runner:
        for file, case in chosen:
            runs.append(await runner.run(file, case))
            show_run(runs[-1], show)
    return runs


async def run_live_cases(
    snapshot: Snapshot, chosen: Chosen, patience: float, show: Print, warn: Print, *, record: bool
) -> list[CaseRun]:
    """Run the cases on the real model and tools one after the other, showing each as it ends, and write their cassettes
    with `record`. Raises StorageError."""
    runs: list[CaseRun] = []
    async with open_live(snapshot, patience) as live, open_case_runner(snapshot) as runner:
        for absence in live.list_absences():
            warn(f"note: {escape_line(absence)}")
        for file, case in chosen:
            if record:
                runs.append(await record_case(runner, live, snapshot, file, case))
            else:
                runs.append(await run_live_case(runner, live, snapshot, case))
            show_run(runs[-1], show)
            if record and has_passed(runs[-1]):
                show(f"      written: {case.cassette}")
    return runs


@asynccontextmanager
async def open_live(snapshot: Snapshot, patience: float) -> AsyncGenerator[LiveServices]:
    """Open the servers, and the demo model where the gateway file names no other."""
    if base_url := snapshot.gateway.models.base_url:
        async with open_servers(snapshot, base_url, patience) as live:
            yield live
    else:
        async with serve_demo_model() as url, open_servers(snapshot, url, patience) as live:
            yield live


def show_run(run: CaseRun, show: Print) -> None:
    """Show one case: a line, and where it failed what was expected, what was found and what happened."""
    name = f"{run.case.position}: {escape_line(run.case.name)}"
    if has_passed(run):
        show(f"ok    {name}")
        return
    show(f"FAIL  {name}")
    differences = find_differences(run)
    for fault in run.faults:
        show(f"      {escape_line(fault)}")
    for one in differences:
        show(f"      {one.key}")
        show(f"        expected  {escape_line(one.expected)}")
        show(f"        found     {escape_line(one.found)}")
    keys = {one.key for one in differences}
    for key, text in list_facts(run).items():
        if key not in keys:
            show(f"      {key}: {escape_line(text)}")


def show_summary(
    snapshot: Snapshot, named: Sequence[str], runs: Sequence[CaseRun], show: Print, *, with_ways: bool
) -> float:
    """Show how many cases failed, and with `with_ways` the ways that none took; return the share of ways that were
    taken, in per cent: of the graphs that are named, else of all that the folder has."""
    failed = sum(not has_passed(run) for run in runs)
    passed = f"{len(runs) - failed} passed" + (f", {failed} failed" if failed else "")
    count = f"{len(runs)} {'case' if len(runs) == 1 else 'cases'}: {passed}"
    tested = {run.case.graph for run in runs}
    own = {name for name in snapshot.graphs if f"graphs/{name}.yaml" not in snapshot.shipped_files}
    wanted = tested if named else own | tested
    found = compute_coverage({name: plan for name, plan in snapshot.graphs.items() if name in wanted}, runs)
    share = compute_share(found)
    show("")
    if not with_ways:
        show(count)
        return share
    for entry in found:
        show_missed(entry, show)
    total, missed = sum(len(entry.ways) for entry in found), sum(len(entry.missed) for entry in found)
    ways = f"{total - missed} of {total} ways taken ({int(share)} %)"
    show(f"{count}; {ways}")
    return share


def show_missed(entry: Coverage, show: Print) -> None:
    """Show the ways of one graph that no case took."""
    if not entry.has_cases:
        count = len(entry.ways)
        show(f"graphs/{entry.graph}.yaml: no case runs it ({count} {'way' if count == 1 else 'ways'})")
        return
    for way in entry.missed:
        show(f"no case took {escape_line(str(way))}")
