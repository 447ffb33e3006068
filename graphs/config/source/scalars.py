"""Read one value of a YAML file: plain scalars without YAML's surprises, and `${VARIABLES}` filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from graphs.config.environment import SecretUnreadable

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", re.ASCII)
_DIGITS = 18

# What YAML 1.1 reads as something else than its letters, with the cure.
_SURPRISES: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"yes|Yes|YES|on|On|ON"), "true", "write true, or"),
    (re.compile(r"no|No|NO|off|Off|OFF"), "false", "write false, or"),
    (re.compile(r"[-+]?0[0-7_]+|0o[0-7]+", re.ASCII), "an octal number", "write a plain decimal number, or"),
    (re.compile(r"[-+]?0b[01_]+", re.ASCII), "a binary number", "write a plain decimal number, or"),
    (
        re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?", re.ASCII),
        "a number in base 60",
        "write a plain decimal number, or",
    ),
    (
        re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|0x[0-9a-fA-F_]+)", re.ASCII),
        "a number",
        "write a plain decimal number, or",
    ),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?", re.ASCII), "a date", "write"),
)
# `${env:NAME}` is how some editors write the same.
_VARIABLE = re.compile(r"\$\$(?=\{)|\$\{(?:(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\})?", re.ASCII)
_FOREIGN = re.compile(
    r"\$\{(?:(input|command|config|file):(?!-)|(workspaceFolder|userHome|pathSeparator|/)(?=[:}])(?!:-))[^{}]*\}",
    re.ASCII,
)
"""Variables that editors fill in."""

_MALFORMED = (
    "'${' begins a variable: write ${NAME}, or ${NAME:-default} with a default without braces; $${ stands for the"
    " characters themselves"
)

Plain = str | int | float | bool | None


@dataclass(frozen=True)
class ExpandedText:
    """A text with its variables filled in."""

    text: str
    from_environment: bool
    """Whether a value of the environment is in it, which may be a secret."""
    faults: tuple[tuple[int, str], ...]
    """What could not be filled in: the offset in the text as it was written, and the words."""


def parse_plain(text: str) -> tuple[Plain, str | None]:
    """Return the value of a scalar without quotes, and what is wrong with it, if anything is."""
    if text in _NULLS:
        return None, None
    if text in _BOOLS:
        return _BOOLS[text], None
    if _INT.fullmatch(text) or _HEX.fullmatch(text):
        if len(text) > _DIGITS:
            return 0, "this number is too long; write a smaller one, or a text in quotes"
        return int(text, 16 if _HEX.fullmatch(text) else 10), None
    if _FLOAT.fullmatch(text):
        return float(text), None
    if _SPECIAL.fullmatch(text):
        return 0, f"{text} is no number that can be used here; write one that is finite"
    for pattern, reading, cure in _SURPRISES:
        if pattern.fullmatch(text):
            return text, f"{text} is {reading} to some readers of YAML and a text to others; {cure} '{text}' in quotes"
    return text, None


def find_key_fault(text: str) -> str | None:
    """Explain why a key without quotes may not be what its author thinks; None if every YAML parser reads a text."""
    value, wrong = parse_plain(text)
    if wrong is None and isinstance(value, str):
        return None
    shown = text or "(nothing)"
    return f"the key {shown} is not a text to every reader of YAML; write '{text}' in quotes, or another name"


def describe_foreign_variable(text: str, name: str | None) -> str:
    """Say what to write in place of a variable that only an editor fills in."""
    cures = {"userHome": "${HOME}", "workspaceFolder": "the folder itself", "pathSeparator": "/", "/": "/"}
    cure = cures.get(name or "", "${NAME}, and set that environment variable")
    return f"{text} is a variable of another program, which Interlock cannot fill in; write {cure}"


def expand(text: str, env: Mapping[str, str]) -> ExpandedText:
    """Fill in `${NAME}` and `${NAME:-default}`, where the default stands in for what is unset or empty.

    `$${` stands for `${` itself. Values are never read again: one that holds `${` keeps it.
    """
    pieces: list[str] = []
    faults: list[tuple[int, str]] = []
    used = False
    last = 0
    for match in _VARIABLE.finditer(text):
        pieces.append(text[last : match.start()])
        last = match.end()
        name, default = match.groups()
        try:
            value = env.get(name) if name is not None else None
        except SecretUnreadable as error:
            faults.append((match.start(), str(error)))
            continue
        if match[0] == "$$":
            pieces.append("$")
        elif (foreign := _FOREIGN.match(text, match.start())) is not None and (name is None or env.get(name) is None):
            faults.append((match.start(), describe_foreign_variable(foreign[0], foreign[2])))
        elif name is None:
            faults.append((match.start(), _MALFORMED))
        elif value is not None and (value or default is None):
            pieces.append(value)
            used = True
        elif default is not None:
            pieces.append(default)
        else:
            words = f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
            faults.append((match.start(), words))
    pieces.append(text[last:])
    return ExpandedText("".join(pieces), used, tuple(faults))
