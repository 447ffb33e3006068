"""Our dialect of CEL: the names of each scope, our functions, and the CEL library's errors as messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Literal
from zoneinfo import available_timezones

from cel_expr_python import cel

from graphs.errors import InterlockError, did_you_mean
from graphs.expressions import celtree, celtypes
from graphs.expressions.functions import FUNCTIONS, build_declarations
from graphs.expressions.types import NAME, FieldType, VarType

MAX_EXPRESSION = 10_000
"""Characters of one expression."""

ScopeName = Literal["access", "next", "text", "server", "test"]
"""Where an expression stands: a rule in access.yaml, CEL in a graph file, a text in a graph file, a setting of a
server, what a test expects."""

VariableTypes = tuple[tuple[str, VarType], ...]
"""The variables that an expression of a graph file may name, each with its type."""


class ExpressionError(InterlockError):
    """An expression that is wrong. `offset` counts its characters from 0."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


_T = cel.Type
_CALLER = {"caller.user": _T.STRING, "caller.email": _T.STRING, "caller.role": _T.STRING, "caller.key": _T.STRING}
_TURN = {"turn.rounds": _T.INT, "turn.calls": _T.INT}
HINTS = ("tool.read_only", "tool.destructive")
"""What a tool says of itself: it has a value only where its server is trusted to say so."""
_GRAPH = {
    "message": _T.STRING,
    "text": _T.STRING,
    "graph": _T.STRING,
    "visits": _T.INT,
    "error.node": _T.STRING,
    "error.kind": _T.STRING,
    "error.message": _T.STRING,
    "now": _T.TIMESTAMP,
    **_CALLER,
}
_SCOPES: Mapping[ScopeName, Mapping[str, cel.Type]] = {
    "access": {
        "args": _T.Map(_T.STRING, _T.DYN),
        "tool.server": _T.STRING,
        "tool.name": _T.STRING,
        **dict.fromkeys(HINTS, _T.BOOL),
        "graph": _T.STRING,
        "node": _T.STRING,
        "now": _T.TIMESTAMP,
        **_CALLER,
        **_TURN,
    },
    "next": {"tool_calls": _T.List(_T.Map(_T.STRING, _T.DYN)), **_GRAPH, **_TURN},
    "text": _GRAPH,
    "server": _CALLER,
    "test": {
        "answer": _T.STRING,
        "vars": _T.Map(_T.STRING, _T.DYN),
        "calls": _T.List(_T.STRING),
        "verdicts": _T.Map(_T.STRING, _T.STRING),
        "route": _T.List(_T.STRING),
    },
}
TEXT_NAMES = frozenset(_SCOPES["text"])
"""What texts of graphs may name beside variables, such as `caller.user`."""
GRAPH_NAMES = frozenset(name.split(".")[0] for name in _SCOPES["next"])
"""What graphs have values for beside their variables, such as `caller`."""
_RESERVED = frozenset(
    (
        # What a state holds beside them.
        *("messages", "verdicts", "asker", "rounds", "calls", "started", "agent", "own_call"),
        *("task_outcomes", "inner_task", "most_rounds", "most_calls", "token_use"),
        *("item", "index", "result", "body", "list", "map", "dyn", "null_type", "optional_type"),
    )
)
"""Names that variables cannot have, beside those of the scopes."""
_PLACES: Mapping[ScopeName, str] = {
    "access": "in the rules of access.yaml",
    "next": "under 'next'",
    "text": "in prompts",
    "server": "in servers.yaml",
    "test": "in tests",
}
_UNKNOWN_NAME_HINTS: Mapping[ScopeName, str] = {
    "access": "; a text stands in quotes",
    "next": "; a text stands in quotes",
    "text": "; to write the braces themselves, write {{ '{{' }}",
    "server": "; to write the braces themselves, write {{ '{{' }}",
    "test": "; a text is compared as answer.contains('text')",
}
"""What somebody may have meant by a name that is like none."""
TOOL_CALL = VarType(
    kind="object",
    fields=tuple(
        FieldType(name=name, type=VarType(kind="any" if name == "args" else "string"))
        for name in ("id", "tool", "args", "verdict")
    ),
)
"""One item of `tool_calls`."""
_LIBRARY = (
    "size",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "contains",
    "startsWith",
    "endsWith",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "bytes",
    "duration",
    "timestamp",
    "type",
    "dyn",
    "getHours",
    "getMinutes",
    "getDate",
    "getDayOfWeek",
    "getDayOfMonth",
    "getDayOfYear",
    "getMonth",
    "getFullYear",
    "getSeconds",
    "getMilliseconds",
)
_TEXT_LIBRARY = (
    "charAt", "format", "indexOf", "join", "lastIndexOf", "lowerAscii", "quote", "replace", "reverse", "split",
    "substring", "trim", "upperAscii",
)  # fmt: skip
_OF_TIME = frozenset(name for name in _LIBRARY if name.startswith("get"))
_TYPES = {
    "STRING": "a text", "BOOL": "true or false", "INT": "a whole number", "UINT": "a whole number",
    "DOUBLE": "a number", "DYN": "anything", "TIMESTAMP": "a time", "DURATION": "a length of time", "BYTES": "bytes",
    "NULL": "nothing", "TYPE": "a type",
}  # fmt: skip

