"""A folder of configs into one checked snapshot, or every problem in it."""

from graphs.loader.plans import Branch, GraphPlan
from graphs.loader.snapshot import DEFAULTS, Snapshot, load

__all__ = ["DEFAULTS", "Branch", "GraphPlan", "Snapshot", "load"]
