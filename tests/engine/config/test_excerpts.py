"""The excerpt under a problem: the caret is where the place is, and nothing that it should not show is shown."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from graphs.config.source import build_excerpt
from graphs.config.source.excerpts import MAX_WIDTH


def under(text: str, piece: str, line: int = 1) -> tuple[str, str]:
    """The shown line, and what of it stands at and behind the caret."""
    column = text.split("\n")[line - 1].index(piece) + 1
    shown, caret = build_excerpt(text, line, column).split("\n")
    assert caret.rstrip("^").endswith(" ")
    cells = cell_len(caret) - 1
    at = next(index for index in range(len(shown) + 1) if cell_len(shown[:index]) == cells)
    return shown.split(" | ", 1)[1], shown[at:]


def test_the_caret_stands_under_the_place() -> None:
    assert build_excerpt("a: 1\nbb: {c: 2}\n", 2, 6) == "    2 | bb: {c: 2}\n      |      ^"
    assert build_excerpt("a: 1", 1, 5) == "    1 | a: 1\n      |     ^"


@pytest.mark.parametrize("before", ["日本語: ", "e\u0301te\u0301: ", "👩: ", "é: ", "ﬃ: ", "a\tb: "])
def test_wide_narrow_and_joined_characters_and_tabs_do_not_move_the_caret(before: str) -> None:
    assert under(f"{before}here", "here")[1] == "here"


def test_a_place_that_is_not_in_the_file_has_no_excerpt() -> None:
    assert build_excerpt("a: 1\n", 0, 0) == ""
    assert build_excerpt("a: 1\n", 7, 1) == ""


@pytest.mark.parametrize("filling", ["x", "日"])
@pytest.mark.parametrize(("before", "after"), [(0, 300), (300, 0), (300, 300), (30, 300)])
def test_a_long_line_is_cut_around_the_place(filling: str, before: int, after: int) -> None:
    shown, behind = under(f"{filling * before}here{filling * after}", "here")
    assert behind.startswith("here")
    assert cell_len(shown) <= MAX_WIDTH + 2
    assert shown.startswith("…") is (before == 300)
    assert shown.endswith("…") is (after == 300)


def test_line_ends_of_other_systems_and_a_byte_order_mark_count_as_yaml_counts_them() -> None:
    assert under("a: 1\r\nb: here\r\n", "here", line=2)[1] == "here"
    assert build_excerpt("\ufeffa: 1", 1, 1) == "    1 | a: 1\n      | ^"


def test_nothing_in_a_file_can_steer_the_terminal() -> None:
    text = "a: \x1b[2J\x07\u202e\u2066\x9b31m here\x00"
    shown, behind = under(text, "here")
    assert behind.startswith("here")
    assert not set(shown) & set("\x1b\x07\u202e\u2066\x9b\x00")


@pytest.mark.parametrize(
    "line",
    [
        "  api_key: hush-hush-hush",
        "  api_key: 'hush-hush-hush'",
        '  api_key: "hush hush hush"   # comment',
        "models: {api_key: hush-hush-hush, default: x}",
        "headers: {Authorization: Bearer hush-hush-hush}",
        'headers: {Authorization: "Bearer hush-hush-hush"}',
        "env: {PG_PASSWORD: hush-hush-hush}",
        "env: {GITHUB_TOKEN: hush-hush-hush}",
        "- {name: a, role: b, env: ilk-hush-hush-hush}",
        "- {name: a, role: b, sha256: hush-hush-hush}",
        "args: [--token=hush-hush-hush]",
        "args: ['postgresql://me:hush-hush-hush@db/shop']",
        "base_url: http://hush-hush-hush@litellm:4000",
        "args: [sk-hush-hush-hush]",
        "api_key [ilk_hush-hush-hush",
    ],
)
def test_what_looks_like_a_secret_written_out_is_blotted_out(line: str) -> None:
    shown = build_excerpt(line, 1, 1).split("\n")[0].removeprefix("    1 | ")
    assert "hush" not in shown
    assert "***" in shown
    assert len(shown) == len(line)


@pytest.mark.parametrize(
    "line",
    [
        "api_key: ${LITELLM_API_KEY:-}",
        'headers: {Authorization: "Bearer ${PG_MCP_TOKEN}"}',
        "- {name: laptop, role: developer, env: INTERLOCK_LAPTOP_KEY}",
        "url: http://mcp-proxy:8585/servers/postgres/mcp",
        "max_tokens: 12345678",
        "key: caller",
        "prompt: You keep secrets and say the magic words.",
    ],
)
def test_what_is_no_secret_is_shown_as_it_is_written(line: str) -> None:
    assert build_excerpt(line, 1, 1).split("\n")[0] == f"    1 | {line}"