# CEL's own `matches` searches a substring, which a policy's author does not expect: it is not there at all.
_CONFIG = "name: interlock\nstdlib:\n  exclude_functions:\n    - name: matches\n"
_GRAPH_CONFIG = f"{_CONFIG}extensions:\n  - name: strings\n"
"""With CEL's own extension for texts: `join`, `split`, `format`, `replace`, `trim` …"""


@lru_cache(maxsize=64)  # a constant that is costly to build, and that nothing can change
def _build_environment(scope: ScopeName, variables: VariableTypes) -> cel.Env:
    config = cel.NewEnvConfigFromYaml(_GRAPH_CONFIG if scope in ("next", "text") else _CONFIG)
    return cel.NewEnv(config=config, variables=_list_names(scope, variables), extensions=[build_declarations(scope)])


def _list_names(scope: ScopeName, variables: VariableTypes) -> dict[str, cel.Type]:
    return {**{name: type_.cel_type for name, type_ in variables}, **_SCOPES[scope]}


def find_name_fault(name: str) -> str | None:
    """Explain why a variable may not be called so; None: it may."""
    if NAME.fullmatch(name) is None:
        return f"{name!r} is no name for a variable; use letters, digits and '_'"
    if name.startswith("__"):  # a variable is a key of LangGraph's state: one of its own names would break every turn
        why = "names that begin with '__' are LangGraph's own; begin with a letter"
        return f"{name!r} cannot be the name of a variable: {why}"
    if name in _RESERVED or any(name == each.split(".")[0] for scope in _SCOPES.values() for each in scope):
        return f"{name!r} is a name of Interlock's own, so a variable cannot be called so; choose another"
    try:
        cel.NewEnv(variables={name: _T.STRING}).compile(f"{name} == string({name})")
    except RuntimeError:
        return f"{name!r} is a word of CEL, so a variable cannot be called so; choose another"
    return None


def build_activation(scope: ScopeName, data: Mapping[str, Any]) -> cel.Activation:
    """Build the values for expressions of this scope, converted once for any number of them."""
    return _build_environment(scope, ()).Activation(data)


def compile_graph_expression(
    scope: ScopeName, text: str, variables: VariableTypes = ()
) -> tuple[cel.Expression, celtree.Tree, Mapping[int, VarType]]:
    """Compile an expression of a graph file, and find the types of its parts, by their ids in the tree. Raises
    ExpressionError."""
    program, tree = compile_expression(scope, text, variables)
    types = celtypes.infer_types(tree, {**dict(variables), "tool_calls": VarType(kind="list", item=TOOL_CALL)})
    _check_fields(tree, types)
    _check_choices(tree, types)
    return program, tree, types


def compile_expression(
    scope: ScopeName, text: str, variables: VariableTypes = ()
) -> tuple[cel.Expression, celtree.Tree]:
    """Compile an expression, and check what is written out in it. Raises ExpressionError."""
    if not text.strip():
        raise ExpressionError("the expression is empty")
    if len(text) > MAX_EXPRESSION:
        raise ExpressionError(f"the expression has {len(text):,} characters; at most {MAX_EXPRESSION:,} are read")
    if (found := re.search(r"[\x00\ud800-\udfff]", text)) is not None:
        raise ExpressionError(f"the character U+{ord(found[0]):04X} may not stand in an expression", found.start())
    try:
        program = _build_environment(scope, variables).compile(text)
    except RuntimeError as error:
        raise _build_compile_error(str(error), text, scope, variables) from None
    tree = celtree.parse(program.serialize())
    _check_literals(tree)
    return program, tree


