"""Judge SQL by PostgreSQL's own grammar: whether it surely only reads, and which tables.

The parse tree is libpg_query's: PostgreSQL's scanner and grammar, cut out of the server. It is walked by lists of what
may pass (`sqlgrammar`); what is not on them does not. Names are looked up in their scopes as PostgreSQL does, since
`t.f` calls the function `f` where `t` has no column `f` (PostgreSQL's documentation, "Using Composite Types in
Queries").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pgparse

from graphs.expressions.sqlgrammar import (
    ACTING_NAMES,
    ACTING_PREFIXES,
    FUNCTION_COLUMNS,
    FUNCTIONS,
    FUNCTIONS_OF_EXTENSIONS,
    NODES,
    OPERATORS,
    RECORD_FUNCTIONS,
    SAMPLING,
    TYPES,
    TYPES_OF_EXTENSIONS,
)
from graphs.expressions.sqltext import NotReadOnly

MAX_DEPTH = 40
"""Queries within queries."""

Node = dict[str, Any]

# pgparse carries no types.
_parse = cast("Callable[[str], list[Node]]", pgparse.parse)  # pyright: ignore[reportUnknownMemberType]
_ParseError = cast("type[Exception]", pgparse.PGQueryError)  # pyright: ignore[reportUnknownMemberType]

Columns = tuple[str, ...] | None
"""Names of columns in order. None: they are those of a table, which cannot be known here. Where it is not sure that a
column is there, it is left out: the list then permits less."""


@dataclass(frozen=True)
class Relation:
    """What a name of a FROM clause stands for: a table, a query or a function."""

    columns: Columns
    unaliased_table: bool = False
    """Whether it is a table under its own name, which may be called by its schema as well."""


Scope = Mapping[str, Relation]


@dataclass(frozen=True)
class _NameContext:
    """Where an expression stands: the names it can refer to."""

    scopes: tuple[Scope, ...]
    """From the outermost to the innermost."""
    ctes: Mapping[str, Columns]
    depth: int

    def build_inner(self, scope: Scope) -> _NameContext:
        return _NameContext((*self.scopes, scope), self.ctes, self.depth + 1)


def read_statements(sql: str) -> list[set[tuple[str, ...]]]:
    """Find the tables that each statement of `sql` reads, each by the parts of its name as PostgreSQL folds them.

    Raises NotReadOnly for SQL that cannot be parsed or does not surely only read. A table's own columns are not known
    here: `t.f` and `s.f`, where `s` has all columns of a table, are taken for columns.
    """
    if "\0" in sql:  # where the grammar would stop reading, in C
        raise NotReadOnly("it holds a NUL")
    try:
        return [_StatementReader().read_statement(statement) for statement in _parse(sql)]
    except _ParseError as error:
        raise NotReadOnly("PostgreSQL's grammar refuses it") from error
    except (RecursionError, UnicodeError) as error:
        raise NotReadOnly("it is nested too deeply, or no text") from error


class _StatementReader:
    """One walk over one statement."""

    def __init__(self) -> None:
        self.tables: set[tuple[str, ...]] = set()

    def read_statement(self, raw: Node) -> set[tuple[str, ...]]:
        statement: Node = raw.get("stmt", {})
        if list(statement) != ["SelectStmt"]:
            raise NotReadOnly(f"{next(iter(statement), 'an empty statement')} does not only read")
        self._check_query(statement["SelectStmt"], _NameContext((), {}, 0))
        return self.tables

    def _check_query(
        self, select: Node, place: _NameContext, recursive_name: tuple[str, Sequence[str]] | None = None
    ) -> Columns:
        """Check a query; return the columns of its result."""
        if place.depth > MAX_DEPTH:
            raise NotReadOnly("it is nested too deeply")
        _check_fields("SelectStmt", select)
        if "withClause" in select:
            place = self._check_with(select["withClause"], place)
        # `SELECT`, not the rest: those have other fields, which would then go unread.
        if select.get("op", "SETOP_NONE") != "SETOP_NONE":
            # As deep as this: a chain of UNIONs leans to the left.
            columns = self._check_query(select["larg"], _NameContext((*place.scopes, {}), place.ctes, place.depth))
            if recursive_name is not None and recursive_name[0] not in _list_defined_names(select):
                name, renamed = recursive_name
                place = _NameContext(place.scopes, {**place.ctes, name: _rename(columns, renamed)}, place.depth)
            self._check_query(select["rarg"], place.build_inner({}))
            self._check_rest(select, {"withClause", "larg", "rarg"}, place.build_inner({}))
            return columns
        if "valuesLists" in select:
            self._check_rest(select, {"withClause"}, place.build_inner({}))
            width = min(len(row["List"].get("items", [])) for row in select["valuesLists"])
            return tuple(f"column{at}" for at in range(1, width + 1))
        scope: dict[str, Relation] = {}
        for item in select.get("fromClause", []):
            _merge(scope, self._check_source(item, place, scope))
        inside = place.build_inner(scope)
        self._check_rest(select, {"withClause", "fromClause"}, inside)
        return _list_result_columns(select.get("targetList", []), scope, _has_merged_columns(select))

    def _check_rest(self, select: Node, done: set[str], place: _NameContext) -> None:
        fields = NODES["SelectStmt"]
        for field, value in select.items():
            if field not in done and isinstance(value, dict | list):
                self._check_expressions({fields[field]: value} if fields[field] else value, place)

    def _check_with(self, clause: Node, place: _NameContext) -> _NameContext:
        _check_fields("WithClause", clause)
        ctes = dict(place.ctes)
        recursive = clause.get("recursive", False)
        bodies = [_get_body(cte, "CommonTableExpr") for cte in clause["ctes"]]
        if recursive:
            # All see each other. What is referred to before its columns are known has none.
            ctes.update((cte["ctename"], ()) for cte in bodies)
        for cte in bodies:
            _check_fields("CommonTableExpr", cte)
            name, renamed = cte["ctename"], _get_strings(cte.get("aliascolnames", []))
            inside = _NameContext((*place.scopes, {}), dict(ctes), place.depth + 1)
            columns = self._check_query(
                _get_body(cte["ctequery"], "SelectStmt"), inside, (name, renamed) if recursive else None
            )
            ctes[name] = _rename(columns, renamed)
        return _NameContext(place.scopes, ctes, place.depth)

    def _check_source(self, item: Node, place: _NameContext, left: Scope) -> dict[str, Relation]:
        """Check one item of a FROM clause; return the names that it brings. `left`: those before it."""
        ((kind, body),) = item.items()
        _check_fields(kind, body)
        if kind == "RangeVar":
            return self._check_table(body, place)
        if kind == "RangeTableSample":
            if _get_strings(body["method"])[-1] not in SAMPLING or len(body["method"]) > 1:
                raise NotReadOnly("a method of TABLESAMPLE may be somebody's own function")
            self._check_expressions([body.get("args", []), body.get("repeatable", {})], place.build_inner({}))
            return self._check_source(body["relation"], place, left)
        alias = body.get("alias", {})
        _check_fields("Alias", alias)
        if kind == "RangeSubselect":
            # Only LATERAL sees its neighbours; without it, the same name means what the query around has.
            inside = place.build_inner(left if body.get("lateral", False) else {})
            columns = self._check_query(_get_body(body["subquery"], "SelectStmt"), inside)
            return {alias.get("aliasname", ""): Relation(_rename(columns, _get_strings(alias.get("colnames", []))))}
        if kind == "RangeFunction":
            self._check_expressions([body["functions"], body.get("coldeflist", [])], place.build_inner(left))
            return _build_function_relation(body, alias)
        if kind == "JoinExpr":
            scope = self._check_source(body["larg"], place, left)
            _merge(scope, self._check_source(body["rarg"], place, {**left, **scope}))
            # ON sees both sides of its join, and nothing that stands before it.
            self._check_expressions(body.get("quals", {}), place.build_inner(scope))
            if not alias:
                return scope
            columns = () if body.get("usingClause") or body.get("isNatural") else _collect_columns(scope)
            return {alias["aliasname"]: Relation(_rename(columns, _get_strings(alias.get("colnames", []))))}
        raise NotReadOnly(f"{kind} is not known to only read")

    def _check_table(self, body: Node, place: _NameContext) -> dict[str, Relation]:
        alias = body.get("alias", {})
        _check_fields("Alias", alias)
        name = body["relname"]
        called = alias.get("aliasname", name)
        if "schemaname" not in body and name in place.ctes:
            columns = place.ctes[name]
            return {called: Relation(_rename(columns, _get_strings(alias.get("colnames", []))))}
        parts = (body.get("catalogname"), body.get("schemaname"), name)
        self.tables.add(tuple(part for part in parts if part is not None))
        return {called: Relation(None, unaliased_table=not alias)}

    def _check_expressions(self, nodes: Any, place: _NameContext) -> None:
        """Check everything below `nodes`, with a list of its own: no input may exhaust Python's stack."""
        waiting = [nodes]
        while waiting:
            node = waiting.pop()
            if isinstance(node, list):
                waiting.extend(cast("list[Any]", node))
                continue
            if not isinstance(node, dict):
                raise NotReadOnly("the parse tree has an unknown form")
            for kind, body in cast("Node", node).items():
                if kind == "SelectStmt":
                    self._check_query(body, place)
                    continue
                fields = _check_fields(kind, body)
                if kind in _CHECKS:
                    _CHECKS[kind](body, place.scopes)
                for field, value in body.items():
                    if isinstance(value, dict | list):
                        waiting.append({fields[field]: value} if fields[field] else value)


