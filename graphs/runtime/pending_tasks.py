"""What a checkpoint says of the tasks of a `parallel` or `map`: which wait in vain, and what they have used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from langgraph.types import StateSnapshot

from graphs.config.graph_plan import GraphPlan
from graphs.config.spec.groups import MapNodeSpec
from graphs.nodes.state import State, TaskOutcome


def find_vain_tasks(plan: GraphPlan, snapshot: StateSnapshot) -> frozenset[str]:
    """Find the tasks, by LangGraph's ids, that wait for people although the node around them fails whatever comes of
    it: one beside them has failed, and errors are not left out."""
    outer = {task.name.partition(".")[0] for task in snapshot.tasks}
    nodes = [plan.spec.nodes.get(name) for name in outer]
    if any(isinstance(node, MapNodeSpec) and node.drop_errors for node in nodes):
        return frozenset()
    if not any("error" in outcome for outcome in _list_outcomes(snapshot)):
        return frozenset()
    return frozenset(task.id for task in snapshot.tasks if task.result is None and task.interrupts)


def find_used_tokens(snapshot: StateSnapshot) -> int:
    """Find the tokens that a turn surely has used, as far as its checkpoint tells."""
    use = cast("State", snapshot.values).get("token_use") if snapshot.values else None
    of_tasks = (outcome.get("tokens", 0) for outcome in _list_outcomes(snapshot))
    return max([use["tokens"] if use is not None else 0, *of_tasks])


def _list_outcomes(snapshot: StateSnapshot) -> Iterator[TaskOutcome]:
    """List what came of the tasks that have ended, while others of them have not."""
    for task in snapshot.tasks:
        result = cast("Mapping[str, Any] | None", task.result)
        yield from (result or {}).get("task_outcomes") or ()