def _check_fields(tree: celtree.Tree, types: Mapping[int, VarType]) -> None:
    """Check the fields of objects, which are mappings to CEL: it would take any."""
    for node in tree.root.walk():
        looked = celtree.split_field(node)
        holder = types.get(looked[0].id) if looked is not None else None
        if looked is None or holder is None or not holder.fields or holder.find_field(looked[1]) is not None:
            continue
        names = [field.name for field in holder.fields]
        listed = f"{looked[1]!r}; it has {', '.join(names)}{did_you_mean(looked[1], names)}"
        whose = "a tool call" if holder is TOOL_CALL else "this object"
        raise ExpressionError(f"{whose} has no field {listed}", tree.offsets.get(node.id, 0))


def _check_choices(tree: celtree.Tree, types: Mapping[int, VarType]) -> None:
    """Check the texts that an enum is compared with: another than its values is a slip, and never equal."""
    for node in tree.root.walk():
        if node.name not in ("_==_", "_!=_", "@in", "_in_") or len(node.children) != 2:
            continue
        for one, other in (node.children, node.children[::-1]):
            choice = types.get(one.id)
            if choice is None:
                continue
            for written in other.children if other.kind == "list" else (other,):
                if (wrong := choice.find_literal_fault(written.text)) is not None:
                    raise ExpressionError(wrong, tree.offsets.get(written.id, 0))


def _check_literals(tree: celtree.Tree) -> None:
    """Check the literal arguments of our functions here, not when the first tool call comes."""
    for node in tree.root.walk():
        if node.kind == "call" and node.name in _OF_TIME and node.children:
            _check_zone(tree, node.children[0])
        if node.kind != "call" or node.name not in FUNCTIONS:
            continue
        written = (
            item for child in node.children[1:] for item in (child.children if child.kind == "list" else (child,))
        )
        for argument in written:
            if argument.text is not None and (wrong := FUNCTIONS[node.name].find_fault(argument.text)) is not None:
                raise ExpressionError(wrong, tree.offsets.get(argument.id, 0))


@cache  # a constant that nothing can change
def _compile_zone_check() -> cel.Expression:
    return cel.NewEnv(variables={"zone": _T.STRING}).compile('timestamp("2026-01-01T00:00:00Z").getHours(zone)')


def _check_zone(tree: celtree.Tree, zone: celtree.Expr) -> None:
    at = min(tree.offsets.get(node.id, 0) for node in zone.walk())
    if zone.text is None:
        # The library keeps every zone that it was ever asked for, and looks for its file.
        raise ExpressionError("a time zone is written out, such as 'Europe/Berlin'", at)
    if not zone.text or _compile_zone_check().eval(data={"zone": zone.text}).type() != cel.Type.INT:
        message = f"{zone.text!r} is no time zone known on this machine, such as 'Europe/Berlin' or '+02:00'"
        raise ExpressionError(message + did_you_mean(zone.text, sorted(available_timezones())), at)


_REPLACEMENTS = {
    "and": "&&", "or": "||", "not": "!", "&": "&&", "|": "||", "=": "== to compare", "is": "== to compare",
    "<>": "!= to compare",
}  # fmt: skip
"""What people write who know another language, and how it is written here."""

_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '(.+?)' ")
_OVERLOAD = re.compile(r"found no matching overload for '(.+?)' applied to '\((.*?)\)'")
_SELECTED = re.compile(r"expression of type '(.+?)' cannot be the operand of a select")


def _build_compile_error(error_text: str, text: str, scope: ScopeName, variables: VariableTypes) -> ExpressionError:
    if "recursion depth" in error_text:
        return ExpressionError("the expression is nested too deeply")
    found = _ERROR.search(error_text)
    if found is None:
        return ExpressionError(
            f"this is no CEL expression: {error_text.splitlines()[0].removeprefix('INVALID_ARGUMENT: ')}"
        )
    lines = text.split("\n")
    offset = sum(len(line) + 1 for line in lines[: int(found[1]) - 1]) + int(found[2]) - 1
    offset = min(offset, len(text))
    message = found[3].removesuffix(" [INVALID_ARGUMENT]")
    if (undeclared := _UNDECLARED.search(message)) is not None:
        name = undeclared[1]
        start = _find_name_start(text, name, offset)
        called = text[start + len(name) :].lstrip().startswith("(")
        return ExpressionError(_describe_undeclared_name(name, scope, called, variables), start)
    if (overload := _OVERLOAD.search(message)) is not None:
        name, types = overload.groups()
        if name in FUNCTIONS:
            return ExpressionError(
                f"{FUNCTIONS[name].usage}; found {_describe_types(types)}", _find_name_start(text, name, offset)
            )
        shown = name.replace("_", " ").strip() if name.startswith(("_", "!", "-")) else name.lstrip("@")
        used = f"'{shown}' cannot be used on {_describe_types(types)}"
        return ExpressionError(used, _find_name_start(text, name, offset))
    if (selected := _SELECTED.search(message)) is not None:
        return ExpressionError(f"{describe_type(selected[1].upper())} has no fields", offset)
    if message.startswith("Syntax error: "):
        return ExpressionError(f"this is no CEL expression: {_describe_syntax_error(message)}", offset)
    return ExpressionError(message, offset)


