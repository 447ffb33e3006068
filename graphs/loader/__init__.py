"""A folder of configs into one checked snapshot, or every problem in it."""

from graphs.loader.mentions import Mention, Pattern
from graphs.loader.plans import Branch, GraphPlan
from graphs.loader.snapshot import DEFAULTS, Snapshot, graph_files, load

__all__ = ["DEFAULTS", "Branch", "GraphPlan", "Mention", "Pattern", "Snapshot", "graph_files", "load"]
