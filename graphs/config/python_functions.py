"""The operator's functions: found in the imported files, with their parameters and results read from annotations."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import orjson
from pydantic import PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from graphs.config.python_code import PYTHON_FOLDER, ImportFault, PythonCode, describe_exception
from graphs.errors import InterlockError, Position, did_you_mean
from graphs.expressions import TypeMismatch

_FILLED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_ANYTHING: Mapping[str, Any] = {}


class FunctionFault(InterlockError):
    """A `run` that names no function that a node can call. The text says why, and what to do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parameter:
    """One parameter of a function."""

    adapter: TypeAdapter[Any]
    written: str
    """Its type as it is written in the file; empty: it has none."""
    schema: Mapping[str, Any]
    """The JSON Schema of what it takes."""
    is_required: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class PythonFunction:
    """One function of the operator's, ready to be called."""

    name: str
    """`reports:week`."""
    function: Callable[..., Any]
    is_async: bool
    parameters: Mapping[str, Parameter]
    takes_more: bool
    """Whether it has `**more`, which takes any further name."""
    result_written: str
    """The type of what it returns as it is written in the file; empty: the file does not say it."""
    result_schema: Mapping[str, Any]
    """The JSON Schema of what it returns."""
    code: PythonCode
    """Held, so that the files stay imported."""

    def build_arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Build the arguments from JSON values, of the types that the annotations name, sharing nothing with the
        values. Raises TypeMismatch."""
        found: dict[str, Any] = {}
        for name, value in values.items():
            known = self.parameters.get(name)
            adapter = known.adapter if known is not None else _ANY
            try:
                found[name] = adapter.validate_json(orjson.dumps(value), strict=True)
            except ValidationError as error:
                raise TypeMismatch(f"{name!r} does not fit: {describe_misfit(error)}") from error
        return found


_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def find_function(code: PythonCode, run: str) -> PythonFunction:
    """Find a function by its name, such as `reports:week`. Raises FunctionFault, and ImportFault."""
    stem, _, name = run.partition(":")
    file = f"{PYTHON_FOLDER}/{stem}.py"
    if stem not in code.texts:
        raise FunctionFault(_describe_missing_file(code, stem, name))
    module = code.import_file(stem)
    found: object = vars(module).get(name)
    if name not in vars(module):
        names = [each for each, value in vars(module).items() if _is_own(value, module)]
        listed = (
            f"there is {', '.join(names)}{did_you_mean(name, names)}" if names else f"write 'def {name}(...)' there"
        )
        raise FunctionFault(f"there is no function {name!r} in {file}; {listed}")
    if not callable(found) or inspect.isclass(found):
        kind = "a class" if inspect.isclass(found) else "a module" if inspect.ismodule(found) else "a value"
        raise FunctionFault(f"{name!r} in {file} is {kind}; name a function")
    if not _is_own(found, module):
        raise FunctionFault(
            f"{name!r} is no function of {file} itself, where it only stands for another; write a function there that"
            " calls it"
        )
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        raise FunctionFault(f"{name!r} in {file} yields its results one by one; return them as a list")
    return _FunctionReader(code, run, found).read()


def _is_own(value: object, module: ModuleType) -> bool:
    """Whether a value is a function that this file itself has, be it behind a decorator that says what it wraps."""
    if inspect.isclass(value) or not callable(value):
        return False
    inner = inspect.unwrap(cast("Callable[..., Any]", value))
    return inspect.isfunction(inner) and inner.__module__ == module.__name__


def _describe_missing_file(code: PythonCode, stem: str, name: str) -> str:
    wanted = f"{PYTHON_FOLDER}/{stem}.py"
    if not code.texts:
        return f"there is no file {wanted} beside the folder of the graphs; make it, with 'def {name}(...)' in it"
    files = ", ".join(f"{PYTHON_FOLDER}/{each}.py" for each in code.texts)
    return f"there is no file {wanted}; there is {files}{did_you_mean(stem, code.texts)}"


class _FunctionReader:
    """Reads the signature of one function."""

    def __init__(self, code: PythonCode, run: str, function: Callable[..., Any]) -> None:
        self._code = code
        self._run = run
        self._function = function
        inner = inspect.unwrap(function)
        line = inner.__code__.co_firstlineno if inspect.isfunction(inner) else 0
        self._position = Position(f"{PYTHON_FOLDER}/{run.partition(':')[0]}.py", line, 1 if line else 0)

    def read(self) -> PythonFunction:
        """Raises ImportFault."""
        try:
            signature = inspect.signature(self._function)
            hints = typing.get_type_hints(inspect.unwrap(self._function), include_extras=True)
        except Exception as error:  # an annotation is code, and may raise anything
            why = self._code.hide_package(describe_exception(error))
            raise self._build_fault(f"the annotations of this function cannot be read: {why}; mend them") from error
        parameters: dict[str, Parameter] = {}
        for name, parameter in signature.parameters.items():
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                raise self._build_fault(f"{name!r} cannot be given by its name; take the '/' out of the parameters")
            if parameter.kind in _FILLED:
                what = f"parameter {name!r}"
                adapter, schema = self._read_type(hints, name, what, "validation")
                parameters[name] = Parameter(
                    adapter=adapter,
                    written=self._format(hints, name),
                    schema=schema,
                    is_required=parameter.default is inspect.Parameter.empty,
                )
        kinds = [parameter.kind for parameter in signature.parameters.values()]
        _, result = self._read_type(hints, "return", "the result", "serialization")
        return PythonFunction(
            name=self._run,
            function=self._function,
            is_async=inspect.iscoroutinefunction(self._function),
            parameters=parameters,
            takes_more=inspect.Parameter.VAR_KEYWORD in kinds,
            result_written=self._format(hints, "return"),
            result_schema=result,
            code=self._code,
        )

    def _read_type(
        self, hints: Mapping[str, Any], name: str, what: str, mode: typing.Literal["validation", "serialization"]
    ) -> tuple[TypeAdapter[Any], Mapping[str, Any]]:
        hint = hints.get(name, Any)
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(hint)
            return adapter, adapter.json_schema(mode=mode)
        except PydanticInvalidForJsonSchema:
            return TypeAdapter(hint), _ANYTHING
        except PydanticSchemaGenerationError as error:
            raise self._build_fault(
                f"{what} is {self._format(hints, name)}, which JSON cannot hold; write a type such as str, int, float,"
                " bool, list, dict or a dataclass"
            ) from error
        except (PydanticUserError, PydanticUndefinedAnnotation) as error:
            why = self._code.hide_package(error.message.splitlines()[0].removesuffix("."))
            raise self._build_fault(f"the type of {what} cannot be read: {why}") from error

    def _format(self, hints: Mapping[str, Any], name: str) -> str:
        if (hint := hints.get(name, Any)) is type(None):
            return "None"
        return self._code.hide_package(inspect.formatannotation(hint)) if name in hints else ""

    def _build_fault(self, message: str) -> ImportFault:
        return ImportFault(message, self._position)


def describe_misfit(error: ValidationError) -> str:
    """Say what is wrong with a value, without the value."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]).removeprefix(".")
    message = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
    return f"at {place!r}, {message}" if place else message


def read_result(value: object) -> Any:
    """Return what a function returned as JSON has it: dataclasses as objects, tuples as lists, times as texts. Raises
    TypeMismatch."""
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError as error:
        raise TypeMismatch(f"is not something that JSON can hold: {_cut(str(error))}") from error
    except (ValueError, RecursionError) as error:
        raise TypeMismatch("is not something that JSON can hold: it holds itself, or bytes that are no text") from error


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:199]}…"