def _check_fields(kind: str, body: Node) -> Mapping[str, str]:
    fields = NODES.get(kind)
    if fields is None or not fields.keys() >= body.keys():
        raise NotReadOnly(f"{kind} is not known to only read")
    return fields


def _get_body(node: Node, kind: str) -> Node:
    if list(node) != [kind]:
        raise NotReadOnly(f"{next(iter(node), 'nothing')} does not only read")
    return node[kind]


def _list_defined_names(select: Node) -> set[str]:
    ctes = select.get("withClause", {}).get("ctes", [])
    return {_get_body(cte, "CommonTableExpr")["ctename"] for cte in ctes}


def _get_strings(nodes: Iterable[Node]) -> list[str]:
    return [_get_body(node, "String").get("sval", "") for node in nodes]


def _merge(scope: dict[str, Relation], more: Mapping[str, Relation]) -> None:
    for name, relation in more.items():
        if name not in scope:
            scope[name] = relation
        elif not name:  # sub-selects without a name: none of their columns can be called by it
            scope[name] = Relation(_collect_columns({"": scope[name], " ": relation}))
        elif not (relation.unaliased_table and scope[name].unaliased_table):  # else the same name in two schemas
            scope[name] = Relation(())  # PostgreSQL refuses this


def _rename(columns: Columns, names: Sequence[str]) -> Columns:
    return None if columns is None else (*names, *columns[len(names) :])


