"""Run a case on the real model and tools, to see whether it holds, or to record it: what came of it is replayed, and
written only if both pass."""

from __future__ import annotations

from graphs.config.compile_cases import CaseFile, CasePlan
from graphs.config.loader import Snapshot
from graphs.testing.case_run import CaseRun, CaseRunner, build_caller, describe_recording
from graphs.testing.cassette_writer import CannotRecord, CassetteBuilder, render_cassette, write_cassette
from graphs.testing.comparison import find_differences, has_passed
from graphs.testing.live import LiveServices
from graphs.testing.recorder import CaseRecorder
from graphs.testing.tool_changes import list_tool_changes


async def record_case(
    runner: CaseRunner, live: LiveServices, snapshot: Snapshot, file: CaseFile, case: CasePlan
) -> CaseRun:
    """Run a case once, and write its cassette where all that it expects holds, now and when it is replayed. Else the
    run has a fault, and the cassette stays as it was."""
    assert case.cassette is not None  # noqa: S101  other cases have nothing to record
    recorder, owner = CaseRecorder(), runner.make_owner()
    run = await runner.run_live(case, live, recorder, owner)
    if not has_passed(run):
        return run
    called = {*(record.tool for record in recorder.results), *(verdict.tool for verdict in run.verdicts)}
    tools = await live.find_tools(build_caller(case), owner, called)
    try:
        data = CassetteBuilder(recorder, tools, snapshot.redaction).build()
        text, cassette = render_cassette(data, case.cassette)
        replay = await runner.run(file, case, cassette)
        if not has_passed(replay):
            run.faults.append(f"nothing is written, since it cannot be replayed: {_explain(replay)}")
            return run
        write_cassette(snapshot.folder / case.cassette, text)
    except CannotRecord as error:
        run.faults.append(str(error))
    return run


async def run_live_case(runner: CaseRunner, live: LiveServices, snapshot: Snapshot, case: CasePlan) -> CaseRun:
    """Run a case once, and write nothing. Where a tool is not the one that its cassette was recorded with, that is its
    fault, and nothing is run."""
    owner = runner.make_owner()
    cassette = snapshot.cassettes.get(case.cassette or "")
    if cassette is not None:
        tools = await live.find_tools(build_caller(case), owner, cassette.spec.tools)
        if changes := list_tool_changes(cassette, tools, live, describe_recording(case)):
            return CaseRun(case=case, faults=changes)
    return await runner.run_live(case, live, CaseRecorder(), owner)


def _explain(run: CaseRun) -> str:
    differences = [f"{one.key}: expected {one.expected}; found {one.found}" for one in find_differences(run)]
    return (run.faults or differences)[0]
