"""The types that a person can be asked for, as the values that a question asks for one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, get_args

from graphs.errors import list_some
from graphs.events import QuestionField, QuestionKind
from graphs.expressions.rule_text import describe_value
from graphs.expressions.types import FieldType, VarType
from graphs.expressions.value_schema import ValueSchema

_KINDS: tuple[QuestionKind, ...] = get_args(QuestionKind)


def find_asking_fault(type_: VarType) -> str | None:
    """Explain why a person cannot be asked for a value of this type; None: they can."""
    wrong = next((field for field in type_.fields if not _is_plain(field.type)), None)
    together = type_.schema.read_unsaid() if type_.schema is not None and type_.kind == "object" else {}
    if type_.kind == "object" and wrong is not None:
        found = f"{wrong.type.describe()}, which the field {wrong.name!r} is"
    elif together:
        found = f"an object of which the fields depend on each other, by {list_some(map(repr, together), 3)}"
    elif _is_plain(type_) or type_.fields:
        return None
    else:
        found = type_.describe()
    return (
        f"a person cannot be asked for {found}; a question asks for string, int, number, bool, a choice, or an object"
        " of those"
    )


def list_question_fields(type_: VarType) -> tuple[QuestionField, ...]:
    """List what is asked for where the answer has this type, which `find_asking_fault` has nothing against."""
    if type_.kind == "object":
        return tuple(_build_field(field.type, field.name, is_optional=field.is_optional) for field in type_.fields)
    return (_build_field(type_),)


def build_asked_type(fields: Sequence[QuestionField]) -> VarType:
    """Build the type of the whole answer to a question with these fields."""
    types = [
        VarType(
            kind=field.kind,
            values=field.values,
            schema=ValueSchema(rules=field.rules, shown=field.shown) if field.rules else None,
        )
        for field in fields
    ]
    if not fields[0].name:
        return types[0]
    pairs = zip(fields, types, strict=True)
    return VarType(
        kind="object",
        fields=tuple(FieldType(name=field.name, type=type_, is_optional=field.is_optional) for field, type_ in pairs),
    )


def _build_field(type_: VarType, name: str = "", *, is_optional: bool = False) -> QuestionField:
    kind = cast("QuestionKind", type_.kind)
    schema = type_.schema
    return QuestionField(
        kind=kind,
        name=name,
        values=type_.values,
        is_optional=is_optional,
        rules=schema.rules if schema is not None else "",
        shown=schema.shown if schema is not None else "",
        description=schema.description if schema is not None else "",
        expected=_describe_expected(kind, schema) if schema is not None else "",
    )


def _describe_expected(kind: QuestionKind, schema: ValueSchema) -> str:
    # Who describes a value says in better words what its pattern says.
    return describe_value(kind, schema.read_unsaid(), says_pattern=not schema.description)


def _is_plain(type_: VarType) -> bool:
    return type_.kind in _KINDS and not type_.is_nullable
