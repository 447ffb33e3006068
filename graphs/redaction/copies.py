"""A bounded copy of a call's arguments, without secrets. Never raises, whatever a model wrote."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, quote_plus

from graphs.redaction.names import classify_name, is_secret_name
from graphs.redaction.shapes import ValueShape
from graphs.redaction.texts import REDACTED, build_redactor, scrub_text
from graphs.text import format_cut

LONGEST = 1000
"""Characters of one text that are kept."""
LONGEST_NAME = 100
BUDGET = 8000
"""Characters of all texts of one call together."""
DEEPEST = 8
MOST = 50
"""Members of one list or object that are kept."""
DEEPEST_WHOLE = 50
"""The same of a copy that is not shortened."""
SHORTEST_KNOWN = 6
"""Characters of a configured value that is hidden wherever it stands: shorter ones are everyday words."""

SHORTEST_FOUND = 8
"""Characters of a value hidden for its name that `collect_hidden` gives: a shorter one may be an everyday word."""

_AHEAD = 4000
"""Characters that are looked through beyond what is kept: a secret may begin before the cut and end after it."""
_TAIL = 600
"""Characters before the end of what was looked through, in which a secret may stand whose end is not there."""

_SCHEMES = frozenset(("apikey", "basic", "bearer", "digest", "negotiate", "token"))
"""What stands before the secret in a header."""
_LABELS = ("name", "key", "header", "field", "parameter")


@dataclass(frozen=True, kw_only=True)
class _Bounds:
    """How much of a value a copy has."""

    longest: int = LONGEST
    longest_name: int = LONGEST_NAME
    budget: int = BUDGET
    deepest: int = DEEPEST
    most: int = MOST


_RECORD = _Bounds()
_WHOLE = _Bounds(
    longest=sys.maxsize, longest_name=sys.maxsize, budget=sys.maxsize, deepest=DEEPEST_WHOLE, most=sys.maxsize
)


class Redaction:
    """Makes copies of texts and arguments without secrets.

    `known` are values of the configuration that are secrets themselves; those with fewer characters than `shortest` are
    not looked for.
    """

    def __init__(self, known: Iterable[str] = (), *, shortest: int = SHORTEST_KNOWN) -> None:
        self._known = tuple(known)
        self._shortest = shortest
        whole = {value for value in self._known if len(value) >= shortest}
        words = {word for value in whole for word in value.split() if word.lower() not in _SCHEMES}
        values = whole | {word for word in words if len(word) >= SHORTEST_KNOWN}
        self._hide = build_redactor(sorted(form for value in values for form in list_spellings(value)))

    def redact_text(self, text: str, longest: int = LONGEST) -> str:
        """Return `text` without secrets, cut to `longest` characters, with its length then."""
        if len(text) <= longest:
            return self._scrub(text)
        window = longest + _AHEAD
        clean = self._scrub(text[:window])
        kept = min(longest, len(clean) - _TAIL) if len(text) > window else longest
        return format_cut(clean[: max(0, kept)], len(text))

    def redact_known(self, text: str) -> str:
        """Return `text` without the known secrets, and otherwise as it is."""
        return text if self._hide is None else self._hide(text)

    def copy(self, args: Mapping[str, Any], shape: ValueShape | None = None) -> dict[str, Any]:
        """Return the arguments as a record may show them; `shape` is what the tool's schema says of secrets."""
        return _CopyBuilder(self, _RECORD).copy_mapping(args, shape, 0)

    def copy_whole(self, value: object, shape: ValueShape | None = None) -> Any:
        """Return a value of any kind without secrets, and otherwise whole."""
        return _CopyBuilder(self, _WHOLE).copy_value(value, shape, 0)

    def collect_hidden(self, value: object, shape: ValueShape | None = None) -> set[str]:
        """Collect the texts that a copy hides for their names, or for what the shape says: the same secret may stand
        elsewhere under no such name. Words of letters alone are left out, since they stand everywhere."""
        builder = _CopyBuilder(self, _WHOLE)
        builder.copy_value(value, shape, 0)
        return {text for text in builder.hidden if len(text) >= SHORTEST_FOUND and not text.isalpha()}

    def extend(self, secrets: Iterable[str]) -> Redaction:
        """Return a redaction that hides these too, wherever they stand."""
        return Redaction((*self._known, *secrets), shortest=self._shortest)

    def _scrub(self, text: str) -> str:
        return scrub_text(self.redact_known(text))


