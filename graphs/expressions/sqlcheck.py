"""Whether a piece of SQL surely only reads: `sql_read_only` of the rules."""

from __future__ import annotations

from sqlglot import exp, tokenize
from sqlglot import parse as parse_sql
from sqlglot.errors import SqlglotError
from sqlglot.expressions.core import Expr
from sqlglot.expressions.dml import DML
from sqlglot.tokenizer_core import Token, TokenType

from graphs.expressions.sqlnames import KNOWN_PURE, NAMED_PURE, WRITING

DIALECTS = (
    "postgres", "sqlite", "mysql", "bigquery", "clickhouse", "duckdb", "oracle", "redshift", "snowflake", "trino",
    "tsql",
)  # fmt: skip

MAX_CHARACTERS = 20_000
MAX_DEPTH = 30

# What a statement that reads begins with.
_FIRST = {TokenType.SELECT, TokenType.WITH, TokenType.VALUES, TokenType.L_PAREN}

_NODES_THAT_ACT = (
    DML, exp.DDL, exp.Into, exp.Lock, exp.Command, exp.PropertyEQ, exp.Operator, exp.Set, exp.Alter, exp.Drop,
    exp.Placeholder, exp.Parameter, exp.SessionParameter,
)  # fmt: skip

# The only roots of a statement that reads.
_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)


def sql_read_only(sql: str, dialect: str = "postgres") -> bool:
    """Whether every statement of `sql` surely only reads.

    What cannot be parsed, locks rows, or calls a function that is not known to be pure, does not. Raises ValueError
    for a dialect that is not one of `DIALECTS`.
    """
    if dialect not in DIALECTS:
        raise ValueError(f"{dialect!r} is no SQL dialect known here; choose one of: {', '.join(DIALECTS)}")
    # MySQL runs what stands in comments of this kind.
    if len(sql) > MAX_CHARACTERS or "\0" in sql or "/*!" in sql or "/*m!" in sql.lower():
        return False
    try:
        if not _begins_as_reading(tokenize(sql, dialect=dialect)):
            return False
        statements = [statement for statement in parse_sql(sql, dialect=dialect) if statement is not None]
        return bool(statements) and all(_only_reads(statement) for statement in statements)
    except (SqlglotError, RecursionError):
        return False


def _begins_as_reading(tokens: list[Token]) -> bool:
    """Refuses by the words alone what a parser could misread, and what would take it long."""
    depth = 0
    at_start = True
    for index, token in enumerate(tokens):
        if token.token_type == TokenType.SEMICOLON:
            at_start = True
            continue
        if at_start and token.token_type not in _FIRST:
            return False
        at_start = False
        following = tokens[index + 1].token_type if index + 1 < len(tokens) else None
        if token.token_type == TokenType.IDENTIFIER:
            # A function in quotes may be somebody's own that is called like a known one.
            if following == TokenType.L_PAREN:
                return False
        elif token.token_type != TokenType.STRING and token.text.lower() in WRITING:
            # In the tokens as well as in the tree: a parser may take one of these words for an alias, as in
            # `SELECT 1 DELETE FROM t`, where a database sees a second statement.
            return False
        depth += token.token_type in (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE)
        depth -= token.token_type in (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END)
        if depth > MAX_DEPTH:
            return False
    return True


def _only_reads(statement: Expr) -> bool:
    if not isinstance(statement, _QUERIES):
        return False
    return all(_is_harmless(node) for node in statement.walk())


def _is_harmless(node: Expr) -> bool:
    if isinstance(node, _QUERIES):
        return True
    if isinstance(node, _NODES_THAT_ACT):
        return False
    if isinstance(node, exp.Dot):
        # A function of a schema may be anybody's, whatever it is called.
        return not isinstance(node.expression, exp.Func)
    if isinstance(node, exp.Anonymous):
        return isinstance(node.this, str) and node.this.lower() in NAMED_PURE
    if isinstance(node, exp.Func):
        return node.key in KNOWN_PURE
    return True
