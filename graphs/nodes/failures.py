"""What a failure of a node is to the graph around it."""

from __future__ import annotations

from langgraph.errors import NodeTimeoutError

from graphs.errors import ModelError, NodeFailure
from graphs.nodes.state import ErrorRecord


def describe_error(node: str, error: BaseException) -> ErrorRecord | None:
    """Describe a failure as expressions see it; None: it is none that a graph may go on after."""
    match error:
        case NodeFailure():
            return ErrorRecord(node=node, kind=error.kind, message=str(error))
        case ModelError():
            return ErrorRecord(node=node, kind="model", message=str(error))
        case NodeTimeoutError():
            return ErrorRecord(node=node, kind="timeout", message=describe_timeout(error))
        case _:
            return None


def describe_timeout(error: NodeTimeoutError) -> str:
    """Say that a node took too long."""
    return f"node {error.node!r} took longer than {error.timeout:g} seconds"
