"""CEL: conditions and prompts, compiled once; its names, our few functions, and what is fit to be looked at."""

from graphs.expressions.conditions import Condition, ExpressionError, Text, compile_access, compile_next, compile_text

__all__ = ["Condition", "ExpressionError", "Text", "compile_access", "compile_next", "compile_text"]
