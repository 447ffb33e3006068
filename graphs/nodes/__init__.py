"""The nodes that graphs are made of, one file a node type; `NODE_CLASSES` is the registry."""

from __future__ import annotations

from collections.abc import Callable

from graphs.nodes.base import Node, NodeSite, Services, find_emitter
from graphs.nodes.call import CallNode, CallPermissionNode, CallRunNode, CallTask
from graphs.nodes.input_form import InputNode
from graphs.nodes.isolated_agent import IsolatedAgentNode
from graphs.nodes.memory import MemoryNode
from graphs.nodes.model import ModelNode
from graphs.nodes.permission import PermissionNode
from graphs.nodes.python import PythonNode
from graphs.nodes.question import QuestionNode
from graphs.nodes.reply import ReplyNode
from graphs.nodes.set_variables import SetNode
from graphs.nodes.structured_model import StructuredModelNode
from graphs.nodes.tasks import COLLECT, CollectNode, Gates, MapNode, ParallelNode, TaskNode
from graphs.nodes.tools import ToolsNode


def build_model_node(site: NodeSite, services: Services) -> Node:
    """Build the node of a model: with `into` it gives a value, without it speaks."""
    return ModelNode(site, services) if not site.spec.locate_outputs() else StructuredModelNode(site, services)


AGENT_PARTS: dict[str, Callable[[NodeSite, Services], Node]] = {"permission": PermissionNode, "tools": ToolsNode}
"""What an agent is made of beside its model, which has its name: each is a node of its own to LangGraph."""

CALL_PARTS: dict[str, Callable[[NodeSite, Services], Node]] = {"permission": CallPermissionNode, "run": CallRunNode}
"""What a call is made of behind the node that builds it, which has its name; in this order."""

TASK_CLASSES: dict[str, Callable[[NodeSite, Services], Node]] = {
    "model": StructuredModelNode,
    "call": CallTask,
    "python": PythonNode,
}
"""What runs each type of node inside another, as one step."""

NODE_CLASSES: dict[str, Callable[[NodeSite, Services], Node]] = {
    "model": build_model_node,
    "permission": PermissionNode,
    "tools": ToolsNode,
    "agent": ModelNode,
    "call": CallNode,
    "reply": ReplyNode,
    "set": SetNode,
    "question": QuestionNode,
    "parallel": ParallelNode,
    "map": MapNode,
    "memory": MemoryNode,
    "python": PythonNode,
}
"""What runs each node type of `graphs.config.spec.registry.NODE_SPECS`."""

__all__ = [
    "AGENT_PARTS",
    "CALL_PARTS",
    "COLLECT",
    "NODE_CLASSES",
    "TASK_CLASSES",
    "CollectNode",
    "Gates",
    "InputNode",
    "IsolatedAgentNode",
    "Node",
    "NodeSite",
    "Services",
    "TaskNode",
    "find_emitter",
]
