"""Judge whether a piece of SQL surely only reads: `sql_read_only` of the rules.

A rule on SQL is the second line: the first is a role of the database that may only read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlglot import exp, tokenize
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.expressions.core import Expr
from sqlglot.expressions.dml import DML
from sqlglot.tokenizer_core import Token, TokenType

from graphs.expressions.sqlgrammar import FUNCTIONS, FUNCTIONS_OF_EXTENSIONS
from graphs.expressions.sqlnames import (
    PURE_FUNCTION_KEYS,
    PURE_FUNCTION_NAMES,
    READING_PARTS,
    TSQL_STATEMENTS,
    WRITING_WORDS,
)
from graphs.expressions.sqlpostgres import read_statements
from graphs.expressions.sqltext import NotReadOnly, check_size, find_quoted

DIALECTS = (
    "postgres", "sqlite", "mysql", "bigquery", "clickhouse", "duckdb", "oracle", "redshift", "snowflake", "trino",
    "tsql",
)  # fmt: skip

SQLGLOT_FAULTS = (
    SqlglotError, RecursionError, AttributeError, TypeError, ValueError, LookupError, AssertionError,
)  # fmt: skip
"""What sqlglot raises for SQL that it cannot read: its own errors, and those that it did not think of."""

MAX_DEPTH = 30
MAX_SUBSCRIPTS = 6
"""Subscripts of one value: the parser's work grows with the square of their number."""
STEPS_PER_TOKEN = 3
"""Steps through the tokens that the parser may take for each. It goes back and tries again where it guessed wrong, with
twice the work for each bracket of `date(date(…`; what people write takes it 1.5."""

# What a statement that reads begins with.
_FIRST = {TokenType.SELECT, TokenType.WITH, TokenType.VALUES, TokenType.L_PAREN}
_OPENING = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE}
_CLOSING = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE}

_NODES_THAT_ACT = (
    DML, exp.DDL, exp.Into, exp.Lock, exp.Command, exp.PropertyEQ, exp.Operator, exp.Set, exp.Alter, exp.Drop,
    exp.Placeholder, exp.Parameter, exp.SessionParameter, exp.NextValueFor,
)  # fmt: skip

# The only roots of a statement that reads.
_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)

# Parts of a query or a table that say how it is run: hints take locks, settings and formats write files.
_PARTS_THAT_ACT = ("hint", "into", "operation_modifiers", "locks", "settings", "format", "options", "changes")

# Reserved words of every database, which the parser takes for functions before an array.
_QUANTIFIERS = {"all", "some"}
_HARMLESS_HINTS = {"nolock", "readuncommitted", "readcommitted", "readpast", "nowait"}
_FILE_NAME = re.compile(r"[./\\:*?\[@]")
_FILE_ENDING = re.compile(
    r"\.(?:csv|tsv|txt|parquet|json|jsonl|ndjson|geojson|gz|zst|xlsx|arrow|arrows|ipc|feather|avro|vortex|lance|shp|gpkg|"
    r"fgb|db|duckdb|sqlite)$",
    re.IGNORECASE,
)
_READING_FILES = {"clickhouse", "duckdb", "snowflake"}


@dataclass(frozen=True)
class SqlVerdict:
    """SQL that surely only reads."""

    trees: list[Expr]
    """What sqlglot reads, one tree for each statement."""
    tables: list[set[tuple[str, ...]]] | None
    """The tables that PostgreSQL reads in each; None for other dialects."""


def is_read_only_sql(sql: str, dialect: str = "postgres") -> bool:
    """Whether every statement of `sql` surely only reads.

    What cannot be parsed, locks rows, or calls a function that is not known to be pure, does not. For `postgres`
    PostgreSQL's own grammar and sqlglot have to agree. What a database runs when it reads a table, column, view,
    operator or type that somebody defined there stays the database's: `t.f` of a table is taken for a column, although
    PostgreSQL calls a function `f` that takes such a row where there is no such column. Raises ValueError for a dialect
    that is not one of `DIALECTS`.
    """
    try:
        judge_sql(sql, dialect)
    except NotReadOnly:
        return False
    return True