def _collect_columns(scope: Scope) -> Columns:
    found: list[str] = []
    for relation in scope.values():
        if relation.columns is None:
            return None
        found.extend(relation.columns)
    return tuple(found)


def _build_function_relation(body: Node, alias: Node) -> dict[str, Relation]:
    """The names that a function in a FROM clause brings. One that returns no record has a single column, called like
    the alias or else like itself."""
    found: list[str] = []
    called = alias.get("aliasname")
    several = len(body["functions"]) > 1
    for entry in body["functions"]:
        function, definitions = _get_body(entry, "List")["items"]
        listed = definitions.get("List", {}).get("items", []) or body.get("coldeflist", [])
        # Others, such as COALESCE, stand in the place of a function too.
        name = _get_strings(function["FuncCall"]["funcname"])[-1] if "FuncCall" in function else ""
        if listed:
            found.extend(_get_body(column, "ColumnDef")["colname"] for column in listed)
        elif name in FUNCTION_COLUMNS:
            found.extend(FUNCTION_COLUMNS[name])
        elif name in RECORD_FUNCTIONS:
            raise NotReadOnly(f"the columns of {name} are not listed")
        elif name in ("", "unnest"):
            # A row that they return has columns of its own, and of several arrays each has one that is called unnest:
            # only a list of names says how they are called.
            found.extend([""] * len(function.get("FuncCall", {}).get("args", [""])))
        else:
            found.append(called if called is not None and not several else name)
        if called is None:
            called = name
    if body.get("ordinality", False):
        found.append("ordinality")
    return {called or "": Relation(_rename(tuple(found), _get_strings(alias.get("colnames", []))))}


def _has_merged_columns(select: Node) -> bool:
    """Whether `*` has fewer columns here than the tables together: those of USING and NATURAL are one."""
    waiting = list(select.get("fromClause", []))
    while waiting:
        join = waiting.pop().get("JoinExpr")
        if join is not None:
            if join.get("usingClause") or join.get("isNatural"):
                return True
            waiting += [join["larg"], join["rarg"]]
    return False


