"""CEL expressions: conditions, prompts and templates, compiled, checked and evaluated; and our functions."""

from graphs.expressions.asking import build_asked_type, find_asking_fault, list_question_fields
from graphs.expressions.bounded_validation import BoundedValidator, TooManySteps, check_nothing, find_pattern_fault
from graphs.expressions.conditions import Condition, NeedsTime, compile_rule_condition
from graphs.expressions.evaluator import Evaluator
from graphs.expressions.expectations import Expectation, compile_expectation
from graphs.expressions.graph_expressions import (
    GraphExpression,
    Template,
    compile_branch_condition,
    compile_template,
    compile_value,
    format_value,
)
from graphs.expressions.language import HINTS, ExpressionError, VariableTypes, find_name_fault
from graphs.expressions.prepared import ConditionOutcome, PreparedValues
from graphs.expressions.schema_types import StandaloneSchema, build_schema_type
from graphs.expressions.types import (
    ANY,
    FieldType,
    SchemaReader,
    TypeFault,
    TypeMismatch,
    Variable,
    VarType,
    parse_variable,
)

__all__ = [
    "ANY",
    "HINTS",
    "BoundedValidator",
    "Condition",
    "ConditionOutcome",
    "Evaluator",
    "Expectation",
    "ExpressionError",
    "FieldType",
    "GraphExpression",
    "NeedsTime",
    "PreparedValues",
    "SchemaReader",
    "StandaloneSchema",
    "Template",
    "TooManySteps",
    "TypeFault",
    "TypeMismatch",
    "VarType",
    "Variable",
    "VariableTypes",
    "build_asked_type",
    "build_schema_type",
    "check_nothing",
    "compile_branch_condition",
    "compile_expectation",
    "compile_rule_condition",
    "compile_template",
    "compile_value",
    "find_asking_fault",
    "find_name_fault",
    "find_pattern_fault",
    "format_value",
    "list_question_fields",
    "parse_variable",
]