class _CopyBuilder:
    """The state of making one copy."""

    def __init__(self, redaction: Redaction, bounds: _Bounds) -> None:
        self._redaction = redaction
        self._bounds = bounds
        self._left = bounds.budget
        self.hidden: list[str] = []
        """The texts that were hidden for their names, or for the shape."""

    def copy_value(self, value: object, shape: ValueShape | None, depth: int) -> Any:
        match value:
            case None | bool():
                return value
            case str():
                return self.copy_text(value)
            case int() | float():
                return self.copy_number(value)
            case Mapping():
                known = cast("Mapping[str, object]", value)
                return (
                    self.copy_mapping(known, shape, depth)
                    if depth < self._bounds.deepest
                    else f"[{len(known)} members]"
                )
            case list() | tuple():
                items = cast("Sequence[object]", value)
                return self.copy_items(items, shape, depth) if depth < self._bounds.deepest else f"[{len(items)} items]"
            case _:
                return f"[{type(value).__name__}]"

    def hide(self, value: object) -> str:
        if isinstance(value, str):
            self.hidden.append(value)
        return REDACTED

    def copy_text(self, text: str) -> str:
        if self._left <= 0:
            return f"[{len(text)} characters]"
        copied = self._redaction.redact_text(text, min(self._bounds.longest, self._left))
        self._left -= len(copied)
        return copied

    def copy_number(self, value: float) -> Any:
        if isinstance(value, int) and value.bit_length() > 1024:
            return f"[a number of {value.bit_length()} bits]"
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        self._left -= 8
        written = str(value)
        return value if len(written) < SHORTEST_KNOWN or self._redaction.redact_text(written) == written else REDACTED

    def copy_mapping(self, value: Mapping[str, object], shape: ValueShape | None, depth: int) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        # `{"name": "Authorization", "value": …}` is how lists of headers and variables are written.
        labelled = any(isinstance(label := value.get(key), str) and is_secret_name(label) for key in _LABELS)
        for index, (name, part) in enumerate(value.items()):
            if index == self._bounds.most or self._left <= 0:
                copied["…"] = f"[{len(value) - index} more]"
                break
            inner = (shape.properties.get(name) or shape.rest) if shape is not None else None
            self._left -= 8
            # The name is the model's own text as well.
            shown = self._redaction.redact_text(name, self._bounds.longest_name)
            if is_hidden(name, part, inner) or (labelled and name == "value" and isinstance(part, str)):
                copied[shown] = self.hide(part)
            else:
                copied[shown] = self.copy_value(part, inner, depth + 1)
        return copied

    def copy_items(self, value: Sequence[object], shape: ValueShape | None, depth: int) -> list[Any]:
        copied: list[Any] = []
        inner = shape.rest if shape is not None else None
        before: object = None
        for index, part in enumerate(value):
            if index == self._bounds.most or self._left <= 0:
                copied.append(f"[{len(value) - index} more]")
                break
            self._left -= 2
            # `["--password", "x"]` and `["Authorization", "x"]`: a command's words, a header as a pair.
            follows = (
                isinstance(before, str) and (before.startswith("-") or len(value) == 2) and is_secret_label(before)
            )
            if (follows and isinstance(part, str)) or (inner is not None and inner.secret):
                copied.append(self.hide(part))
            else:
                copied.append(self.copy_value(part, inner, depth + 1))
            before = part
        return copied


def list_spellings(secret: str) -> set[str]:
    """List the spellings of a secret: as it is, and as it stands in addresses and in JSON."""
    return {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]}


def is_hidden(name: str, value: object, shape: ValueShape | None) -> bool:
    """Whether a member's whole value is a secret. True, false and null give nothing away."""
    if value is None or isinstance(value, bool):
        return False
    if shape is not None and shape.secret:
        return True
    said = classify_name(name)
    return said == "secret" or (said == "secret text" and not isinstance(value, (int, float)))


def is_secret_label(word: str) -> bool:
    """Whether a word of a list says that the next one is a secret: an option or a header's name, no sentence."""
    return len(word) <= 40 and " " not in word and "=" not in word and is_secret_name(word)
