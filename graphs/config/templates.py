"""The settings of a `per_user` server with a caller's values in them, and which values may not go in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphs.config.spec.servers import ServerSpec
from graphs.errors import InterlockError
from graphs.expressions import ExpressionError, Template
from graphs.policy.rules import Caller

Setting = tuple[str, str | int]
"""`("env", "NAME")`, `("args", 0)` or `("headers", "X-User")`."""

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


class UnfitValue(InterlockError):
    """This caller's values cannot be given to the server. The text says why, and shows none of them."""


@dataclass(frozen=True, kw_only=True)
class ServerTemplate:
    """Fills in one server's settings. Equal where it would fill in the same."""

    spec: ServerSpec
    """As it is written, with paths that are absolute."""
    templates: Mapping[Setting, Template] = field(repr=False)
    """What holds a `{{ … }}`. All else is taken as it is, whatever variables have put into it."""

    def __eq__(self, other: object) -> bool:
        # Texts are compiled anew by every reload; what they say stands in the spec.
        return (
            isinstance(other, ServerTemplate)
            and self.spec == other.spec
            and self.templates.keys() == other.templates.keys()
        )

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def render_values(self, caller: Caller) -> tuple[str, ...]:
        """What the texts come to for this caller, in order. Raises Unfit."""
        for name in ("user", "email", "role", "key"):
            # Expressions see some characters replaced: two names that differ in them must not become one.
            if (found := _CONTROL.search(getattr(caller, name))) is not None:
                raise UnfitValue(f"caller.{name} holds the control character U+{ord(found[0]):04X}")
        return tuple(_render_setting(setting, text, {"caller": caller}) for setting, text in self.templates.items())

    def fill(self, values: Sequence[str]) -> ServerSpec:
        """The server as it is for whoever has these `values()`."""
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
    """Why a value may not stand in this text; None if it may."""
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
