"""Conditions and templates: compiled and checked once; a condition that cannot be evaluated is never true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from cel_expr_python import cel

from graphs.expressions import celtree
from graphs.expressions.effort import MAX_INLINE_UNITS, TOO_MUCH, ValueSize, estimate, measure
from graphs.expressions.language import (
    HINTS,
    ExpressionError,
    ScopeName,
    compile_expression,
    describe_runtime_error,
    describe_type,
    find_missing_name,
)
from graphs.expressions.prepared import ConditionOutcome, PreparedValues
from graphs.expressions.values import MAX_ITEMS, clean_text, find_fault, flatten_value

__all__ = [
    "Condition",
    "ExpressionError",
    "NeedsTime",
    "Template",
    "compile_branch_condition",
    "compile_rule_condition",
    "compile_template",
]

_AS_TEXT = frozenset({"STRING", "BOOL", "INT", "UINT", "DOUBLE", "TIMESTAMP"})


TOO_MUCH_FOR_BRANCH = f"there are more than {MAX_ITEMS:,} tool calls, or more to look at than a condition may"


class NeedsTime(Exception):
    """Raised for a condition that must not be evaluated on the event loop.

    Without a condition (None): any may be, but the loop must have its turn first.
    """

    def __init__(self, condition: Condition | None, units: int) -> None:
        super().__init__("this may take long")
        self.condition = condition
        self.units = units


class Condition:
    """A compiled condition. Safe to share between threads."""

    def __init__(
        self, text: str, scope: ScopeName, program: cel.Expression, tree: celtree.Tree, source: str | None = None
    ) -> None:
        self.text = text
        """The condition as it was written, without the white space around it."""
        self.source = text if source is None else source
        """The condition as it is compiled, where `text` shows something else for it."""
        self.effort = estimate(tree)
        self.arguments: Mapping[str, int] = tree.find_fields("args") if scope == "access" else {}
        """The arguments of a call that it looks at, each with its place in the text that was compiled."""
        self.names = frozenset(node.name.lstrip(".") for node in tree.root.walk() if node.kind == "ident")
        """Every name that it looks at, such as `args` and `tool.read_only`."""
        self.scope: ScopeName = scope
        found = {name: tree.find_first_use(name) for name in HINTS} if scope == "access" else {}
        self.hints: Mapping[str, int] = {name: at for name, at in found.items() if at is not None}
        """What tools say of themselves that it looks at, each with its place in the text that was compiled."""
        self._program = program
        self.argument_names = tree.find_field_names("args") if scope == "access" else frozenset[str]()
        """The arguments that have to be sound for it to be evaluated; None: all that there are."""
        self._looks_at_call_args = scope == "next" and any(
            looked is not None and looked[1] == "args" and looked[0].id in tree.maps_of_text
            for looked in map(celtree.split_field, tree.root.walk())
        )
        self._looks_at_text = scope == "next" and tree.find_first_use("text") is not None

    def evaluate(self, values: Mapping[str, Any]) -> bool | None:
        """Return true or false; None if it could not be evaluated, or is no boolean.

        `values` are the names of the scope, each a mapping or a dataclass where it has fields; `PreparedValues` where
        many conditions look at the same call.
        """
        return self.compute_outcome(values)[0]

    def explain(self, values: Mapping[str, Any]) -> str:
        """Explain why `evaluate` returns None for these values, without showing a value; empty if it does not."""
        return self.compute_outcome(values)[1]

    def compute_outcome(self, values: Mapping[str, Any]) -> ConditionOutcome:
        """Return what `evaluate` and `explain` return, at once."""
        if not isinstance(values, PreparedValues):
            return (
                self._evaluate_branch(values) if self.scope == "next" else self.compute_outcome(PreparedValues(values))
            )
        known = values.outcomes.get(self)
        if known is None:
            size = values.measure_arguments(self.argument_names)
            if size is not None and values.is_bounded:
                self._check_time(values, size)
            known = values.outcomes[self] = self._evaluate_rule(values) if size is not None else (None, TOO_MUCH)
        return known

    def _check_time(self, values: PreparedValues, size: ValueSize) -> None:
        units = self.effort.estimate_units(size)
        if self.effort.waits or units > MAX_INLINE_UNITS:
            raise NeedsTime(self, units)
        values.spent_units += units
        if values.spent_units > MAX_INLINE_UNITS:
            raise NeedsTime(None, units)

    def _evaluate_rule(self, prepared: PreparedValues) -> ConditionOutcome:
        shown, wrong = prepared.prepare_activation(self.argument_names)
        if shown is None:
            return None, wrong
        try:
            result = self._program.eval(shown)
        except RuntimeError as error:
            return None, describe_runtime_error(str(error))
        value = result.plain_value()
        # This is done for each rule of each call: the library's types would cost more to compare.
        return (value, "") if value is True or value is False else (None, _explain(result, prepared.explain_missing))

    def _evaluate_branch(self, values: Mapping[str, Any]) -> ConditionOutcome:
        data, wrong = self.build_branch_data(values)
        return (None, wrong) if data is None else self.evaluate_data(data)

    def measure_branch(self, values: Mapping[str, Any]) -> ValueSize | None:
        """Measure how much a branch's condition looks at; None where that is too much."""
        calls = values.get("tool_calls", ())
        if len(calls) > MAX_ITEMS:
            return None
        return measure(
            [
                values.get("text", "") if self._looks_at_text else "",
                *(call.get("args", {}) if self._looks_at_call_args else call.get("tool", "") for call in calls),
            ]
        )

    def build_branch_data(self, values: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
        """Build the data that a branch's condition is evaluated on; else return why it cannot be."""
        if self.measure_branch(values) is None:
            return None, TOO_MUCH_FOR_BRANCH
        data: dict[str, Any] = {}
        for name, value in values.items():
            if name == "tool_calls":
                data["tool_calls"] = [self._build_call(call) for call in value]
                wrong = find_fault([call["args"] for call in data["tool_calls"]])
                if wrong is not None:
                    return None, wrong
            elif name != "text" or self._looks_at_text:
                data |= flatten_value(name, value)
        return data, ""

    def evaluate_data(self, data: Mapping[str, Any]) -> ConditionOutcome:
        """Evaluate a branch's condition on what `build_branch_data` returned."""
        try:
            result = self._program.eval(data=data)
        except RuntimeError as error:
            return None, describe_runtime_error(str(error))
        value = result.plain_value()
        return (value, "") if value is True or value is False else (None, _explain(result, lambda _: None))

    def _build_call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        own = {name: clean_text(item) for name, item in call.items()}
        return own | {"args": call.get("args", {}) if self._looks_at_call_args else {}}


def _explain(result: cel.Value, unknown: Callable[[str], str | None]) -> str:
    """Explain why this is no boolean. To the CEL library, errors are values and no exceptions."""
    if result.type() != cel.Type.ERROR:
        return "its value is not true or false"
    said = str(result.plain_value())
    missing = find_missing_name(said)
    return (unknown(missing) if missing is not None else None) or describe_runtime_error(said)


@dataclass(frozen=True)
class Template:
    """A compiled text with `{{ … }}` in it."""

    pieces: tuple[str | tuple[str, cel.Expression], ...]

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the text with every `{{ … }}` filled in. Raises ExpressionError naming the one that cannot be."""
        return "".join(text for _, text in self.render_pieces(values))

    def render_pieces(self, values: Mapping[str, Any]) -> list[tuple[str | None, str]]:
        """Return the pieces in order, each with its expression (None: it is as written). Raises ExpressionError."""
        data: dict[str, Any] = {}
        for name, value in values.items():
            data |= flatten_value(name, value)
        return [
            (None, piece) if isinstance(piece, str) else (piece[0], _render_piece(*piece, data))
            for piece in self.pieces
        ]


def compile_rule_condition(text: str, *, shown: str | None = None) -> Condition:
    """Compile the `when` of a rule in access.yaml. Raises ExpressionError. `shown`: what people see for `text`."""
    return _compile_condition(text, "access", shown)


def compile_branch_condition(text: str) -> Condition:
    """Compile the `when` of a branch. Raises ExpressionError."""
    return _compile_condition(text, "next", None)


def compile_template(text: str, scope: Literal["text", "server"] = "text") -> Template:
    """Compile a prompt, or a setting of a server. Raises ExpressionError."""
    pieces: list[str | tuple[str, cel.Expression]] = []
    last = 0
    while (start := text.find("{{", last)) >= 0:
        pieces.append(text[last:start])
        end = _find_closing(text, start + 2)
        if end is None:
            raise ExpressionError("'{{' without its '}}'; to write the braces themselves, write {{ '{{' }}", start)
        inside = text[start + 2 : end]
        try:
            program, _ = compile_expression(scope, inside)
        except ExpressionError as error:
            raise ExpressionError(str(error), start + 2 + error.offset) from None
        kind = program.return_type().name()
        if kind not in _AS_TEXT:
            offset = start + 2 + len(inside) - len(inside.lstrip())
            raise ExpressionError(f"this is {describe_type(kind)}, which has no form as text", offset)
        pieces.append((inside.strip(), program))
        last = end + 2
    pieces.append(text[last:])
    return Template(tuple(piece for piece in pieces if piece != ""))


def _compile_condition(text: str, scope: ScopeName, shown: str | None) -> Condition:
    program, tree = compile_expression(scope, text)
    kind = program.return_type().name()
    if kind not in ("BOOL", "DYN"):
        offset = len(text) - len(text.lstrip())
        raise ExpressionError(f"this is {describe_type(kind)}; a condition is true or false", offset)
    return Condition((shown or text).strip(), scope, program, tree, text)


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


def _render_piece(text: str, program: cel.Expression, data: dict[str, Any]) -> str:
    value = data.get(text)
    if not isinstance(value, str | int | datetime):  # else it is only a name, as most are
        try:
            result = program.eval(data=data)
        except RuntimeError:
            raise ExpressionError(f"{{{{ {text} }}}} cannot be evaluated") from None
        if result.type() == cel.Type.ERROR:
            raise ExpressionError(
                f"{{{{ {text} }}}} cannot be evaluated: {describe_runtime_error(str(result.plain_value()))}"
            )
        value = result.plain_value()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(value)
