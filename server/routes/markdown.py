"""Markdown of a model as a tree of elements: the page builds them one by one, and parses no markup of anybody's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypedDict

from markdown_it import MarkdownIt
from markdown_it.token import Token

MOST_LEVELS = 18
"""Elements within one another. Beyond 20 the parser leaves text out, and nothing may be left out."""
_TAGS = frozenset({"p", "strong", "em", "s", "ul", "li", "blockquote", "table", "thead", "tbody", "tr"})
"""The elements that open as their token's own tag, and say no more."""
_OPENED = re.compile(r"https?://[^/\s]|mailto:[^/\s]", re.IGNORECASE)
"""The addresses that a link may lead to: those that leave this page, and run nothing."""
_ALIGNMENTS = frozenset({"left", "center", "right"})

MOST_CELLS = 5_000
"""Cells that the tables of a text may come to. The parser fills up every row, so that a few thousand letters could
become millions of cells; a text in which there might be more is read without tables."""

_PARSER = MarkdownIt("commonmark", {"html": False}).enable("strikethrough").disable("reference")
"""Without HTML: `<b>` stays the text that it is. So does `[1]: address`, which would not be seen."""
_TABLE_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable("reference")


class MarkdownElement(TypedDict, total=False):
    """One element, as the page reads it."""

    tag: str
    children: list[MarkdownElement | str]
    address: str
    """Of a link or an image, whatever it is."""
    opens: bool
    """Whether a person may be led to that address."""
    start: int
    """The first number of an `ol`."""
    level: int
    """Of a `heading`, from 1."""
    language: str
    """Of a `pre`: what stands behind its fence; may be empty."""
    align: str
    """Of a `th` or `td`."""


MarkdownTree = list[MarkdownElement | str]


def build_markdown(text: str) -> MarkdownTree:
    """Build the tree of a Markdown text; of one that is nested beyond measure, a single paragraph with the text."""
    top: MarkdownElement = {"children": []}
    lines = text.splitlines()
    most_cells = len(lines) * max((line.count("|") + 1 for line in lines), default=0)
    parser = _TABLE_PARSER if most_cells <= MOST_CELLS else _PARSER
    if not _add_tokens([top], parser.parse(text)):
        return [MarkdownElement(tag="p", children=[text])]
    return top.get("children", [])


def _add_tokens(parents: list[MarkdownElement], tokens: Iterable[Token]) -> bool:
    """Add what the tokens mean to the last of `parents`. False: they are nested too deeply."""
    for token in tokens:
        if token.hidden:  # the paragraph of an item of a tight list
            continue
        if token.nesting < 0:
            parents.pop()
        elif token.type == "inline":
            if not _add_tokens(parents, token.children or ()):
                return False
        elif (element := _build_element(token)) is not None:
            parents[-1].setdefault("children", []).append(element)
            if token.nesting > 0 and not isinstance(element, str):
                parents.append(element)
                if len(parents) > MOST_LEVELS:
                    return False
    return True


def _build_element(token: Token) -> MarkdownElement | str | None:
    """Build what one token opens, or is. Whatever is not known here stays text."""
    match token.type:
        case "softbreak":
            return "\n"
        case "hardbreak":
            return {"tag": "br"}
        case "code_inline":
            return {"tag": "code", "children": [token.content]}
        case "fence" | "code_block":
            return {"tag": "pre", "language": token.info.strip(), "children": [token.content.removesuffix("\n")]}
        case "heading_open":
            return {"tag": "heading", "level": int(token.tag[1:]), "children": []}
        case "link_open":
            return {"tag": "link", **_describe_address(token.attrs.get("href")), "children": []}
        case "image":
            return {"tag": "image", **_describe_address(token.attrs.get("src")), "children": [token.content]}
        case "ordered_list_open":
            return {"tag": "ol", "start": int(token.attrs.get("start", 1)), "children": []}
        case "th_open" | "td_open":
            align = str(token.attrs.get("style", "")).removeprefix("text-align:")
            cell: MarkdownElement = {"tag": token.tag, "children": []}
            return {**cell, "align": align} if align in _ALIGNMENTS else cell
        case _ if token.tag in _TAGS and token.nesting > 0:
            return {"tag": token.tag, "children": []}
        case "hr":
            return {"tag": "hr"}
        case _:
            return token.content or None


def _describe_address(value: str | int | float | None) -> MarkdownElement:
    address = str(value or "")
    return {"address": address, "opens": _OPENED.match(address) is not None}