def judge_sql(sql: str, dialect: str) -> SqlVerdict:
    """Judge `sql` and find what it reads.

    Raises NotReadOnly if it does not surely only read, and ValueError for an unknown dialect.
    """
    if dialect not in DIALECTS:
        raise ValueError(f"{dialect!r} is no SQL dialect known here; choose one of: {', '.join(DIALECTS)}")
    check_size(sql)
    quoted = find_quoted(sql, dialect) if dialect != "postgres" else None
    try:
        tokens = tokenize(sql, dialect=dialect)
        _check_quoted(sql, tokens, quoted)
        _check_tokens(tokens, dialect)
        tables = read_statements(sql) if dialect == "postgres" else None
        trees = [statement for statement in _parse(sql, tokens, dialect) if statement is not None]
    except NotReadOnly:
        raise
    except SQLGLOT_FAULTS as error:
        raise NotReadOnly("it cannot be parsed") from error
    if not trees or (tables is not None and len(trees) != len(tables)):
        raise NotReadOnly("it holds no statement, or two parsers disagree on how many")
    for tree in trees:
        _check_statement(tree, dialect)
    return SqlVerdict(trees, tables)


def _parse(sql: str, tokens: list[Token], dialect: str) -> list[Expr | None]:
    """Parse with sqlglot. Raises NotReadOnly if that takes it too many steps.

    Its own `max_nodes` does not stop it, since it takes that error for a wrong guess.
    """
    parser = Dialect.get_or_raise(dialect).parser()
    advance = parser._advance  # pyright: ignore[reportPrivateUsage]
    left = STEPS_PER_TOKEN * len(tokens) + 50

    def count(times: int = 1) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise NotReadOnly("it takes a parser too many steps")
        advance(times)

    parser._advance = count  # pyright: ignore[reportPrivateUsage]
    return parser.parse(tokens, sql)


def _check_quoted(sql: str, tokens: list[Token], expected: set[tuple[int, int]] | None) -> None:
    """Refuse quoted texts and names that begin or end elsewhere for sqlglot. None: PostgreSQL's grammar judges."""
    if expected is None:
        return
    found: set[tuple[int, int]] = set()
    for token in tokens:
        text = sql[token.start : token.end + 1]
        if text[-1:] in ("'", '"', "`") or (len(text) > 1 and text[-1] == "]"):
            # Without the prefix of `N'…'`.
            start = next((at for at, character in enumerate(text) if character in "'\"`["), 0)
            found.add((token.start + start, token.end))
    if found != expected:
        raise NotReadOnly("two tokenizers disagree on where its texts end")


def _check_tokens(tokens: list[Token], dialect: str) -> None:
    """Refuse by the words alone what a parser could misread, and what would take it long."""
    refused = WRITING_WORDS | TSQL_STATEMENTS if dialect == "tsql" else WRITING_WORDS
    subscripts = [0]  # of the value at hand, within each bracket that is open
    cases = 0
    at_start = True
    before: TokenType | None = None
    for index, token in enumerate(tokens):
        kind = token.token_type
        if kind == TokenType.SEMICOLON:
            at_start = True
            continue
        if at_start and kind not in _FIRST:
            raise NotReadOnly("a statement does not begin as one that reads")
        at_start = False
        if kind == TokenType.IDENTIFIER:
            # A function in quotes may be somebody's own that is called like a known one.
            if index + 1 < len(tokens) and tokens[index + 1].token_type == TokenType.L_PAREN:
                raise NotReadOnly("it calls a function whose name is quoted")
        elif dialect == "postgres" and before in (TokenType.DOT, TokenType.ALIAS):
            pass  # a name, to the grammar that judges it
        elif kind != TokenType.STRING and token.text.lower() in refused:
            # In the tokens as well as in the tree: a parser may take one of these words for an alias, as in
            # `SELECT 1 DELETE FROM t`, where a database sees a second statement.
            raise NotReadOnly(f"the word {token.text.lower()} may begin a statement that acts")
        if kind == TokenType.L_BRACKET:
            subscripts[-1] += 1
        elif kind != TokenType.DOT and kind not in _CLOSING and before != TokenType.DOT:
            subscripts[-1] = 0
        if subscripts[-1] > MAX_SUBSCRIPTS:
            raise NotReadOnly("a value has too many subscripts")
        if kind in _OPENING:
            subscripts.append(0)
        elif kind in _CLOSING and len(subscripts) > 1:
            subscripts.pop()
        cases += (kind == TokenType.CASE) - (kind == TokenType.END)
        if len(subscripts) + cases > MAX_DEPTH:
            raise NotReadOnly("it is nested too deeply")
        before = kind


