"""Compose YAML text into nodes with positions: PyYAML's composer without its implicit types."""

from __future__ import annotations

from typing import Any, cast

import yaml
from yaml.events import AliasEvent
from yaml.nodes import Node
from yaml.reader import ReaderError

from graphs.config.source.syntax_errors import YamlSyntaxError, build_syntax_error


class AliasNode(Node):
    """A `*name`, kept apart from the node it stands for (its value) so that expansions can be counted."""

    id = "alias"


def compose(text: str) -> Node | None:
    """Compose the one document in `text`; None if there is none. Raises YamlSyntaxError, and RecursionError."""
    try:
        # In here already: the reader looks at the whole text when it is made.
        loader = _Loader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise build_syntax_error(error, text) from None
    except ReaderError as error:
        at = int(error.position)
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        message = f"the character U+{ord(text[at]):04X} may not stand in a YAML file; remove it"
        raise YamlSyntaxError(line, column, message) from None


def find_tag(node: Node) -> str | None:
    """Return the tag that is written before a node; None if there is none."""
    if not node.tag.startswith(_TAG_MARK):
        return None
    return node.tag.removeprefix(_TAG_MARK).replace("tag:yaml.org,2002:", "!!")


_TAG_MARK = "written "


class _Loader(yaml.SafeLoader):
    """A loader that composes nodes only: no implicit types, no constructors, so nothing in a file can run."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 -- the name is PyYAML's

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = cast(Any, self.peek_event())  # pyright: ignore[reportUnknownMemberType]
        node = super().compose_node(parent, index)
        if isinstance(event, AliasEvent):
            return AliasNode("alias", node, event.start_mark, event.end_mark)  # pyright: ignore[reportArgumentType]
        if node is not None and event.tag is not None:
            # What was written, not what it comes to: `!!str 5` looks like any text afterwards.
            node.tag = _TAG_MARK + str(event.tag)
        return node
