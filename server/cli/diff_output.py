"""Printing what `interlock diff` finds: as text, as Markdown for a review, or as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from graphs.diagnostics.diff.changes import Change, Mark, WordChange, compare_words
from server.cli.options import DiffFormat
from server.cli.output import escape_line

NOTHING = "The two mean the same."
_SIGNS: Mapping[Mark, str] = {"added": "+", "removed": "-", "changed": "~"}
_CONTEXT = 4
"""Words that are shown on both sides of a change."""
_WORDS: Mapping[Mark, str] = {"added": "new", "removed": "gone", "changed": "changed"}


def format_text(changes: Sequence[Change]) -> Iterator[str]:
    """Format changes as lines, those of one subject together."""
    for subject, group in _group(changes):
        yield escape_line(subject)
        for change in group:
            rights = " ! more rights" if change.widens_rights else ""
            where = f"  [{change.position}]" if change.position else ""
            yield escape_line(f"  {_SIGNS[change.mark]} {change.text}{rights}{where}")
            if change.texts is not None:
                yield f"      {_format_words(compare_words(*change.texts), '[-', '-]', '{+', '+}')}"
    yield from ["", describe_count(changes)] if changes else [NOTHING]


def format_markdown(changes: Sequence[Change]) -> Iterator[str]:
    """Format changes as Markdown, to be put under a pull request; what widens rights comes first."""
    wider = [change for change in changes if change.widens_rights]
    if not changes:
        yield NOTHING
        return
    yield f"**{escape_markdown(describe_count(changes))}**"
    for title, chosen in (
        ("More rights", wider),
        ("Everything else", [change for change in changes if not change.widens_rights]),
    ):
        if chosen and wider:
            yield from ("", f"### {title}")
        for subject, group in _group(chosen):
            yield from ("", f"#### {escape_markdown(subject)}", "")
            for change in group:
                where = f" ({escape_markdown(change.position)})" if change.position else ""
                yield f"- {_WORDS[change.mark]}: {escape_markdown(change.text)}{where}"
                if change.texts is not None:
                    words = compare_words(*change.texts)
                    yield f"  <br>{_format_words(words, '<del>', '</del>', '<ins>', '</ins>', escape_markdown)}"


def format_json(changes: Sequence[Change]) -> Iterator[str]:
    """Format changes as one JSON object."""
    listed = [_build_object(change) for change in changes]
    widens_rights = any(change.widens_rights for change in changes)
    yield json.dumps({"widens_rights": widens_rights, "changes": listed}, indent=2, ensure_ascii=False)


FORMATS: Mapping[DiffFormat, Callable[[Sequence[Change]], Iterator[str]]] = {
    "text": format_text,
    "md": format_markdown,
    "json": format_json,
}


def describe_count(changes: Sequence[Change]) -> str:
    """Say how many changes there are, and by how many of them rights grow."""
    wider = sum(change.widens_rights for change in changes)
    count = f"{len(changes)} {'change' if len(changes) == 1 else 'changes'}"
    return f"{count}; {wider or 'none'} of them may give more rights"


def escape_markdown(text: str) -> str:
    """Escape a text so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", escape_line(text))


def _group(changes: Sequence[Change]) -> Iterator[tuple[str, list[Change]]]:
    for subject, group in groupby(changes, key=lambda change: change.subject):
        yield subject, [*group]


def _format_words(
    words: Sequence[WordChange],
    before_removed: str,
    after_removed: str,
    before_added: str,
    after_added: str,
    escape: Callable[[str], str] = escape_line,
) -> str:
    """Format a text word by word on one line; of what stayed, only what stands beside a change."""
    brackets = {"removed": (before_removed, after_removed), "added": (before_added, after_added)}
    parts: list[str] = []
    for at, piece in enumerate(words):
        text = re.sub(r"\s+", " ", piece.text)
        if piece.mark is None:
            parts.append(escape(_shorten(text, keep_first=at > 0, keep_last=at < len(words) - 1)))
            continue
        before, after = brackets[piece.mark]
        inner = text.rstrip(" ")
        parts.append(f"{before}{escape(inner)}{after}{text[len(inner) :]}")
    return "".join(parts).strip()


def _shorten(text: str, *, keep_first: bool, keep_last: bool) -> str:
    pieces = re.findall(r"\S+ ?| ", text)
    if len(pieces) <= _CONTEXT * (keep_first + keep_last):
        return text
    first = "".join(pieces[:_CONTEXT]) if keep_first else ""
    last = "".join(pieces[-_CONTEXT:]) if keep_last else ""
    return f"{first}… {last}"


def _build_object(change: Change) -> dict[str, Any]:
    made: dict[str, Any] = {
        "subject": change.subject,
        "change": change.mark,
        "text": change.text,
        "position": change.position or None,
        "widens_rights": change.widens_rights,
    }
    if change.texts is not None:
        made["old"], made["new"] = change.texts
    return made
