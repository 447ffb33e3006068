"""A variable and an annotation fit if a value can be both; a mistake is only what never fits."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NotRequired

import pytest
from pydantic import BaseModel, TypeAdapter
from typing_extensions import TypedDict

from graphs.config.python_types import may_overlap
from graphs.expressions import VarType, parse_variable


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Order:
    name: str
    price: float
    note: str | None = None


class Row(TypedDict):
    name: str
    price: NotRequired[int]


class Tree(BaseModel):
    name: str
    inner: list[Tree] = []


ORDER = {"fields": {"name": "string", "price": "number"}}


@pytest.mark.parametrize(
    ("written", "annotation"),
    [
        ("string", str),
        ("string", str | None),
        ("string", datetime),
        ("string", date),
        ("string", Any),
        ("string", object),
        ("string", Literal["a", "b"]),
        ("string", Colour),
        ("int", int),
        ("int", float),
        ("number", int),
        ("number", Decimal),
        ("int", Literal[1, 2]),
        ("bool", bool),
        ("any", int),
        ("any", None),
        ("any", list[int]),
        ("int[]", list),
        ("int[]", list[int]),
        ("int[]", tuple[int, ...]),
        ("int[]", tuple[int, int]),
        ("int[]", set[float]),
        ("any[]", list[str]),
        (["red", "green"], Colour),
        (["red"], Literal["red", "blue"]),
        (["red"], str),
        (ORDER, dict),
        (ORDER, dict[str, str | float]),
        (ORDER, Order),
        (ORDER, Row),
        ({"fields": {"name": "string", "other?": "int"}}, Tree),
        ({"list": ORDER}, list[Order]),
        ({"list": ORDER}, list[dict[str, Any]]),
    ],
)
def test_what_may_fit(written: object, annotation: Any) -> None:
    assert may_overlap(parse_variable(written).type, TypeAdapter(annotation).json_schema())


@pytest.mark.parametrize(
    ("written", "annotation"),
    [
        ("string", int),
        ("string", list[str]),
        ("string", None),
        ("int", str),
        ("int", bool),
        ("bool", int),
        ("number", str | None),
        ("string", Literal[1, 2]),
        ("int[]", dict),
        ("int[]", list[str]),
        ("int[]", tuple[int, str]),
        ("string[]", set[int]),
        (["green"], Colour),
        (["green"], int),
        (ORDER, list),
        (ORDER, dict[str, int]),
        ({"fields": {"name": "string"}}, Order),
        ({"fields": {"name": "int", "price": "number"}}, Order),
        ({"fields": {"name": "string", "inner": "string"}}, Tree),
        ({"list": ORDER}, list[str]),
    ],
)
def test_what_never_fits(written: object, annotation: Any) -> None:
    assert not may_overlap(parse_variable(written).type, TypeAdapter(annotation).json_schema())


@pytest.mark.parametrize(
    ("written", "annotation", "fits"),
    [
        (ORDER, Order, True),  # a schema does not say whether what has a default is left out
        ({"fields": {"name": "string", "price": "number", "note?": "string"}}, Order, True),
        ({"fields": {"name": "string", "price": "number", "more": "int", "note?": "string"}}, Order, False),
        ({"fields": {"name": "string", "more?": "int"}}, Row, True),
        ("string", datetime, True),
        ("string", Decimal, True),
        ("int", Decimal, False),
        ("string", None, False),
    ],
)
def test_what_a_function_returns_has_its_own_fields_and_no_others(written: object, annotation: Any, fits: bool) -> None:
    schema = TypeAdapter(annotation).json_schema(mode="serialization")
    assert may_overlap(parse_variable(written).type, schema, is_result=True) is fits


def test_any_object_may_be_any_other() -> None:
    assert may_overlap(VarType(kind="object"), TypeAdapter(Order).json_schema())
    assert not may_overlap(VarType(kind="object"), TypeAdapter(list).json_schema())
