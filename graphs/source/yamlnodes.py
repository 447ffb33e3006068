"""YAML text into nodes with places: PyYAML's composer, without its readings, and its complaints in words."""

from __future__ import annotations

import re
from typing import Any, cast

import yaml
from yaml.events import AliasEvent
from yaml.nodes import Node
from yaml.reader import ReaderError


class Unreadable(Exception):
    """The text is no YAML. Line and column count from 1."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class AliasNode(Node):
    """A `*name`, kept apart from the node it stands for (its value) so that expansions can be counted."""

    id = "alias"


def compose(text: str) -> Node | None:
    """The node of the one document in `text`; None if there is none. Raises Unreadable, and RecursionError."""
    try:
        # In here already: the reader looks at the whole text when it is made.
        loader = _Loader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error, text) from None
    except ReaderError as error:
        at = int(error.position)
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        message = f"the character U+{ord(text[at]):04X} may not stand in a YAML file; remove it"
        raise Unreadable(line, column, message) from None


def written_tag(node: Node) -> str | None:
    """The tag that is written before a node; None if there is none."""
    if not node.tag.startswith(_WRITTEN):
        return None
    return node.tag.removeprefix(_WRITTEN).replace("tag:yaml.org,2002:", "!!")


_WRITTEN = "written "


class _Loader(yaml.SafeLoader):
    """Composes nodes only: no implicit readings, no constructors, so nothing in a file can run."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 -- the name is PyYAML's

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = cast(Any, self.peek_event())  # pyright: ignore[reportUnknownMemberType]
        node = super().compose_node(parent, index)
        if isinstance(event, AliasEvent):
            return AliasNode("alias", node, event.start_mark, event.end_mark)  # pyright: ignore[reportArgumentType]
        if node is not None and event.tag is not None:
            # What was written, not what it comes to: `!!str 5` looks like any text afterwards.
            node.tag = _WRITTEN + str(event.tag)
        return node


def _unreadable(error: yaml.MarkedYAMLError, text: str) -> Unreadable:
    # A quote or bracket that is never closed: what people look for is where it opens, not the end of the file.
    unclosed = error.problem is not None and re.search("end of stream|stream end", error.problem)
    mark = (error.context_mark if unclosed else None) or error.problem_mark or error.context_mark
    if mark is None:
        return Unreadable(1, 1, f"this is no YAML: {_words(error)}")
    bare = text[mark.index - 1 : mark.index + 1] == "${"
    words = 'between [ ] or { } a variable stands in quotes: "${NAME}"' if bare else _words(error)
    return Unreadable(mark.line + 1, mark.column + 1, f"this is no YAML: {words}")


def _words(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's own words, with the cure for the mistakes that everybody makes."""
    said = " ".join(part for part in (error.context, error.problem) if part)
    if "'\\t'" in said:
        return "a tab is used to indent; use spaces"
    if "unexpected end of stream" in said and "quoted" in said:
        return "a quote is opened here and never closed"
    if "<stream end>" in said:
        return "a bracket is opened and never closed"
    if "while parsing a flow" in said:
        return f"{error.problem}; between [ ] or {{ }} a text that holds commas, brackets or quotes stands in quotes"
    if "mapping values are not allowed" in said:
        return "a ': ' stands where no key can be; put the text in quotes, or mind the indentation"
    if "undefined alias" in said:
        return f"{error.problem}; an alias needs its anchor '&name' before it"
    if "could not find expected ':'" in said:
        return "a key without ': ' after it"
    if "expected a single document" in said:
        return "the file holds several documents; keep one, without '---' in between"
    if "unknown escape character" in said:
        return f"{error.problem} in a text in double quotes; use single quotes"
    return said
