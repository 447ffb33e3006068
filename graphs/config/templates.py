"""Templates in servers.yaml: texts with `{{ … }}`, compiled, and filled in with a caller's values.

Only a `per_user` server is given values; the templates of any other may hold nothing but braces written out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from graphs.config.reader import ParsedFile
from graphs.config.source import Path
from graphs.config.spec.servers import ServerSpec, ServersSpec
from graphs.errors import InterlockError, Problem
from graphs.expressions import ExpressionError, Template, compile_template
from graphs.policy.rules import Caller

Setting = tuple[str, str | int]
"""`("env", "NAME")`, `("args", 0)` or `("headers", "X-User")`."""
Templates = Mapping[Setting, Template]

LONGEST = 1_000
"""Characters of one value: it has to fit where servers expect a name."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SEPARATING = (
    ("://", "/\\%?#&=:;,@ "),
    ("/", "/\\%"),
    ("\\", "/\\%"),
    (";", ";,=&"),
    (",", ";,=&"),
    ("=", ";,=&"),
    ("&", ";,=&"),
    ("?", "?#&="),
    ("#", "?#&="),
    ('"', "\"'\\"),
    ("'", "\"'\\"),
    (":", ":"),
    ("@", "@:"),
    ("|", "|"),
)
"""Where the text around a value holds the first, the value would mean something else with one of the second in it."""
_SHARED = (
    "this server's one connection serves every user, so nothing of the caller can be filled in; add 'per_user: true'"
    ", or, to write the braces themselves, write {{ '{{' }}"
)
_NOT_FILLED = "nothing is filled in here; '{{ … }}' may stand in the values of 'env', 'headers' and 'args'"
_FROM_VARIABLE = "the value of a variable brings '{{' into this text; give the variable a text of its own"
_CODE = "would be run as a program's text, whatever the caller is called; pass it by 'env', and read the variable"
_INTERPRETERS = re.compile(
    r"(sh|bash|dash|zsh|ksh|ash|fish|cmd|powershell|pwsh|python[0-9.]*|node|perl|ruby|php)(\.exe)?", re.IGNORECASE
)
_TAKES_CODE = re.compile(r"-[A-Za-z]*[ceEr]|--(eval|command|print)=?|/[cCkK]|-[Cc]ommand", re.ASCII)


class UnfitValue(InterlockError):
    """This caller's values cannot be given to the server. The text says why, and shows none of them."""


@dataclass(frozen=True, kw_only=True)
class ServerTemplate:
    """The settings of one `per_user` server, to be filled in for callers. Equal where it would fill in the same."""

    spec: ServerSpec
    """As it is written, with paths that are absolute."""
    templates: Templates = field(repr=False)
    """The settings that hold a `{{ … }}`. All others are taken as they are, whatever variables have put into them."""

    def __eq__(self, other: object) -> bool:
        # Texts are compiled anew by every reload; what they say stands in the spec.
        return (
            isinstance(other, ServerTemplate)
            and self.spec == other.spec
            and self.templates.keys() == other.templates.keys()
        )

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def render_values(self, caller: Caller) -> tuple[str, ...]:
        """Render the templates for this caller, in order. Raises UnfitValue."""
        for name in ("user", "email", "role", "key"):
            # Expressions see some characters replaced: two names that differ in them must not become one.
            if (found := _CONTROL.search(getattr(caller, name))) is not None:
                raise UnfitValue(f"caller.{name} holds the control character U+{ord(found[0]):04X}")
        return tuple(_render_setting(setting, text, {"caller": caller}) for setting, text in self.templates.items())

    def fill(self, values: Sequence[str]) -> ServerSpec:
        """Return the server for a caller with these values, which `render_values` returned."""
        args, env, headers = list(self.spec.args), dict(self.spec.env), dict(self.spec.headers)
        for (kind, key), value in zip(self.templates, values, strict=True):
            if isinstance(key, int):
                args[key] = value
            else:
                (env if kind == "env" else headers)[key] = value
        return self.spec.model_copy(update={"args": args, "env": env, "headers": headers})


def _render_setting(setting: Setting, text: Template, values: Mapping[str, Any]) -> str:
    kind, key = setting
    where = f"{kind}[{key}]" if isinstance(key, int) else f"{kind} {key}"
    try:
        pieces = text.render_pieces(values)
    except ExpressionError as error:
        raise UnfitValue(f"{where}: {error}") from error
    around = "".join(piece for expression, piece in pieces if expression is None)
    for expression, value in pieces:
        if expression is not None and (wrong := _find_fault(value, around, header=kind == "headers")) is not None:
            raise UnfitValue(f"{where}: {{{{ {expression} }}}} {wrong}")
    whole = "".join(piece for _, piece in pieces)
    if kind == "args" and whole.startswith("-") and pieces[0][0] is not None:
        raise UnfitValue(
            f"{where}: {{{{ {pieces[0][0]} }}}} begins with '-', so the program would take it for an option"
        )
    return whole


