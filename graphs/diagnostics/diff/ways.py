"""Changes of the ways on from a node: new, gone, leading elsewhere, under another condition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graphs.config.graph_plan import GraphPlan
from graphs.diagnostics.diff.changes import Change


@dataclass(frozen=True, kw_only=True)
class LabelledWay:
    """One way on from a node, and when it is taken."""

    node: str
    to: str
    label: str
    """When it is taken, in words; empty: where no way before it is."""
    where: str
    before: frozenset[str] = frozenset()
    """The conditions that are tried before it, and so are not true where it is taken."""

    def __str__(self) -> str:
        return f"{self.node} → {self.to}{f' ({self.label})' if self.label else ''}"


def list_ways(plan: GraphPlan, node: str) -> list[LabelledWay]:
    """List the ways of a node, in the order in which they are tried."""
    error_way = plan.error_ways.get(node)
    failing = (
        [LabelledWay(node=node, to=error_way.to, label="when it fails", where=error_way.where)] if error_way else []
    )
    found = [*failing]
    tried: list[str] = []
    for at, branch in enumerate(plan.branches[node]):
        label = _describe_branch(plan, node, at)
        found.append(LabelledWay(node=node, to=branch.to, label=label, where=branch.where, before=frozenset(tried)))
        tried += [label] if branch.when is not None else []
    return found


def _describe_branch(plan: GraphPlan, node: str, at: int) -> str:
    branch = plan.branches[node][at]
    if branch.value is not None:
        return f"for {branch.value}"
    if branch.when is None:
        return ""
    # What variables of the environment filled in is for nobody to read.
    places = (("nodes", node, "next", at, "when"), ("nodes", node, "next", "when"))
    written = next((plan.raw_texts[place] for place in places if place in plan.raw_texts), branch.when.text)
    return f"when {written.strip()}"


def compare_ways(subject: str, old: Sequence[LabelledWay], new: Sequence[LabelledWay]) -> Iterator[Change]:
    """Compare the ways of one node."""
    # Of two under one condition the first is taken.
    before, now = ({way.label: way for way in reversed(ways)} for ways in (old, new))
    before, now = ({label: ways[label] for label in reversed(ways)} for ways in (before, now))
    gone = [way for label, way in before.items() if label not in now]
    added = [way for label, way in now.items() if label not in before]
    for label, way in now.items():
        was = before.get(label)
        if was is not None and was.to != way.to:
            text = f"way {way} led to {was.to}"
            yield Change(subject=subject, mark="changed", text=text, position=way.where)
    for way in [*added]:
        if (was := next((each for each in gone if each.to == way.to), None)) is not None:
            gone.remove(was)
            added.remove(way)
            text = f"way {way.node} → {way.to} is taken {_say(way)}; before: {_say(was)}"
            yield Change(subject=subject, mark="changed", text=text, position=way.where)
    for way in gone:
        yield Change(subject=subject, mark="removed", text=f"way {way}", position=way.where)
    for way in added:
        yield Change(subject=subject, mark="added", text=f"way {way}", position=way.where)
    both = [label for label in before if label in now]
    if both != [label for label in now if label in before]:
        text = f"the ways of {new[0].node} are tried in another order"
        yield Change(subject=subject, mark="changed", text=text, position=new[0].where)


def _say(way: LabelledWay) -> str:
    return way.label or "where no way before it is"
