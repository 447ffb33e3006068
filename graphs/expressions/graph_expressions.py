"""CEL in graph files: conditions of branches, values of variables, and texts with `{{ … }}` in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, cast

import orjson
from cel_expr_python import cel

from graphs.expressions import celtree
from graphs.expressions.celtree import Tree
from graphs.expressions.effort import ValueSize, estimate, measure
from graphs.expressions.language import (
    GRAPH_NAMES,
    TEXT_NAMES,
    ExpressionError,
    VariableTypes,
    compile_graph_expression,
    describe_runtime_error,
    describe_type,
    find_missing_name,
)
from graphs.expressions.prepared import ConditionOutcome
from graphs.expressions.types import VarType
from graphs.expressions.values import MAX_ITEMS, clean_text, find_fault, flatten_value, format_time

GraphScope = Literal["next", "text", "server"]
ValueOutcome = tuple[Any, str]
"""A value as JSON has it, and an empty text; else None, and why there is none, in words that show no value."""

TOO_MUCH_IN_GRAPH = f"there are more than {MAX_ITEMS:,} tool calls, or more to look at than a condition may"
_AS_TEXT = frozenset({"STRING", "BOOL", "INT", "UINT", "DOUBLE", "TIMESTAMP"})
_AS_JSON = frozenset({"DYN", "LIST", "MAP", "NULL"})


class GraphExpression:
    """A compiled expression of a graph file. Safe to share between threads."""

    def __init__(
        self,
        source: str,
        scope: GraphScope,
        variables: VariableTypes,
        program: cel.Expression,
        tree: Tree,
        types: Mapping[int, VarType],
        *,
        offset: int = 0,
    ) -> None:
        self.source = source
        """The expression as it is written."""
        self.text = source.strip()
        self.scope: GraphScope = scope
        self.variables = variables
        self.tree = tree
        self.offset = offset
        """Where it begins in the text that it stands in, in characters."""
        self.effort = estimate(tree)
        self.kind = program.return_type().name()
        """What CEL knows of its value's type, such as `INT` or `LIST<DYN>`."""
        self.names = frozenset(celtree.list_names(tree.root))
        """What it looks at: `caller`, `text`, or a variable."""
        self._program = program
        self.variable_types = types
        """The types of its parts by their ids in the tree, as far as they are known."""
        self._looks_at_call_args = "tool_calls" in self.names and any(
            looked is not None and looked[1] == "args" and looked[0].id in types
            for looked in map(celtree.split_field, tree.root.walk())
        )

    @cached_property
    def alone(self) -> str | None:
        """The variable that it is, and nothing else; None: it is more than a name."""
        root = self.tree.root
        name = root.name.lstrip(".")
        return name if root.kind == "ident" and any(name == variable for variable, _ in self.variables) else None

    @property
    def literal(self) -> str | None:
        """The text that it is, written out; None: it is no literal text."""
        return self.tree.root.text

    @property
    def most_times(self) -> int | None:
        """How often it can be true in a turn, since it asks for `visits < N`; None: it does not."""
        return celtree.find_most_times(self.tree.root, "visits")

    def describe_kind(self) -> str:
        """Describe the kind of its value, such as `a whole number`."""
        return describe_type(self.kind.upper())

    def evaluate(self, values: Mapping[str, Any]) -> bool | None:
        """Return true or false; None if it could not be evaluated, or is no boolean."""
        return self.compute_outcome(values)[0]

    def compute_outcome(self, values: Mapping[str, Any]) -> ConditionOutcome:
        """Evaluate it as a condition: true, false, or None and why not, without showing a value."""
        return read_truth(self.compute_value(values))

    def compute_value(self, values: Mapping[str, Any]) -> ValueOutcome:
        """Evaluate it here and now. `values`: the names that it looks at, each a mapping or a dataclass where it has
        fields."""
        if self.alone is not None and self.alone in values:
            return values[self.alone], ""
        if self.measure(values) is None:
            return None, TOO_MUCH_IN_GRAPH
        data, wrong = self.build_data(values)
        return (None, wrong) if data is None else self.evaluate_data(data)

    def measure(self, values: Mapping[str, Any]) -> ValueSize | None:
        """Measure how much it looks at; None where that is too much."""
        seen: list[Any] = []
        for name in self.names:
            if name != "tool_calls":
                seen.append(values.get(name))
                continue
            calls = values.get("tool_calls", ())
            if len(calls) > MAX_ITEMS:
                return None
            seen += [call.get("args", {}) if self._looks_at_call_args else call.get("tool", "") for call in calls]
        return measure(seen)

    def build_data(self, values: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
        """Build the data that it is evaluated on, of values that `measure` has measured; else return why it cannot
        be."""
        data: dict[str, Any] = {}
        for name in self.names:
            if name not in values:
                continue
            value = values[name]
            if name == "tool_calls":
                data[name] = [self._build_call(call) for call in value]
                if (wrong := find_fault([call["args"] for call in data[name]])) is not None:
                    return None, wrong
            elif name in GRAPH_NAMES:
                data |= flatten_value(name, value)
            else:
                data[name] = value  # clean since a node wrote it
        return data, ""

    def evaluate_data(self, data: Mapping[str, Any]) -> ValueOutcome:
        """Evaluate it on what `build_data` returned."""
        try:
            result = self._program.eval(data=data)
        except RuntimeError as error:
            return None, describe_runtime_error(str(error))
        value = result.plain_value()
        if value is True or value is False:
            return value, ""
        if result.type() == cel.Type.ERROR:
            return None, self._explain_error(str(value))
        return build_json_value(value)

    def _explain_error(self, said: str) -> str:
        missing = find_missing_name(said)
        if missing is not None and any(missing == name for name, _ in self.variables):
            return f"{missing!r} has no value yet"
        return describe_runtime_error(said)

    def _build_call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        own = {name: clean_text(item) for name, item in call.items()}
        return own | {"args": call.get("args", {}) if self._looks_at_call_args else {}}


def read_truth(outcome: ValueOutcome) -> ConditionOutcome:
    """Read a value as a condition's."""
    value, why = outcome
    if value is True or value is False:
        return value, ""
    return None, why or "its value is not true or false"


def build_json_value(value: Any) -> ValueOutcome:
    """Build what JSON has for a value of CEL; a time becomes its text."""
    try:
        return _build_json_value(value), ""
    except TypeError as error:
        return None, str(error)


def _build_json_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError("it holds a number that is infinite or undefined")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, list):
        return [_build_json_value(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        fields = cast("dict[Any, Any]", value)
        if not all(isinstance(key, str) for key in fields):
            raise TypeError("it holds a mapping whose keys are no texts")
        # CEL has them in another order in each process.
        return {key: _build_json_value(fields[key]) for key in sorted(fields)}
    raise TypeError("its value is nothing that JSON can hold")


def format_value(value: Any) -> str:
    """Format a value for a text: texts as they are, all that is no text as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return format_time(value)
    if value is None or isinstance(value, bool | list | dict):
        return orjson.dumps(value).decode()
    return str(value)


@dataclass(frozen=True)
class Template:
    """A compiled text with `{{ … }}` in it."""

    pieces: tuple[str | GraphExpression, ...]

    @cached_property
    def names(self) -> frozenset[str]:
        """What its expressions look at."""
        return frozenset(name for piece in self.pieces if isinstance(piece, GraphExpression) for name in piece.names)

    @cached_property
    def alone(self) -> GraphExpression | None:
        """The one expression that it is, with nothing but space around; None: it is more, or less."""
        pieces = [piece for piece in self.pieces if not isinstance(piece, str) or piece.strip()]
        return pieces[0] if len(pieces) == 1 and isinstance(pieces[0], GraphExpression) else None

    @cached_property
    def is_plain(self) -> bool:
        """Whether its expressions are nothing but names, such as `caller.user`: looked up, not evaluated."""
        return all(
            isinstance(piece, str) or piece.alone is not None or piece.text in TEXT_NAMES for piece in self.pieces
        )

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the text with every `{{ … }}` filled in. Raises ExpressionError naming the one that cannot be."""
        return "".join(text for _, text in self.render_pieces(values))

    def render_pieces(self, values: Mapping[str, Any]) -> list[tuple[str | None, str]]:
        """Return the pieces in order, each with its expression (None: it is as written). Raises ExpressionError."""
        flat: dict[str, Any] = {}
        for name, value in values.items():
            flat |= flatten_value(name, value) if name in GRAPH_NAMES else {name: value}
        return [
            (None, piece) if isinstance(piece, str) else (piece.text, _render_piece(piece, flat, values))
            for piece in self.pieces
        ]


def _render_piece(piece: GraphExpression, flat: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    value = flat.get(piece.text)
    if isinstance(value, str | int | float | datetime | list | dict):  # it is only a name, as most are
        return format_value(value)
    value, why = piece.compute_value(values)
    if why:
        raise build_piece_error(piece, why)
    return format_value(value)


def build_piece_error(piece: GraphExpression, why: str) -> ExpressionError:
    """Build the error of a `{{ … }}` that has no value."""
    return ExpressionError(f"{{{{ {piece.text} }}}} cannot be evaluated: {why}")


def compile_branch_condition(text: str, variables: VariableTypes = ()) -> GraphExpression:
    """Compile the `when` of a branch. Raises ExpressionError."""
    condition = compile_value(text, variables)
    if condition.kind not in ("BOOL", "DYN"):
        offset = len(text) - len(text.lstrip())
        raise ExpressionError(f"this is {describe_type(condition.kind)}; a condition is true or false", offset)
    return condition


def compile_value(
    text: str, variables: VariableTypes = (), scope: GraphScope = "next", *, offset: int = 0
) -> GraphExpression:
    """Compile an expression that gives a value. Raises ExpressionError."""
    return GraphExpression(text, scope, variables, *compile_graph_expression(scope, text, variables), offset=offset)


def compile_template(text: str, scope: Literal["text", "server"] = "text", variables: VariableTypes = ()) -> Template:
    """Compile a text of a graph file, or a setting of a server. Raises ExpressionError."""
    pieces: list[str | GraphExpression] = []
    last = 0
    while (start := text.find("{{", last)) >= 0:
        pieces.append(text[last:start])
        end = _find_closing(text, start + 2)
        if end is None:
            raise ExpressionError("'{{' without its '}}'; to write the braces themselves, write {{ '{{' }}", start)
        inside = text[start + 2 : end]
        try:
            piece = compile_value(inside, variables, scope, offset=start + 2)
        except ExpressionError as error:
            raise ExpressionError(str(error), start + 2 + error.offset) from None
        kind = piece.kind.partition("<")[0]
        if kind not in _AS_TEXT and not (scope == "text" and kind in _AS_JSON):
            offset = start + 2 + len(inside) - len(inside.lstrip())
            raise ExpressionError(f"this is {describe_type(piece.kind)}, which has no form as text", offset)
        pieces.append(piece)
        last = end + 2
    pieces.append(text[last:])
    return Template(tuple(piece for piece in pieces if piece != ""))


def _find_closing(text: str, start: int) -> int | None:
    """Find the `}}` that ends the expression at `start`: not one in a text, nor one that closes a mapping."""
    depth = 0
    at = start
    while at < len(text):
        character = text[at]
        if character in "'\"":
            quote = character * 3 if text.startswith(character * 3, at) else character
            raw = at > start and text[at - 1] in "rR"
            at += len(quote)
            while at < len(text) and not text.startswith(quote, at):
                at += 2 if text[at] == "\\" and not raw else 1
            at += len(quote)
            continue
        if depth == 0 and text.startswith("}}", at):
            return at
        depth += (character == "{") - (character == "}")
        at += 1
    return None
