"""What a turn wrote before it waited, held against the types of the graph with which it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphs.config.graph_plan import GraphPlan
from graphs.expressions import TypeMismatch


def explain_stale_value(plan: GraphPlan, values: Mapping[str, Any]) -> str | None:
    """Explain which variable of a turn that waited has a value that its type takes no more; None: all values fit.

    `values` is the state of the graph. Looks at its own variables, not at those of graphs that it runs.
    """
    for name, variable in plan.variables.items():
        if name not in values:
            continue
        try:
            variable.type.fit(values[name])
        except TypeMismatch as error:
            return (
                f"The graph {plan.id!r} was changed while this waited, and the value of its variable {name!r} no"
                f" longer fits: it {error}. Nothing was run."
            )
    return None
