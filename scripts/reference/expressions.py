"""The page on expressions: the names of each place, and our functions."""

from __future__ import annotations

from graphs.expressions import language
from graphs.expressions.functions import FUNCTIONS
from scripts.reference.markdown import code, require_same, table

INTRODUCTION = """\
# Expressions

Conditions under `when`, and the texts in `{{ … }}`, are [CEL](https://cel.dev). They are compiled and checked when the
files are loaded: a wrong name, a wrong type or a wrong argument is a mistake with its line and column.

An `allow` rule matches only if its condition is true. An `ask` or `deny` rule matches unless its condition is false. So
a condition that cannot be evaluated never lets a call through. If a condition under `next` cannot be evaluated, the
turn ends with a message that names the line.

## Names

The columns say where a name is known: in the rules of `access.yaml`, in the conditions under `next` and the values
under `set` of a graph, in its texts (prompts, inputs, replies), in `servers.yaml` with `per_user`, and in what a test
expects of an `answer`. In a graph, its variables are names too.
"""
PLACES = {"access": "rules", "next": "`next`, `set`", "text": "texts", "server": "servers", "test": "tests"}
NAMES = {
    "args": "The arguments of the call, as the model wrote them: `args.path`, `args['max-size']`.",
    "tool.server": "The name of the tool's server in `servers.yaml`.",
    "tool.name": "The name of the tool on its server.",
    "tool.read_only": "Whether the tool says that it only reads. Unknown unless its server is `trusted`.",
    "tool.destructive": "Whether the tool says that it may destroy something. Unknown unless its server is `trusted`.",
    "tool_calls": (
        "The tool calls of the model's last answer. Each has `id`, `tool` (as `server/tool`), `args` and `verdict`."
    ),
    "message": "The person's latest message.",
    "text": "The text of the model's last answer, or of the reply after it.",
    "graph": "The name of the graph.",
    "visits": "How often this node ran in this turn, this time included: `visits < 3` bounds a loop.",
    "error.node": "The node that failed, behind an `on_error`.",
    "error.kind": "Why: `model` (its endpoint failed), `invalid` (a value does not fit), `timeout`, or `limit`.",
    "error.message": "Why, in words for a person.",
    "node": "The name of the model node that asked for the call.",
    "now": "The time of the decision. With a time zone: `now.getHours('Europe/Berlin')`.",
    "caller.user": "The person who asks, or the name of the key.",
    "caller.email": "The person's e-mail address; empty if it is not known.",
    "caller.role": "The role of the key; behind a key that forwards users, the person's role.",
    "caller.key": "The name of the key; never the key itself.",
    "turn.rounds": "How many answers the model has given in this turn.",
    "turn.calls": "How many tool calls of this turn came before this one, those of the same round too.",
    "answer": "What was said in the last turn, without the words that ask for a decision.",
    "vars": "The variables of the graph at the end.",
    "calls": "The tools that ran, as `server/tool`, in order.",
    "verdicts": "What the rules said of the last call of each tool, by `server/tool`: `allow`, `ask` or `deny`.",
    "route": "The nodes that ran, in order; `end` after each turn, unless a node failed.",
}
TYPES = {
    "BOOL": "true or false",
    "INT": "whole number",
    "STRING": "text",
    "TIMESTAMP": "time",
    "MAP<STRING, DYN>": "mapping",
    "MAP<STRING, STRING>": "mapping",
    "LIST<STRING>": "list of texts",
    "LIST<MAP<STRING, DYN>>": "list of mappings",
}
TEXTS = {
    "path_within": (
        "Whether a path is one of the folders or inside one; of a list of paths, whether each is. Paths are absolute. "
        "A path is not within if it leaves the folder after percent-decoding, in another Unicode form, or through the "
        "symbolic links of this machine."
    ),
    "sql_read_only": (
        "Whether every statement surely only reads. SQL that cannot be parsed, locks rows, or calls a function that is "
        "not known to be pure does not. The dialect is `postgres` unless you name another."
    ),
    "sql_tables": (
        "The tables and views that the SQL reads, such as `customers` or `sales.customers`, in lower case unless "
        "quoted. An error if that cannot be said for sure."
    ),
    "host": (
        "The host of an http(s) URL in lower case, without port. An error for anything else, and for URLs with a user."
    ),
    "public_url": (
        "Whether an http(s) URL leads to a public host: every address of its name is public. A name that does not "
        "resolve is not public."
    ),
    "json": "The value as JSON, in one line, with its keys in alphabetical order.",
    "lines": "The items of a list, one a line: texts as they are, all else as JSON.",
    "full_match": "Whether a regular expression (RE2) matches the whole text.",
}
OTHERS = """\
CEL's own functions are there too: {names}. `matches` is not, because it also matches a part of a text; use
`full_match`. In graphs there are also those of its extension for texts: {texts}. Dialects of SQL: {dialects}.
"""
EXAMPLES = {
    'path_within(args.path, "/srv/files", "/tmp")': "calls whose path is in one of two folders",
    'sql_read_only(args.sql, "sqlite")': "SQL that only reads",
    'sql_tables(args.sql).all(t, t in ["customers", "orders"])': "SQL that reads no other tables",
    'host(args.url) == "api.example.com" && public_url(args.url)': "addresses of one public host",
    "!tool.read_only && turn.calls >= 3": "the fourth call of a turn and later ones, if they may change something",
    "now.getHours('Europe/Berlin') < 16": "calls before four in the afternoon",
}


def build_page() -> str:
    """The whole page. Raises ValueError where a name or function has no description."""
    scopes = language._SCOPES  # pyright: ignore[reportPrivateUsage]
    require_same("name", {name for names in scopes.values() for name in names}, NAMES)
    require_same("function", FUNCTIONS, TEXTS)
    require_same("place", scopes, PLACES)
    types = {name: kind.name() for names in scopes.values() for name, kind in names.items()}
    names = [
        (code(name), TYPES[types[name]], *(mark(name in scopes[place]) for place in PLACES), text)
        for name, text in NAMES.items()
    ]
    functions = [
        (
            code(FUNCTIONS[name].usage.split(" takes ")[0].replace(" or ", "` or `")),
            TYPES[FUNCTIONS[name].returns.name()],
            *(mark(FUNCTIONS[name].is_for(place)) for place in PLACES),
            text,
        )
        for name, text in TEXTS.items()
    ]
    others = OTHERS.format(
        names=", ".join(map(code, language._LIBRARY)),  # pyright: ignore[reportPrivateUsage]
        texts=", ".join(map(code, language._TEXT_LIBRARY)),  # pyright: ignore[reportPrivateUsage]
        dialects=", ".join(map(code, list_dialects())),
    )
    return "\n".join(
        (
            INTRODUCTION,
            table(("name", "type", *PLACES.values(), "meaning"), names),
            "## Functions\n",
            table(("function", "gives", *PLACES.values(), "meaning"), functions),
            others,
            "## Examples\n",
            table(("condition", "true for"), ((code(condition), text) for condition, text in EXAMPLES.items())),
        )
    )


def mark(there: bool) -> str:
    return "✓" if there else ""


def list_dialects() -> list[str]:
    """The dialects of SQL, as the function itself lists them."""
    fault = FUNCTIONS["sql_read_only"].find_fault("no dialect")
    assert fault is not None
    return fault.partition("choose one of: ")[2].split(", ")
