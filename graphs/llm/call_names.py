"""Find the tool that a model means where it writes another name than the one it was offered.

Models were trained on other programs' tools, so they write `functions.x`, or `server/tool` as people do; markers of
gpt-oss' own format, such as `x<|channel|>commentary`, are left in the name by endpoints. Only what is certain is read
so: the name is taken out of wrappings that are known, and must then be exactly that of one tool that was offered.
Nothing is guessed from names that look alike.
"""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

_EDGES = string.whitespace + "\"'`"
_NAMESPACE = re.compile(r"(?:functions?|tools?|default_api)[.:/]|mcp__")
_ENDING = re.compile(r"(?:<\|.*|\(\)|:[0-9]+)\Z", re.DOTALL)
"""A marker of the harmony format and what follows it; the brackets of a call; the number that Kimi counts calls by."""
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
"""Whom a message of the harmony format is for."""


class OfferedNames:
    """The names of the tools that one request offered, with the forms in which models write them."""

    def __init__(self, list_forms: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """`list_forms` lists a pair for each form: how it is written, and the name that was offered. It is called once,
        and only when a name is looked for."""
        self._list_forms = list_forms

    @cached_property
    def _by_form(self) -> tuple[Mapping[str, set[str]], Mapping[str, set[str]]]:
        """The names by their forms to the letter, and by those in which case is ignored."""
        exact: defaultdict[str, set[str]] = defaultdict(set)
        folded: defaultdict[str, set[str]] = defaultdict(set)
        for form, name in self._list_forms():
            exact[form].add(name)
            folded[form.casefold()].add(name)
        return exact, folded

    def find_meant(self, written: str) -> str:
        """Find the name of the tool that a model means by what it wrote; what it wrote where that is not certain.

        Upper and lower case are ignored only where no form is the same to the letter.
        """
        exact, folded = self._by_form
        readings = list_readings(written)
        found = set[str]().union(*(exact.get(reading, ()) for reading in readings))
        found = found or set[str]().union(*(folded.get(reading.casefold(), ()) for reading in readings))
        return found.pop() if len(found) == 1 else written


def list_readings(written: str) -> set[str]:
    """List what a written name may stand for: itself, and what is in it once known wrappings are taken off."""
    readings: set[str] = set()
    unread = [written]
    while unread:
        reading = unread.pop().strip(_EDGES)
        if reading and reading not in readings:
            readings.add(reading)
            unread += [_NAMESPACE.sub("", reading, count=1) if _NAMESPACE.match(reading) else reading]
            unread += [_ENDING.sub("", reading), *_RECIPIENT.findall(reading)]
    return readings
