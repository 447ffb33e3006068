"""CEL: conditions and prompts, compiled once; its names, our few functions, and what is fit to be looked at."""

from graphs.expressions.conditions import (
    Condition,
    ExpressionError,
    NeedsTime,
    Text,
    compile_access,
    compile_next,
    compile_text,
)
from graphs.expressions.evaluator import Evaluator
from graphs.expressions.language import HINTS
from graphs.expressions.prepared import Outcome, Prepared

__all__ = [
    "HINTS",
    "Condition",
    "Evaluator",
    "ExpressionError",
    "NeedsTime",
    "Outcome",
    "Prepared",
    "Text",
    "compile_access",
    "compile_next",
    "compile_text",
]
