"""What does not show is shown escaped; what shows stays as it is."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.text import escape_invisible

EVERY = [chr(number) for number in range(sys.maxunicode + 1)]
UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


@pytest.mark.parametrize("category", UNSEEN)
def test_every_character_of_a_category_that_does_not_show_is_escaped(category: str) -> None:
    members = [char for char in EVERY if unicodedata.category(char) == category]
    assert members
    for char in members:
        shown = escape_invisible(f"a{char}b")
        assert shown.startswith("a\\")
        assert shown.endswith("b")
        assert shown.isascii()


def test_a_blank_that_is_not_the_space_is_escaped() -> None:
    blanks = [char for char in EVERY if unicodedata.category(char) == "Zs" and char != " "]
    assert all(char not in escape_invisible(f"a{char}b") for char in blanks)
    assert escape_invisible("rm   -rf    /tmp/x") == "rm   -rf    /tmp/x"


@pytest.mark.parametrize(
    "char",
    [
        "\u034f", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u180b", "\u180c", "\u180d", "\u180e", "\u180f", "\u2800",
        "\u3164", "\uffa0", "\ufe00", "\ufe0d", "\ufff0", "\U0001d159", "\U0001d173", "\U000e0001", "\U000e0041",
        "\U000e007f", "\U000e0100", "\U000e01ef", "\u00ad", "\u061c", "\u200b", "\u200c", "\u200d", "\u200e", "\u2060",
        "\u2064", "\u2066", "\u2069", "\u202a", "\u202e", "\ufeff", "\ufff9",
    ],
)  # fmt: skip
def test_what_unicode_calls_ignorable_is_escaped_whatever_its_category(char: str) -> None:
    assert escape_invisible(f"pay{char}pal") == f"pay\\u{{{ord(char):x}}}pal".replace("\\u{ad}", "\\xad")


def test_letters_marks_numbers_and_signs_of_every_script_stay() -> None:
    seen = "naïve Ελληνικά עברית العربية हिन्दी ไทย 漢字かな 한국어 ½ € ∑ → ✓ 😀 👍🏽 e\u0301 🇫🇷 C:\\new\\table \\x1b"
    assert escape_invisible(seen) == seen


@pytest.mark.parametrize("emoji", ["☺️", "❤️", "✔︎", "‼️", "ℹ️", "↔️", "1️⃣", "#️⃣", "〰️"])
def test_the_selector_of_an_emoji_stays(emoji: str) -> None:
    assert escape_invisible(f"so {emoji} it is") == f"so {emoji} it is"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\ufe0f", "a\\u{fe0f}"),
        ("\ufe0f", "\\u{fe0f}"),
        ("1\ufe0f2", "1\\u{fe0f}2"),
        ("☺\ufe0f\ufe0f", "☺\ufe0f\\u{fe0f}"),
        ("☺\ufe00", "☺\\u{fe00}"),
        ("😀\U000e0101\U000e0102", "😀\\u{e0101}\\u{e0102}"),
        ("\u2800\ufe0f", "\\u{2800}\\u{fe0f}"),
    ],
)
def test_a_selector_elsewhere_is_escaped(text: str, shown: str) -> None:
    assert escape_invisible(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("done\rFAIL", "done\\rFAIL"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("\x7f\x00", "\\x7f\\x00"),
        ("invoice\u202egpj.exe", "invoice\\u{202e}gpj.exe"),
        ("\ud83d alone", "\\u{d83d} alone"),
        ("a\u2028b\u2029c\x85d", "a\\u{2028}b\\u{2029}c\\x85d"),
    ],
)
def test_an_escape_says_which_character_it_is(text: str, shown: str) -> None:
    assert escape_invisible(text) == shown


def test_lines_and_tabs_stay_where_they_may() -> None:
    assert escape_invisible("a\n\tb\r\x1b", keep="\n\t") == "a\n\tb\\r\\x1b"


@given(st.text(st.characters(), max_size=50))
def test_what_comes_out_shows_whole_and_says_the_same_twice(text: str) -> None:
    shown = escape_invisible(text)
    assert not any(unicodedata.category(char) in UNSEEN for char in shown)
    assert escape_invisible(shown) == shown
    assert shown.encode().decode() == shown
    if all(char.isprintable() and char.isascii() for char in text):
        assert shown == text