def _find_fault(value: str, around: str, *, header: bool) -> str | None:
    """Explain why a value may not stand in this text; None if it may."""
    if not value:
        return "is empty for this caller, and a server may take nobody for somebody"
    if len(value) > LONGEST:
        return f"has {len(value):,} characters; at most {LONGEST:,} are passed on"
    if (found := _CONTROL.search(value)) is not None:
        return f"holds the control character U+{ord(found[0]):04X}"
    if value != value.strip():
        return "begins or ends with white space, which a server may drop"
    if header and not value.isascii():
        return "holds characters other than those of ASCII, which an HTTP header cannot carry; caller.email may do"
    for mark, forbidden in _SEPARATING:
        if mark in around:
            if (other := next((letter for letter in value if letter in forbidden), None)) is not None:
                return f"holds {other!r}, which would be read as part of the text around it"
            if mark in "/\\" and not value.strip("."):
                return "is made of dots alone, which would be read as another folder"
    return None


def compile_templates(servers: ParsedFile[ServersSpec]) -> tuple[Mapping[str, Templates], list[Problem]]:
    """Compile the texts of every server that hold a `{{ … }}`; return them by server, and their problems."""
    if servers.spec is None:
        return {}, []
    source = servers.source
    found: dict[str, Templates] = {}
    problems: list[Problem] = []
    for name, spec in servers.spec.mcpServers.items():
        at: Path = ("mcpServers", name)
        problems += [source.build_problem((*at, *rest), _NOT_FILLED) for rest in _find_misplaced_braces(spec)]
        texts: dict[Setting, Template] = {}
        for setting, text in _iter_settings(spec):
            path = (*at, *setting)
            written = source.raw_texts.get(path, text)
            # What a variable holds is taken as it is: a password may well hold two braces.
            if "{{" not in written or source.is_broken(path):
                continue
            try:
                texts[setting] = _compile_setting(spec, setting, text, written)
            except ExpressionError as error:
                problems.append(source.build_text_problem(path, error.offset, str(error)))
        found[name] = texts
    return found, problems


def render_braces(spec: ServerSpec, texts: Templates) -> ServerSpec:
    """Return a shared server with its templates, which stand for braces, written out."""
    env, args, headers = dict(spec.env), list(spec.args), dict(spec.headers)
    for (kind, key), text in texts.items():
        if isinstance(key, int):
            args[key] = text.render({})
        else:
            (env if kind == "env" else headers)[key] = text.render({})
    return spec.model_copy(update={"args": args, "env": env, "headers": headers})


def _compile_setting(spec: ServerSpec, setting: Setting, text: str, written: str) -> Template:
    """Compile one setting. Raises ExpressionError."""
    if text.count("{{") != written.count("{{"):
        raise ExpressionError(_FROM_VARIABLE)
    start = text.find("{{")
    try:
        compiled = compile_template(text, "server")
        if not spec.per_user:
            compiled.render({})
    except ExpressionError as error:
        if spec.per_user:
            raise
        raise ExpressionError(_SHARED, start) from error
    if spec.per_user and setting[0] == "args" and _is_code(spec, int(setting[1])):
        raise ExpressionError(f"what stands here {_CODE}", start)
    return compiled


def _iter_settings(spec: ServerSpec) -> Iterator[tuple[Setting, str]]:
    yield from ((("args", at), text) for at, text in enumerate(spec.args))
    yield from ((("env", name), text) for name, text in spec.env.items())
    yield from ((("headers", name), text) for name, text in spec.headers.items())


def _find_misplaced_braces(spec: ServerSpec) -> Iterator[Path]:
    for name in ("command", "cwd", "url"):
        if "{{" in (getattr(spec, name) or ""):
            yield (name,)
    for kind, names in (("env", spec.env), ("headers", spec.headers)):
        yield from ((kind, name) for name in names if "{{" in name)


def _is_code(spec: ServerSpec, at: int) -> bool:
    """Whether an interpreter would run this argument: `sh -c`, `docker run image sh -c`, `node --eval=…`."""
    own, _, _ = spec.args[at].partition("{{")
    before = [spec.command or "", *spec.args[:at], *([own] if own.startswith("-") else [])]
    if not _TAKES_CODE.fullmatch(before[-1]):
        return False
    program = next((part for part in reversed(before) if not part.startswith(("-", "/c", "/C", "/k", "/K"))), "")
    return _INTERPRETERS.fullmatch(PurePath(program).name) is not None
