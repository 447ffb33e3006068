"""Conditions of access rules: compiled and checked once; one that cannot be evaluated is never true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cel_expr_python import cel

from graphs.expressions import celtree
from graphs.expressions.effort import MAX_INLINE_UNITS, TOO_MUCH, ValueSize, estimate
from graphs.expressions.language import (
    HINTS,
    ExpressionError,
    compile_expression,
    describe_runtime_error,
    describe_type,
    find_missing_name,
)
from graphs.expressions.prepared import ConditionOutcome, PreparedValues


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

    def __init__(self, text: str, program: cel.Expression, tree: celtree.Tree, source: str | None = None) -> None:
        self.text = text
        """The condition as it was written, without the white space around it."""
        self.source = text if source is None else source
        """The condition as it is compiled, where `text` shows something else for it."""
        self.effort = estimate(tree)
        self.arguments: Mapping[str, int] = tree.find_fields("args")
        """The arguments of a call that it looks at, each with its place in the text that was compiled."""
        self.names = frozenset(node.name.lstrip(".") for node in tree.root.walk() if node.kind == "ident")
        """Every name that it looks at, such as `args` and `tool.read_only`."""
        found = {name: tree.find_first_use(name) for name in HINTS}
        self.hints: Mapping[str, int] = {name: at for name, at in found.items() if at is not None}
        """What tools say of themselves that it looks at, each with its place in the text that was compiled."""
        self._program = program
        self.argument_names = tree.find_field_names("args")
        """The arguments that have to be sound for it to be evaluated; None: all that there are."""

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
        if type(values) is not PreparedValues:  # quicker than isinstance, which asks the abstract class
            return self.compute_outcome(PreparedValues(values))
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


def _explain(result: cel.Value, unknown: Callable[[str], str | None]) -> str:
    """Explain why this is no boolean. To the CEL library, errors are values and no exceptions."""
    if result.type() != cel.Type.ERROR:
        return "its value is not true or false"
    said = str(result.plain_value())
    missing = find_missing_name(said)
    return (unknown(missing) if missing is not None else None) or describe_runtime_error(said)


def compile_rule_condition(text: str, *, shown: str | None = None) -> Condition:
    """Compile the `when` of a rule in access.yaml. Raises ExpressionError. `shown`: what people see for `text`."""
    program, tree = compile_expression("access", text)
    kind = program.return_type().name()
    if kind not in ("BOOL", "DYN"):
        offset = len(text) - len(text.lstrip())
        raise ExpressionError(f"this is {describe_type(kind)}; a condition is true or false", offset)
    return Condition((shown or text).strip(), program, tree, text)
