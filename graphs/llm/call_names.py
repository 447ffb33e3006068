"""Find the tool that a model means where it writes another name than the one it was offered.

Models were trained on other programs' tools, so they write `functions.x`, or `server/tool` as people do; markers of
gpt-oss' own format, such as `x<|channel|>commentary`, are left in the name by endpoints. Only what is certain is read
so: the name is taken out of wrappings that are known, and must then be exactly that of one tool that was offered.
Nothing is guessed from names that look alike.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable

_EDGES = string.whitespace + "\"'`"
_NAMESPACE = re.compile(r"(?:functions?|tools?|default_api)[.:/]|mcp__")
_ENDING = re.compile(r"(?:<\|.*|\(\)|:[0-9]+)\Z", re.DOTALL)
"""A marker of the harmony format and what follows it; the brackets of a call; the number that Kimi counts calls by."""
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
"""Whom a message of the harmony format is for."""


def find_meant_name(written: str, offered: Iterable[tuple[str, str]]) -> str:
    """Find the name of the offered tool that a model means by what it wrote; what it wrote where that is not certain.

    `offered` has a pair for each way in which a tool may be written: that form, and the name that was offered.
    Upper and lower case are ignored only where no form is equal to the letter.
    """
    forms = tuple(offered)
    readings = list_readings(written)
    for fold in (str, str.casefold):
        wanted = {fold(reading) for reading in readings}
        if found := {name for form, name in forms if fold(form) in wanted}:
            return found.pop() if len(found) == 1 else written
    return written


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
