"""CEL expressions: conditions, prompts and templates, compiled, checked and evaluated; and our functions."""

from graphs.expressions.conditions import (
    Condition,
    ExpressionError,
    NeedsTime,
    Template,
    compile_branch_condition,
    compile_rule_condition,
    compile_template,
)
from graphs.expressions.evaluator import Evaluator
from graphs.expressions.language import HINTS
from graphs.expressions.prepared import ConditionOutcome, PreparedValues

__all__ = [
    "HINTS",
    "Condition",
    "ConditionOutcome",
    "Evaluator",
    "ExpressionError",
    "NeedsTime",
    "PreparedValues",
    "Template",
    "compile_branch_condition",
    "compile_rule_condition",
    "compile_template",
]