def _list_result_columns(targets: Sequence[Node], scope: Scope, merged: bool) -> Columns:
    found: list[str] = []
    for target in targets:
        body = _get_body(target, "ResTarget")
        value = body.get("val", {})
        fields = value.get("ColumnRef", {}).get("fields", [])
        if "name" in body:
            found.append(body["name"])
        elif fields and "A_Star" in fields[-1]:
            if len(fields) == 1:
                columns = _collect_columns(scope)
                columns = () if merged and columns is not None else columns
            else:
                relation = scope.get(_get_strings(fields[:-1])[-1])
                columns = relation.columns if relation is not None else ()
            if columns is None:
                return None
            found.extend(columns)
        elif any("A_Star" in part for part in value.get("A_Indirection", {}).get("indirection", [])):
            return tuple(found)  # how many columns follow is not known
        else:
            found.append(_find_column_name(value))
    return tuple(found)


def _find_column_name(value: Node) -> str:
    """What PostgreSQL calls a column that has no name of its own, for the commonest kinds; else a name that nobody can
    write."""
    ((kind, body),) = value.items()
    if kind == "ColumnRef":
        return _get_strings(body["fields"])[-1]
    if kind == "FuncCall":
        return _get_strings(body["funcname"])[-1]
    if kind == "TypeCast":
        inner = body["arg"]
        while "TypeCast" in inner:
            inner = inner["TypeCast"]["arg"]
        if "A_Const" in inner:
            return _get_strings(body["typeName"]["names"])[-1]
        return _find_column_name(inner) if next(iter(inner)) in ("ColumnRef", "FuncCall") else ""
    if kind == "MinMaxExpr":
        return "least" if body.get("op") == "IS_LEAST" else "greatest"
    return {"CoalesceExpr": "coalesce", "A_ArrayExpr": "array", "RowExpr": "row"}.get(kind, "")


def _check_column(body: Node, scopes: Sequence[Scope]) -> None:
    """Refuse `x.f` that calls the function `f`: where the columns of `x` are known, and `f` is none of them."""
    fields = body["fields"]
    if len(fields) == 1 or "A_Star" in fields[-1]:
        return
    *path, name = _get_strings(fields)
    if name in ACTING_NAMES or name.startswith(ACTING_PREFIXES):
        raise NotReadOnly(f"{'.'.join([*path, name])} may call a function")
    relation = next((scope[path[-1]] for scope in reversed(scopes) if path[-1] in scope), None)
    if len(path) > 1:
        # By its schema a table is found even where a nearer name is the same.
        found = any(scope[path[-1]].unaliased_table for scope in scopes if path[-1] in scope)
    else:
        found = relation is not None and (relation.columns is None or name in relation.columns)
    if not found:
        raise NotReadOnly(f"{'.'.join([*path, name])} may call a function")


def _check_indirection(body: Node, scopes: Sequence[Scope]) -> None:
    """Refuse `(x).f`, which calls the function `f` unless `x` has such a field: allowed for functions whose fields are
    known alone. The type of anything else is not known here."""
    del scopes
    fields = [part["String"]["sval"] for part in body["indirection"] if "String" in part]
    if not fields:
        return
    call = body["arg"].get("FuncCall")
    known = FUNCTION_COLUMNS.get(_get_strings(call["funcname"])[-1], ()) if call is not None else ()
    if len(body["indirection"]) > 1 or fields[0] not in known or len(known) == 1:
        raise NotReadOnly(f"(…).{fields[0]} may call a function")


def _check_call(body: Node, scopes: Sequence[Scope]) -> None:
    del scopes
    _check_name(body["funcname"], FUNCTIONS, FUNCTIONS_OF_EXTENSIONS, "the function")


def _check_type(body: Node, scopes: Sequence[Scope]) -> None:
    del scopes
    _check_name(body["names"], TYPES, TYPES_OF_EXTENSIONS, "the type")


def _check_operator(body: Node, scopes: Sequence[Scope]) -> None:
    del scopes
    for field in ("name", "operName", "useOp"):
        if field in body:
            _check_name(body[field], OPERATORS, frozenset(), "the operator")


def _check_name(parts: Sequence[Node], own: frozenset[str], extensions: frozenset[str], what: str) -> None:
    names = _get_strings(parts)
    if not (
        (len(names) == 1 and (names[0] in own or names[0] in extensions))
        or (len(names) == 2 and names[0] == "pg_catalog" and names[1] in own)
    ):
        raise NotReadOnly(f"{what} {'.'.join(names)} is not known to only read")


_CHECKS = {
    "A_Expr": _check_operator,
    "A_Indirection": _check_indirection,
    "ColumnRef": _check_column,
    "FuncCall": _check_call,
    "SortBy": _check_operator,
    "SubLink": _check_operator,
    "TypeName": _check_type,
}
