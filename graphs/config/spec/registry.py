"""The registry of node types: what a graph file may use, by name."""

from __future__ import annotations

from graphs.config.spec.groups import MapNodeSpec, ParallelNodeSpec
from graphs.config.spec.memory import MemoryNodeSpec
from graphs.config.spec.node import NodeSpec
from graphs.config.spec.node_types import (
    AgentNodeSpec,
    CallNodeSpec,
    ModelNodeSpec,
    PermissionNodeSpec,
    QuestionNodeSpec,
    ReplyNodeSpec,
    SetNodeSpec,
    ToolsNodeSpec,
)
from graphs.config.spec.python import PythonNodeSpec
from graphs.config.spec.subgraph import SubgraphNodeSpec

NODE_SPECS: dict[str, type[NodeSpec]] = {
    "model": ModelNodeSpec,
    "permission": PermissionNodeSpec,
    "tools": ToolsNodeSpec,
    "agent": AgentNodeSpec,
    "call": CallNodeSpec,
    "reply": ReplyNodeSpec,
    "set": SetNodeSpec,
    "question": QuestionNodeSpec,
    "parallel": ParallelNodeSpec,
    "map": MapNodeSpec,
    "subgraph": SubgraphNodeSpec,
    "memory": MemoryNodeSpec,
    "python": PythonNodeSpec,
}
"""The node types that a graph file may use, by name, in the order in which messages list them."""
