"""Compare two snapshots of a config folder: what the difference means for graphs, rights, servers and tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from graphs.config.compile_cases import CasePlan
from graphs.config.loader import Snapshot
from graphs.config.python_code import PYTHON_FOLDER
from graphs.config.spec.servers import ServerSpec
from graphs.diagnostics.diff.changes import Change, Mark, compare_fields, describe_field
from graphs.diagnostics.diff.graph_changes import GraphDiff, compare_graphs, describe_graph
from graphs.diagnostics.diff.rights import compare_rights

_HIDDEN = ("args", "env", "headers", "url", "command")
"""Settings of servers whose values may be secret."""


def compare_snapshots(old: Snapshot, new: Snapshot) -> list[Change]:
    """Compare two snapshots, the tests beside their graphs too if they were loaded; nothing for two that mean the
    same. First come the graphs, then rights, servers, the gateway and the tests."""
    graphs = {name: compare_graphs(old.graphs[name], plan) for name, plan in new.graphs.items() if name in old.graphs}
    return [
        *_compare_lists(old, new),
        *(change for graph in graphs.values() for change in graph.changes),
        *_compare_python(old, new),
        *compare_rights(old, new),
        *_compare_servers(old, new),
        *_compare_gateway(old, new),
        *_compare_cases(old, new, graphs),
    ]


def _compare_lists(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    for name in dict.fromkeys([*old.graphs, *new.graphs]):
        if name not in new.graphs:
            yield Change(subject=f"graph {name}", mark="removed", text=describe_graph(old.graphs[name]))
        elif name not in old.graphs:
            yield Change(subject=f"graph {name}", mark="added", text=describe_graph(new.graphs[name]))


def _compare_python(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    """Compare the files that `python` nodes call: which are others, not what they do."""
    before, now = old.python_texts, new.python_texts
    for stem in dict.fromkeys([*before, *now]):
        subject = f"{PYTHON_FOLDER}/{stem}.py"
        if stem not in now or stem not in before:
            mark: Mark = "added" if stem in now else "removed"
            text = "it is gone" if stem in before else "it is new, and may do whatever Interlock may; read it"
            yield Change(subject=subject, mark=mark, text=text, widens_rights=stem in now)
        elif before[stem] != now[stem]:
            text = "its code is another, and may do whatever Interlock may; read it"
            yield Change(subject=subject, mark="changed", text=text, widens_rights=True)


def _compare_servers(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    for name in dict.fromkeys([*old.servers, *new.servers]):
        subject = f"server {name}"
        if name not in new.servers or name not in old.servers:
            mark: Mark = "added" if name in new.servers else "removed"
            where = (new if name in new.servers else old).server_positions[name]
            text = "it is new, or switched on now" if name in new.servers else "it is gone, or switched off now"
            yield Change(subject=subject, mark=mark, text=text, position=str(where))
            continue
        before, now = (_place_at_home(snapshot, snapshot.servers[name]) for snapshot in (old, new))
        for change in compare_fields(before, now):
            is_hidden = change.path[0] in _HIDDEN
            text = f"{change.name} is another" if is_hidden else describe_field(change)
            grows = change.name == "trusted" and now["trusted"] is True
            where = str(new.server_positions[name])
            yield Change(subject=subject, mark="changed", text=text, position=where, widens_rights=grows)


def _place_at_home(snapshot: Snapshot, spec: ServerSpec) -> dict[str, object]:
    """Return the settings of a server with paths as they are from within the folder, wherever that is."""
    home = str(snapshot.folder)
    return {
        name: value.replace(home, ".") if isinstance(value := getattr(spec, name), str) else value
        for name in type(spec).model_fields
        if getattr(spec, name) is not None
    }


def _compare_gateway(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    for change in compare_fields(old.gateway, new.gateway):
        yield Change(subject="gateway.yaml", mark="changed", text=describe_field(change))


def _compare_cases(old: Snapshot, new: Snapshot, graphs: Mapping[str, GraphDiff]) -> Iterator[Change]:
    """Compare the tests, and find those that name what changed in their graph."""
    before, now = _list_cases(old), _list_cases(new)
    touched: dict[tuple[str, tuple[str, ...]], list[CasePlan]] = {}
    for key in dict.fromkeys([*before, *now]):
        subject, name = f"tests in {key[0]}", key[1]
        if key not in now or key not in before:
            mark: Mark = "added" if key in now else "removed"
            case = now[key] if key in now else before[key]
            yield Change(subject=subject, mark=mark, text=repr(name), position=str(case.position))
            continue
        case = now[key]
        if (before[key].spec, before[key].tester) != (case.spec, case.tester):
            yield Change(subject=subject, mark="changed", text=f"{name!r} is another test", position=str(case.position))
        if case.graph in graphs and (steps := _find_changed_steps(case, graphs[case.graph])):
            touched.setdefault((subject, steps), []).append(case)
    for (subject, steps), cases in touched.items():
        names = ", ".join(repr(case.name) for case in cases)
        count = "one test takes" if len(cases) == 1 else f"{len(cases)} tests take"
        text = f"{count} what changed, {', '.join(steps)}: {names}"
        yield Change(subject=subject, mark="changed", text=text, position=str(cases[0].position))


def _list_cases(snapshot: Snapshot) -> Mapping[tuple[str, str], CasePlan]:
    return {(file.file, case.name): case for file in snapshot.case_files for case in file.cases}


def _find_changed_steps(case: CasePlan, graph: GraphDiff) -> tuple[str, ...]:
    """Find what a case names in its route, and among the answers of the model, that is not as it was."""
    route = case.spec.expect.route or []
    ways = [f"{node} → {to}" for node, to in pairwise(route) if (node, to) in graph.ways]
    nodes = [name for name in dict.fromkeys([*route, *case.spec.model]) if name in graph.nodes]
    return tuple(dict.fromkeys([*ways, *nodes]))
