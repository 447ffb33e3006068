"""The node type that runs another graph."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from graphs.config.spec.node import NodeSpec
from graphs.config.spec.node_types import walk_texts


class SubgraphNodeSpec(NodeSpec, frozen=True):
    """Runs another graph, and goes on with its result.

    For what several graphs need, or what is clearer by itself: a research, a lookup with its mending.

    In LangGraph: a compiled subgraph that is invoked in the node, with a state and a checkpoint namespace of its own.
    """

    role = "graph"
    other_names: ClassVar = {"args": "with", "input": "with", "inputs": "with", "name": "graph"}

    type: Literal["subgraph"]
    """Runs another graph, and goes on with its result."""
    graph: str
    """The graph, by the name of its file. It runs with the caller's rights, and within the limits of this one."""
    arguments: Annotated[dict[str, Any], Field(alias="with")] = {}
    """The values of its `input`, by name. `{{ … }}` in their texts holds CEL; a text that is one `{{ … }}` alone keeps
    its value's type."""
    into: str | None = None
    """The variable that its `output` goes into, or what it said where it has none. Absent: what it says is said."""
    on_error: str | None = None
    """The node to go to where this one fails; `error.kind` and `error.message` say there why. Absent: the turn ends."""

    def locate_graphs(self) -> dict[tuple[str | int, ...], str]:
        """List the one under `graph`."""
        return {("graph",): self.graph}

    def locate_templates(self) -> dict[tuple[str | int, ...], str]:
        """List the note, and the texts of the values that hold CEL."""
        arguments = {path: text for path, text in walk_texts(self.arguments, ("with",)) if "{{" in text}
        return {**super().locate_templates(), **arguments}

    def locate_outputs(self) -> dict[tuple[str | int, ...], str]:
        """List the variable under `into`."""
        return {} if self.into is None else {("into",): self.into}
