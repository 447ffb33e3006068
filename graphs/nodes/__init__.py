"""The nodes that graphs are made of, one file a node type; `NODE_CLASSES` is the registry."""

from __future__ import annotations

from collections.abc import Callable

from graphs.nodes.base import Node, NodeSite, Services, find_emitter
from graphs.nodes.model import ModelNode
from graphs.nodes.permission import PermissionNode
from graphs.nodes.tools import ToolsNode

NODE_CLASSES: dict[str, Callable[[NodeSite, Services], Node]] = {
    "model": ModelNode,
    "permission": PermissionNode,
    "tools": ToolsNode,
}
"""What runs each node type of `graphs.config.spec.graph.NODE_SPECS`."""

__all__ = ["NODE_CLASSES", "Node", "NodeSite", "Services", "find_emitter"]