def _describe_syntax_error(message: str) -> str:
    said = message.removeprefix("Syntax error: ").split(" expecting ")[0]
    if "'<EOF>'" in said:
        return "it ends too early"
    found = re.search(r"(?:input|at:) '\s*([^\s]+)\s*'", said)
    if found is None:
        return said
    if found[1][0] in "'\"":
        return "a quote is opened here and never closed"
    meant = _REPLACEMENTS.get(found[1].lower())
    return f"{found[1]!r} was not expected here" + (f"; write {meant}" if meant else "")


def _find_name_start(text: str, name: str, offset: int) -> int:
    """Find where a called function's name begins: the CEL library points behind it."""
    start = text.rfind(name, 0, offset + len(name))
    return start if start >= 0 and offset - start <= len(name) + 1 else offset


def _describe_undeclared_name(name: str, scope: ScopeName, called: bool, declared: VariableTypes) -> str:
    if name == "matches":
        return "matches looks for the pattern anywhere in the text; write full_match(text, 'pattern') instead"
    if called and name in FUNCTIONS and not FUNCTIONS[name].is_for(scope):
        if FUNCTIONS[name].waits == "names":
            return f"{name} may wait for a name server, so only the rules of access.yaml may call it"
        return f"{name} may take long, so only the rules of access.yaml and branches under 'next' may call it"
    if called and name in FUNCTIONS:
        return f"{FUNCTIONS[name].usage}; found another number of them"
    if called:
        choices = [*FUNCTIONS, *_LIBRARY, *(_TEXT_LIBRARY if scope in ("next", "text") else ())]
        hint = did_you_mean(name, choices) or f"; ours are {', '.join(FUNCTIONS)}"
        return f"there is no function {name!r}{hint}"
    variables = _list_names(scope, declared)
    fields = [other for other in variables if other.startswith(f"{name}.")]
    if fields:
        return f"{name!r} is not a value by itself; it has {', '.join(fields)}"
    root = name.split(".")[0]
    siblings = [other for other in variables if other.startswith(f"{root}.")]
    if siblings:
        return f"there is no {name!r}; there is {', '.join(siblings)}{did_you_mean(name, siblings)}"
    roots = dict.fromkeys(other.split(".")[0] for other in variables)
    elsewhere = [
        place for other, place in _PLACES.items() if any(each.split(".")[0] == root for each in _SCOPES[other])
    ]
    if elsewhere:
        hint = f"; {root!r} is there {' and '.join(elsewhere)} only"
    else:
        hint = did_you_mean(root, [*roots, *variables]) or _UNKNOWN_NAME_HINTS[scope]
    return f"there is no {root!r} here; there is {', '.join(roots)}{hint}"


def _describe_types(types: str) -> str:
    """Describe `int, list(string)` as `a whole number and a list`."""
    kinds = re.findall(r"[A-Za-z_.]+(?:\([^()]*\))?", types)
    return " and ".join(describe_type(kind.upper()) for kind in kinds) or "nothing"


def describe_type(kind: str) -> str:
    if kind.startswith("LIST"):
        return "a list"
    kind = kind.rpartition(".")[2]
    return "a mapping" if kind.startswith("MAP") else _TYPES.get(kind, kind.lower())


_VALUELESS = re.compile(r'No value with name "([^"]+)" found')


def find_missing_name(error_text: str) -> str | None:
    """Find the name without a value in an error of the CEL library; None if the error is another."""
    found = _VALUELESS.search(error_text)
    return found[1] if found is not None else None


_MISSING = re.compile(r'Key not found in map : "(.*)"', re.DOTALL)


def describe_runtime_error(error_text: str) -> str:
    """Reword an error of the CEL library for people, without any value in it."""
    if (missing := _MISSING.search(error_text)) is not None:
        return f"there is no {missing[1][:80]!r} in it"
    if "No matching overload" in error_text:
        return "something in it is not of the type that it needs"
    if "Iteration budget" in error_text:
        return "it would take too many steps"
    return "it fails on these values"
