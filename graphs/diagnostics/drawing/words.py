"""Fit texts into a drawing: on few lines, short, without what no drawing can show; and measure their width."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from graphs.config.spec.graph import LimitsSpec

_WIDTHS = (
    *(318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337),
    *(636, 636, 636, 636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531),
    *(1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787),
    *(603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500),
    *(500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612),
    *(635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838),
)
"""The widths of U+0020 to U+007E in DejaVu Sans, in thousandths of its size. Browsers' own fonts are narrower."""
_OTHERS = 700
_WIDE = 1050
_BOLD = 1.13
ELLIPSIS = "…"


def clean(text: str) -> str:
    """Put a text on one line. What XML cannot hold, and what turns the direction of writing, becomes U+FFFD."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Cn") else letter
        for letter in " ".join(text.split())
    )


def measure_width(text: str, size: float, *, bold: bool = False) -> float:
    """Measure a text's width in pixels at font size `size`; rather too wide than too narrow."""
    return sum(map(_measure_letter, text)) * size / 1000 * (_BOLD if bold else 1)


def fit_text(text: str, room: float, size: float, *, bold: bool = False) -> str:
    """Put a text on one line, cut to `room` pixels at font size `size`."""
    text = clean(text)
    if measure_width(text, size, bold=bold) <= room:
        return text
    kept = ""
    for letter in text:
        if measure_width(kept + letter + ELLIPSIS, size, bold=bold) > room:
            break
        kept += letter
    return kept.rstrip() + ELLIPSIS


def wrap_text(text: str, room: float, size: float, *, lines: int) -> list[str]:
    """Put a text on at most so many lines, broken between words; the last one is cut."""
    words = clean(text).split(" ")
    found: list[str] = []
    while words and len(found) < lines - 1:
        count = next((n for n in range(len(words), 0, -1) if measure_width(" ".join(words[:n]), size) <= room), 0)
        if not count:
            break
        found.append(" ".join(words[:count]))
        words = words[count:]
    return [*found, fit_text(" ".join(words), room, size)] if words else found


def fit_list(first: str, items: Sequence[str], room: float, size: float, *, lines: int) -> list[str]:
    """List items after the word `first`, as many as fit on so many lines, and say how many more there are."""
    whole = list(map(clean, items))
    for count in range(len(whole), 0, -1):
        more = f" +{len(whole) - count}" if count < len(whole) else ""
        text = f"{first} {', '.join(whole[:count])}{more}"
        found = wrap_text(text, room, size, lines=lines)
        if " ".join(found) == text or count == 1:
            return found
    return []


def format_limits(limits: LimitsSpec) -> str:
    """Say in words where a turn ends at the latest."""
    rounds, calls = limits.rounds, limits.tool_calls
    plural_rounds, plural_calls = "s" * (rounds != 1), "s" * (calls != 1)
    tokens = f"{limits.tokens:,} token{'s' * (limits.tokens != 1)}, " if limits.tokens is not None else ""
    time = format_duration(limits.seconds)
    return f"at most {rounds} round{plural_rounds}, {calls} tool call{plural_calls}, {tokens}{time}"


def format_duration(seconds: float) -> str:
    """Format a length of time: `5 min`, `90 s`, `2 h`."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


def _measure_letter(letter: str) -> int:
    at = ord(letter) - 0x20
    if 0 <= at < len(_WIDTHS):
        return _WIDTHS[at]
    return _WIDE if letter == ELLIPSIS or unicodedata.east_asian_width(letter) in "WF" else _OTHERS