def _check_statement(statement: Expr, dialect: str) -> None:
    if not isinstance(statement, _QUERIES):
        raise NotReadOnly("a statement is no query")
    sources = {name.lower() for name in _list_source_names(statement)} if dialect == "oracle" else None
    for node in statement.walk():
        if not _is_harmless(node, dialect):
            raise NotReadOnly(f"{type(node).__name__} is not known to only read")
        if sources is not None and isinstance(node, exp.Column) and node.table and node.table.lower() not in sources:
            raise NotReadOnly(f"{node.table}.{node.name} may be a function of a package")


def _list_source_names(statement: Expr) -> set[str]:
    tables = {table.name for table in statement.find_all(exp.Table)}
    return tables | {alias.name for alias in statement.find_all(exp.TableAlias)}


def _is_harmless(node: Expr, dialect: str) -> bool:
    if isinstance(node, exp.Operator) and dialect == "postgres":
        return True  # whose operator it is, its own grammar has judged
    if isinstance(node, _NODES_THAT_ACT):
        return False
    if isinstance(node, exp.Query | exp.Table) and any(node.args.get(part) for part in _PARTS_THAT_ACT):
        return False
    if isinstance(node, exp.Dot):
        # A function of a schema may be anybody's, whatever it is called. Of PostgreSQL its own grammar has judged it.
        if dialect == "postgres" and isinstance(node.this, exp.Identifier) and node.this.name == "pg_catalog":
            return True
        return not isinstance(node.expression, exp.Func) and _is_field(node, dialect)
    if isinstance(node, exp.Anonymous):
        return isinstance(node.this, str) and _is_pure(node.this.lower(), dialect)
    if isinstance(node, exp.Func):
        return node.key in PURE_FUNCTION_KEYS
    if isinstance(node, exp.Table):
        return _is_stored(node, dialect) and not _is_call(node)
    if isinstance(node, exp.Lateral):
        # A plain name, as in `CROSS APPLY server.db.dbo.t`: what it stands for was not looked at as a table's name.
        return not isinstance(node.this, exp.Identifier | exp.Dot)
    if isinstance(node, exp.WithTableHint):
        return all(hint.name.lower() in _HARMLESS_HINTS for hint in node.expressions)
    if isinstance(node, exp.DataType) and dialect != "postgres":
        return node.this != exp.DType.USERDEFINED
    return isinstance(node, exp.Binary | exp.Unary | exp.SetOperation) or node.key in READING_PARTS


def _is_pure(name: str, dialect: str) -> bool:
    return (
        name in PURE_FUNCTION_NAMES
        or name in _QUANTIFIERS
        or (dialect == "postgres" and (name in FUNCTIONS or name in FUNCTIONS_OF_EXTENSIONS))
    )


def _is_field(node: exp.Dot, dialect: str) -> bool:
    """Redshift has PostgreSQL's `(x).f` for `f(x)`; for PostgreSQL itself its own grammar has judged that."""
    return dialect != "redshift" or isinstance(node.this, exp.Column | exp.Dot | exp.Bracket | exp.Identifier)


def _is_call(table: exp.Table) -> bool:
    """Whether it is a call, `show(a)`, of a function whose name the parser takes for a table's, and its arguments for
    names of columns: those need a name of the table's own before them."""
    alias = table.args.get("alias")
    return isinstance(alias, exp.TableAlias) and bool(alias.columns) and alias.this is None


def _is_stored(table: exp.Table, dialect: str) -> bool:
    """Whether it lies in the database: DuckDB, clickhouse-local and Snowflake read a file, a stage or an address where
    a table's name looks like one, and SQL Server another server where it has four parts."""
    if dialect in _READING_FILES:
        # To DuckDB `data.csv` without quotes is the same file as with them.
        is_file = dialect == "duckdb" and _FILE_ENDING.search(".".join(part.name for part in table.parts))
        return not is_file and not any(_FILE_NAME.search(part.name) for part in table.parts)
    return dialect != "tsql" or not isinstance(table.this, exp.Dot)
