"""Conditions over what a test of a graph found: compiled with the file, evaluated once the case has run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cel_expr_python import cel

from graphs.expressions.language import ExpressionError, compile_expression, describe_runtime_error, describe_type
from graphs.expressions.prepared import ConditionOutcome
from graphs.expressions.values import clean_text


@dataclass(frozen=True)
class Expectation:
    """A compiled condition over `answer`, `vars`, `calls`, `verdicts` and `route`."""

    text: str
    program: cel.Expression

    def compute_outcome(self, values: Mapping[str, Any]) -> ConditionOutcome:
        """Return whether it holds, None where it could not be evaluated, and why not."""
        try:
            result = self.program.eval(data={name: clean_text(value) for name, value in values.items()})
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            return None, describe_runtime_error(str(error))
        value = result.plain_value()
        if value is True or value is False:
            return value, ""
        if result.type() == cel.Type.ERROR:
            return None, describe_runtime_error(str(value))
        return None, "its value is not true or false"


def compile_expectation(text: str) -> Expectation:
    """Compile the `answer` that a test expects. Raises ExpressionError."""
    program, _ = compile_expression("test", text)
    kind = program.return_type().name()
    if kind not in ("BOOL", "DYN"):
        offset = len(text) - len(text.lstrip())
        cure = ", such as answer.contains('word')"
        raise ExpressionError(f"this is {describe_type(kind)}; a condition is true or false{cure}", offset)
    return Expectation(text.strip(), program)
