"""Parse YAML text into plain data with positions; YAML's surprises are problems, each with a cure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from graphs.config.source.jsonc import plain_json
from graphs.config.source.scalars import Plain, expand, find_key_fault, parse_plain
from graphs.config.source.syntax_errors import YamlSyntaxError
from graphs.config.source.yamlnodes import AliasNode, compose, find_tag
from graphs.errors import Position, Problem

Path = tuple[str | int, ...]
"""Where something is in the data: `("nodes", "agent", "next", 0)`."""

MAX_CHARACTERS = 500_000
MAX_ALIASES = 1_000
MAX_VALUES = 100_000
MAX_DEPTH = 64


@dataclass(frozen=True)
class Scalar:
    """Where the text of a value begins, and whether it stands in the file letter for letter."""

    line: int
    column: int
    literal: bool
    """Whether the value is its raw text, so that an offset into it is an offset into the file."""
    indent: int = 0
    """The column (from 1) where the following lines of a block begin; 0: the value is of one line."""

    def find_line_and_column(self, text: str, offset: int) -> tuple[int, int]:
        """Return line and column of the character at `offset` of `text`; of the value's beginning where unknown."""
        if not self.literal:
            return self.line, self.column
        before = text[:offset]
        line = before.count("\n")
        if line == 0:
            return self.line, self.column + offset
        return self.line + line, self.indent + offset - before.rfind("\n") - 1


@dataclass(frozen=True)
class Source:
    """One parsed file: its data, the position of everything in it, and its problems."""

    file: str
    data: Any
    """Plain dicts, lists, texts, numbers, booleans and None; None for a file that cannot be read."""
    positions: Mapping[Path, tuple[int, int]]
    """Line and column from 1: of the key for what is in a mapping, of the item for what is in a list."""
    scalars: Mapping[Path, Scalar]
    raw_texts: Mapping[Path, str]
    """The texts that variables went into, as they are written: what went in may be secret, so this is what is shown."""
    problems: tuple[Problem, ...]
    broken_paths: frozenset[Path]
    """The places that `problems` speak of already."""

    def find_position(self, path: Path) -> Position:
        """Return the position of `path`, or of the nearest thing around it that is in the file."""
        return Position(self.file, *self._find_line_and_column(path))

    def _find_line_and_column(self, path: Path) -> tuple[int, int]:
        for end in range(len(path), 0, -1):
            if path[:end] in self.positions:
                return self.positions[path[:end]]
        return self.positions.get((), (1, 1))

    def build_problem(self, path: Path, message: str) -> Problem:
        """Return a problem with what is at `path`; the message quotes what is written, not variables' values."""
        value = self.find_value(path)
        if path in self.raw_texts and isinstance(value, str) and value:
            message = message.replace(value, self.raw_texts[path])
        return Problem(self.file, *self._find_line_and_column(path), message)

    def build_text_problem(self, path: Path, offset: int, message: str) -> Problem:
        """Return a problem with the character at `offset` of the text at `path`."""
        scalar = self.scalars.get(path)
        if scalar is None:
            return self.build_problem(path, message)
        value = self.find_value(path)
        return Problem(
            self.file, *scalar.find_line_and_column(value if isinstance(value, str) else "", offset), message
        )

    def find_value(self, path: Path) -> Any:
        """Return what is at `path`, or None."""
        return find_value(self.data, path)

    def is_broken(self, path: Path) -> bool:
        """Whether `problems` speak of `path`, something around it or something in it."""
        return any(path[: len(other)] == other or other[: len(path)] == path for other in self.broken_paths)


def find_value(data: Any, path: Path, default: Any = None) -> Any:
    """Return what is at `path` of plain data, or `default` where there is nothing."""
    found = data
    for step in path:
        if isinstance(found, dict) and step in found:
            found = cast("dict[Any, Any]", found)[step]
        elif isinstance(found, list) and isinstance(step, int) and step < len(cast("list[Any]", found)):
            found = cast("list[Any]", found)[step]
        else:
            return default
    return found


