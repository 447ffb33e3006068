"""The functions that rules may call beside CEL's own: types, usage, and checks of literal arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal

import orjson
from cel_expr_python import cel

from graphs.errors import did_you_mean
from graphs.expressions.paths import could_be_folder, is_path_within
from graphs.expressions.sqlcheck import DIALECTS, is_read_only_sql
from graphs.expressions.sqltables import find_sql_tables
from graphs.expressions.urls import is_public_url, parse_host
from graphs.expressions.values import format_time

_T = cel.Type
MAX_FOLDERS = 4
"""Folders that one call of `path_within` may name one by one; a list holds any number."""


@dataclass(frozen=True, kw_only=True)
class CelFunction:
    """A function of ours. A wrong type or an exception inside is an error value, which no `allow` takes for true."""

    usage: str
    """How it is called, in words for the author of a rule."""
    body: Callable[..., Any]
    returns: cel.Type
    takes: tuple[tuple[cel.Type, ...], ...]
    """The types of its arguments, one tuple for each way to call it. Concrete types: a `DYN` compiles and never
    matches."""
    find_fault: Callable[[str], str | None] = lambda _: None
    """What is wrong with a text that is written out after the first argument; None if nothing is."""
    waits: Literal["files", "names"] | None = None
    """What it may wait for outside this process: then it is not for the event loop's thread."""
    parses: bool = False
    """Whether it parses its text, which may take longer than the text is long."""
    per_character: int = 4
    """What a character costs, in units of about 4 ns."""

    def is_for(self, scope: str) -> bool:
        """Whether expressions of a scope may call it. Prompts and settings of servers are evaluated at once; branches
        run after each step, where nobody wants to wait for a name server."""
        return scope == "access" or (self.waits != "names" if scope == "next" else not (self.waits or self.parses))


@cache  # a constant that nothing can change
def _build_matcher() -> cel.Expression:
    # RE2, which takes time linear in the text whatever the pattern: Python's own `re` can be made to hang.
    return cel.NewEnv(variables={"text": _T.STRING, "pattern": _T.STRING}).compile("text.matches(pattern)")


def full_match(text: str, pattern: str) -> bool:
    """Whether `pattern`, a regular expression as RE2 has them, matches the whole of `text`.

    Raises ValueError for a wrong pattern.
    """
    # Alone first: `a)|(b` is no pattern, and would match more than it should between brackets.
    for candidate in (pattern, rf"\A(?:{pattern})\z"):
        result = _build_matcher().eval(data={"text": text, "pattern": candidate})
        if result.type() != cel.Type.BOOL:
            said = (
                str(result.plain_value())
                .removeprefix("INVALID_ARGUMENT: ")
                .removeprefix("invalid regular expression: ")
            )
            hint = "; RE2 cannot look ahead or behind" if "invalid perl operator" in said else ""
            raise ValueError(f"{pattern!r} is no regular expression (RE2): {said.split(': ')[0]}{hint}")
    return result.value() is True


def format_json(value: Any) -> str:
    """Return a value as JSON, in one line. Raises TypeError where JSON has nothing for it.

    The keys are sorted: a map of CEL has them in another order in each process, and a prompt would never be the same.
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME, default=_format).decode()


def _format(value: Any) -> str:
    if isinstance(value, datetime):
        return format_time(value)
    raise TypeError


def join_lines(items: Sequence[Any]) -> str:
    """Return the items of a list one a line: texts as they are, all else as JSON."""
    return "\n".join(item if isinstance(item, str) else format_json(item) for item in items)


def _check_folder(text: str) -> str | None:
    return None if could_be_folder(text) else f"{text!r} is no absolute path of a folder, such as '/workspace'"


def _check_dialect(text: str) -> str | None:
    if text in DIALECTS:
        return None
    return f"{text!r} is no SQL dialect known here; choose one of: {', '.join(DIALECTS)}{did_you_mean(text, DIALECTS)}"


def _check_pattern(text: str) -> str | None:
    try:
        full_match("", text)
    except ValueError as error:
        return str(error)
    return None


def _list_path_types() -> tuple[tuple[cel.Type, ...], ...]:
    named = [(path, *[_T.STRING] * count) for path in (_T.STRING, _T.LIST) for count in range(1, MAX_FOLDERS + 1)]
    return (*named, *((path, _T.LIST) for path in (_T.STRING, _T.LIST)))


_ONE_OR_TWO = ((_T.STRING,), (_T.STRING, _T.STRING))

FUNCTIONS = {
    "path_within": CelFunction(
        usage="path_within(path, folder, …) takes texts, or lists of texts",
        body=is_path_within,
        returns=_T.BOOL,
        takes=_list_path_types(),
        find_fault=_check_folder,
        waits="files",
        per_character=150,
    ),
    "sql_read_only": CelFunction(
        usage="sql_read_only(sql) or sql_read_only(sql, dialect) takes texts",
        body=is_read_only_sql,
        returns=_T.BOOL,
        takes=_ONE_OR_TWO,
        find_fault=_check_dialect,
        parses=True,
    ),
    "sql_tables": CelFunction(
        usage="sql_tables(sql) or sql_tables(sql, dialect) takes texts",
        body=find_sql_tables,
        returns=_T.List(_T.STRING),
        takes=_ONE_OR_TWO,
        find_fault=_check_dialect,
        parses=True,
    ),
    "host": CelFunction(usage="host(url) takes a text", body=parse_host, returns=_T.STRING, takes=((_T.STRING,),)),
    "public_url": CelFunction(
        usage="public_url(url) takes a text", body=is_public_url, returns=_T.BOOL, takes=((_T.STRING,),), waits="names"
    ),
    "json": CelFunction(
        usage="json(value) takes one value",
        body=format_json,
        returns=_T.STRING,
        takes=((_T.DYN,),),
    ),
    "lines": CelFunction(
        usage="lines(list) takes a list",
        body=join_lines,
        returns=_T.STRING,
        takes=((_T.LIST,),),
    ),
    "full_match": CelFunction(
        usage="full_match(text, pattern) takes two texts",
        body=full_match,
        returns=_T.BOOL,
        takes=((_T.STRING, _T.STRING),),
        find_fault=_check_pattern,
    ),
}


def build_declarations(scope: str) -> cel.CelExtension:
    """Build the declarations, for the CEL library, of the functions that expressions of a scope may call."""
    chosen = {name: function for name, function in FUNCTIONS.items() if function.is_for(scope)}
    return cel.CelExtension(
        "interlock", [cel.FunctionDecl(name, _build_overloads(name, function)) for name, function in chosen.items()]
    )


def _build_overloads(name: str, function: CelFunction) -> Sequence[cel.Overload]:
    return [
        cel.Overload(
            "_".join([name, *(kind.name().lower() for kind in kinds)]),
            function.returns,
            list(kinds),
            False,
            function.body,
        )
        for kinds in function.takes
    ]
