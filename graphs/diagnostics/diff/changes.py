"""Changes as they are told: what of the files they are about, whether rights grow by them, and texts word by word."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import BaseModel, SecretBytes, SecretStr

from graphs.redaction import is_secret_name

Mark = Literal["added", "removed", "changed"]
Path = tuple[str | int, ...]
_LONGEST_VALUE = 60
_WORD = re.compile(r"\w+\s*|[^\w\s]\s*|\s+")


@dataclass(frozen=True, slots=True)
class WordChange:
    """A piece of a text."""

    mark: Mark | None
    """None: it is in both texts."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that is different."""

    subject: str
    """`graph support`, `role developer`, `server files`, …: changes of the same subject stand together."""
    mark: Mark
    text: str
    position: str = ""
    """Where it stands: in the new files, and what is gone in the old ones. Empty: at no single place."""
    texts: tuple[str, str] | None = None
    """The old text and the new one, where a text of several words changed."""
    widens_rights: bool = False
    """Whether somebody may do something now that they could not do before, or without the decision that it took."""


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """A setting with another value."""

    path: Path
    old: Any
    new: Any

    @property
    def name(self) -> str:
        """The setting, as people write it: `limits.rounds`."""
        return ".".join(map(str, self.path))


MISSING = object()
"""Stands for the value of a setting that one side does not have."""


def compare_fields(old: object, new: object, *, skip: Iterable[str] = ()) -> list[FieldChange]:
    """Compare two settings, or all settings of two pages, with those in them. `skip`: fields of the page itself."""
    left, right = _flatten(old, skip), _flatten(new, skip)
    return [
        FieldChange(path=path, old=left.get(path, MISSING), new=right.get(path, MISSING))
        for path in dict.fromkeys([*left, *right])
        if left.get(path, MISSING) != right.get(path, MISSING)
        # A list that only one page has, and that is empty, says nothing.
        and not (left.get(path, MISSING) in (MISSING, []) and right.get(path, MISSING) in (MISSING, []))
    ]


def _flatten(value: object, skip: Iterable[str]) -> Mapping[Path, object]:
    skipped = frozenset(skip)
    return {path: leaf for path, leaf in _iter_leaves(value, ()) if not path or path[0] not in skipped}


def _iter_leaves(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    if isinstance(value, BaseModel):
        for name, described in type(value).model_fields.items():
            # What is not said is the same as nothing, whatever a page has in its place.
            if (entry := getattr(value, name)) is not None:
                yield from _iter_leaves(entry, (*path, described.alias or name))
    elif isinstance(value, dict):
        for key, entry in cast("dict[object, object]", value).items():
            yield from _iter_leaves(entry, (*path, str(key)))
    elif isinstance(value, list) and any(isinstance(each, BaseModel | dict) for each in cast("list[object]", value)):
        for at, entry in enumerate(cast("list[object]", value)):
            yield from _iter_leaves(entry, (*path, at))
    else:
        yield path, value


def describe_field(change: FieldChange) -> str:
    """Describe a setting's change: `rounds: 12 → 20`, and of a list what came and went. What may be secret is not
    shown."""
    if is_confidential(change):
        return f"{change.name} is another"
    old, new = (cast("object", value) for value in (change.old, change.new))
    members = [cast("list[object]", value) for value in (old, new) if isinstance(value, list)]
    if len(members) == 2:
        return f"{change.name}: {_describe_members(*members)}"
    return f"{change.name}: {format_value(old)} → {format_value(new)}"


def _describe_members(old: list[object], new: list[object]) -> str:
    added = [f"+ {format_value(each)}" for each in new if each not in old]
    gone = [f"- {format_value(each)}" for each in old if each not in new]
    return ", ".join([*added, *gone]) or "in another order"


def is_confidential(change: FieldChange) -> bool:
    """Whether the value of a setting may be secret."""
    names = [step for step in change.path if isinstance(step, str)]
    return any(map(is_secret_name, names)) or any(
        isinstance(value, SecretStr | SecretBytes) for value in (change.old, change.new)
    )


def format_value(value: object) -> str:
    """Format a value on one line, shortened where it is long."""
    if value is MISSING:
        return "none"
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def is_prose(change: FieldChange) -> bool:
    """Whether it is a text of several words in one of which something changed."""
    return all(isinstance(value, str) for value in (change.old, change.new)) and any(
        " " in cast("str", value).strip() for value in (change.old, change.new)
    )


def compare_words(old: str, new: str) -> tuple[WordChange, ...]:
    """Compare two texts word by word."""
    left, right = _WORD.findall(old), _WORD.findall(new)
    found: list[WordChange] = []
    # Of the white space, only that it is there: a text that is wrapped anew says the same.
    matcher = difflib.SequenceMatcher(None, [each.strip() for each in left], [each.strip() for each in right], False)
    for kind, at, end, to, until in matcher.get_opcodes():
        if kind == "equal":
            found.append(WordChange(None, "".join(right[to:until])))
            continue
        found += [WordChange("removed", "".join(left[at:end]))] if end > at else []
        found += [WordChange("added", "".join(right[to:until]))] if until > to else []
    return tuple(found)