def parse_yaml(text: str, file: str, env: Mapping[str, str]) -> Source:
    """Parse one YAML document. Never raises for its content: what is wrong is in `Source.problems`."""
    reader = _Reader(text.removeprefix("\ufeff"), file, env)
    data = reader.read()
    return Source(
        file=file,
        data=data,
        positions=reader.positions,
        scalars=reader.scalars,
        raw_texts=reader.raw_texts,
        problems=tuple(sorted(set(reader.problems))),
        broken_paths=frozenset(reader.broken_paths),
    )


@dataclass
class _Reader:
    text: str
    file: str
    env: Mapping[str, str]
    positions: dict[Path, tuple[int, int]] = field(default_factory=dict[Path, tuple[int, int]])
    scalars: dict[Path, Scalar] = field(default_factory=dict[Path, Scalar])
    raw_texts: dict[Path, str] = field(default_factory=dict[Path, str])
    problems: list[Problem] = field(default_factory=list[Problem])
    broken_paths: set[Path] = field(default_factory=set[Path])
    aliases: int = 0
    values: int = 0

    def read(self) -> Any:
        if len(self.text) > MAX_CHARACTERS:
            self._report((), 1, 1, f"the file has {len(self.text):,} characters; at most {MAX_CHARACTERS:,} are read")
            return None
        self.text = plain_json(self.text)
        try:
            node = compose(self.text)
        except YamlSyntaxError as error:
            self._report((), error.line, error.column, str(error))
            return None
        except RecursionError:
            self._report((), 1, 1, f"the file is nested too deeply; at most {MAX_DEPTH} levels are read")
            return None
        if node is None:
            return None
        self.positions[()] = (node.start_mark.line + 1, node.start_mark.column + 1)
        try:
            return self._convert_node(node, (), ())
        except _LimitExceeded as stop:
            self._report((), *stop.position, str(stop))
            return None

    def _report(self, path: Path, line: int, column: int, message: str) -> None:
        self.problems.append(Problem(self.file, line, column, message))
        self.broken_paths.add(path)

    def _report_at(self, path: Path, node: Node, message: str) -> None:
        self._report(path, node.start_mark.line + 1, node.start_mark.column + 1, message)

    def _convert_node(self, node: Node, path: Path, around: tuple[Node, ...]) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            raise _LimitExceeded(node, f"the file holds more than {MAX_VALUES:,} values")
        if isinstance(node, AliasNode):
            return self._expand_alias(node, path, around)
        if len(around) > MAX_DEPTH:
            raise _LimitExceeded(node, f"the file is nested too deeply; at most {MAX_DEPTH} levels are read")
        self._check_tag(node, path)
        if isinstance(node, MappingNode):
            return self._convert_mapping(node, path, (*around, node))
        if isinstance(node, SequenceNode):
            items: list[Any] = []
            for index, item in enumerate(cast("list[Node]", node.value)):
                self.positions[(*path, index)] = (item.start_mark.line + 1, item.start_mark.column + 1)
                items.append(self._convert_node(item, (*path, index), (*around, node)))
            return items
        return self._convert_scalar(cast(ScalarNode, node), path)

    def _expand_alias(self, node: AliasNode, path: Path, around: tuple[Node, ...]) -> Any:
        target = cast(Node, node.value)
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise _LimitExceeded(node, f"more than {MAX_ALIASES:,} aliases are expanded here; write the values out")
        if target in around:
            self._report_at(path, node, "this alias stands for something that it is itself a part of")
            return None
        return self._convert_node(target, path, around)

    def _convert_mapping(self, node: MappingNode, path: Path, around: tuple[Node, ...]) -> dict[str, Any]:
        pairs = cast("list[tuple[Node, Node]]", node.value)
        merges = [value for key, value in pairs if _is_merge(key)]
        found: dict[str, Any] = {}
        # Of several merges the first wins, and what is written out wins over all: the winner comes last here, so that
        # its positions stand too.
        for value in reversed(merges):
            found |= self._merge_mapping(value, path, around)
        own: set[str] = set()
        for key_node, value_node in pairs:
            if _is_merge(key_node) or (key := self._convert_key(key_node, path)) is None:
                continue
            line, column = key_node.start_mark.line + 1, key_node.start_mark.column + 1
            if key in own:
                first, _ = self.positions[(*path, key)]
                self._report((*path, key), line, column, f"{key!r} is written twice; the first is on line {first}")
                continue
            own.add(key)
            self.positions[(*path, key)] = (line, column)
            found[key] = self._convert_node(value_node, (*path, key), around)
        return found

    def _merge_mapping(self, node: Node, path: Path, around: tuple[Node, ...]) -> dict[str, Any]:
        target = cast(Node, node.value) if isinstance(node, AliasNode) else node
        if isinstance(target, SequenceNode):
            found: dict[str, Any] = {}
            for item in reversed(cast("list[Node]", target.value)):
                found |= self._merge_mapping(item, path, around)
            return found
        if not isinstance(target, MappingNode):
            self._report_at(path, node, "'<<' merges a mapping, or a list of mappings, such as '<<: *defaults'")
            return {}
        value = self._convert_node(node, path, around)
        return cast("dict[str, Any]", value) if isinstance(value, dict) else {}

    def _convert_key(self, node: Node, path: Path) -> str | None:
        if isinstance(node, AliasNode):
            node = cast(Node, node.value)
        if not isinstance(node, ScalarNode):
            braces = self.text[node.start_mark.index - 1 : node.start_mark.index + 1] == "{{"
            cure = "; a text that begins with '{{' stands in quotes" if braces else ""
            self._report_at(path, node, f"a key is a text; this is a list or a mapping{cure}")
            return None
        text = cast(str, node.value)
        self._check_tag(node, (*path, text))
        if "${" in text:
            self._report_at((*path, text), node, "variables fill values, not keys; write the key out")
        elif node.style is None and (wrong := find_key_fault(text)) is not None:
            self._report_at((*path, text), node, wrong)
        return text

    def _check_tag(self, node: Node, path: Path) -> None:
        if (tag := find_tag(node)) is not None:
            cure = "" if tag.startswith("!!") else ", or put a text that begins with '!' in quotes"
            self._report_at(path, node, f"tags such as {tag} are not used here; remove it{cure}")

    def _convert_scalar(self, node: ScalarNode, path: Path) -> Plain:
        text = cast(str, node.value)
        mark = self._locate_scalar(node, text)
        self.scalars[path] = mark
        value: Plain = text
        if node.style is None:
            value, wrong = parse_plain(text)
            if wrong is not None:
                self._report_at(path, node, wrong)
        if not isinstance(value, str) or "${" not in value:
            return value
        filled = expand(value, self.env)
        if filled.from_environment:
            self.raw_texts[path] = text
        for offset, message in filled.faults:
            self._report(path, *mark.find_line_and_column(text, offset), message)
        self.scalars[path] = replace(mark, literal=mark.literal and filled.text == text)
        return filled.text

    def _locate_scalar(self, node: ScalarNode, text: str) -> Scalar:
        start, end = node.start_mark, node.end_mark
        line, column = start.line + 1, start.column + 1
        raw = self.text[start.index : end.index]
        if node.style is None:
            return Scalar(line, column, literal=raw == text)
        if node.style in ("'", '"'):
            return Scalar(line, column + 1, literal=raw[1:-1] == text)
        below = self.text[start.index : end.index].partition("\n")[2].partition("\n")[0]
        indent = len(below) - len(below.lstrip(" "))
        if node.style == "|" and text and below[indent:] == text.split("\n", 1)[0]:
            return Scalar(line + 1, indent + 1, literal=True, indent=indent + 1)
        return Scalar(line, column, literal=False)


def _is_merge(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value == "<<" and node.style is None


class _LimitExceeded(Exception):
    def __init__(self, node: Node, message: str) -> None:
        super().__init__(message)
        self.position = (node.start_mark.line + 1, node.start_mark.column + 1)
