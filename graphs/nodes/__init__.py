"""The node types a graph file may use, one file each."""

from __future__ import annotations

from collections.abc import Mapping

from graphs.nodes import model, permission, tools
from graphs.nodes.base import Builder, NodeFunction, NodeSite, Services, find_emitter

BUILDERS: Mapping[str, Builder] = {"model": model.build, "permission": permission.build, "tools": tools.build}

__all__ = ["BUILDERS", "NodeFunction", "NodeSite", "Services", "find_emitter"]
