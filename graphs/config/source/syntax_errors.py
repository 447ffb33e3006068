"""Syntax errors of PyYAML, moved to the place of the likely mistake, with its cure."""

from __future__ import annotations

import re

import yaml
from yaml.error import Mark
from yaml.tokens import (
    FlowMappingEndToken,
    FlowMappingStartToken,
    FlowSequenceEndToken,
    FlowSequenceStartToken,
)

_QUOTES = "a text that holds commas, brackets or quotes stands in quotes"


class YamlSyntaxError(Exception):
    """The text is no YAML. Line and column count from 1."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def build_syntax_error(error: yaml.MarkedYAMLError, text: str) -> YamlSyntaxError:
    """Convert PyYAML's error: to the place that people have to look at, with the cure of the common mistakes."""
    mark, words = _locate_mistake(error, text)
    if mark is None:
        return YamlSyntaxError(1, 1, f"this is no YAML: {words}")
    return YamlSyntaxError(mark.line + 1, mark.column + 1, f"this is no YAML: {words}")


def _locate_mistake(error: yaml.MarkedYAMLError, text: str) -> tuple[Mark | None, str]:
    """Return the position of the likely mistake, and the message for it."""
    context, problem = error.context or "", error.problem or ""
    # What is never closed: people look for the place where it opens, not for the end of the file.
    begin, here = error.context_mark, error.problem_mark or error.context_mark
    if "end of stream" in problem and "quoted" in context:
        return begin, "a quote is opened here and never closed"
    if "stream end" in problem and (bracket := _find_open_bracket(text)) is not None:
        return bracket, f"a '{text[bracket.index]}' is opened here and never closed"
    if here is None:
        return None, f"{context} {problem}".strip()
    if "while scanning an alias" in context and begin is not None:
        return begin, "a text that begins with '*' stands in quotes, such as \"*\""
    if "while scanning an anchor" in context and begin is not None:
        return begin, "a text that begins with '&' stands in quotes"
    if "while scanning a tag" in context and begin is not None:
        return begin, "a text that begins with '!' stands in quotes"
    if "could not find expected ':'" in problem and begin is not None:
        return begin, "a key without ': ' after it"
    if "'<document start>'" in problem and (found := re.search("^%", text, re.MULTILINE)) is not None:
        line = text.count("\n", 0, found.start())
        return Mark("", 0, line, 0, "", 0), "a line that begins with '%' is none of YAML's values; remove it"
    if "while parsing a flow" in context and begin is not None:
        return here, _describe_bracket_mistake(problem, begin, here, text)
    if "mapping values are not allowed" in problem:
        return _locate_second_colon(here, text)
    return here, _describe_mistake(context, problem, begin, here, text)


def _find_open_bracket(text: str) -> Mark | None:
    """Find the innermost bracket that is still open at the end."""
    opened: list[Mark] = []
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, FlowSequenceStartToken | FlowMappingStartToken):
                opened.append(token.start_mark)
            elif isinstance(token, FlowSequenceEndToken | FlowMappingEndToken) and opened:
                opened.pop()
    except yaml.YAMLError:
        pass
    return opened[-1] if opened else None


def _describe_bracket_mistake(problem: str, begin: Mark, here: Mark, text: str) -> str:
    if text[here.index - 1 : here.index + 1] == "${":
        return 'between [ ] or { } a variable stands in quotes: "${NAME}"'
    opening = text[begin.index : begin.index + 1]
    closing = {"[": "]", "{": "}"}.get(opening)
    if closing is None:
        return f"{problem}; between [ ] or {{ }} {_QUOTES}"
    place = f"the '{opening}' of line {begin.line + 1}, column {begin.column + 1}"
    return f"here {place} needs a ',' or its '{closing}'; {_QUOTES}"


def _locate_second_colon(here: Mark, text: str) -> tuple[Mark, str]:
    """Find a colon where no key can be: on its own line, or because of the line before."""
    lines = text.splitlines()
    before = lines[here.line][: here.column]
    earlier = next((at for at in range(here.line - 1, -1, -1) if lines[at].strip()), None)
    if earlier is not None and re.fullmatch(r"\s*(?:- )?[\w.-]+", before):
        line = lines[earlier]
        if (glued := re.match(r"\s*(?:- )?[\w.-]+:(?!//)(?=\S)", line)) is not None:
            return Mark("", 0, earlier, glued.end() - 1, "", 0), "a ':' after a key needs a space behind it"
        indent = len(before) - len(before.lstrip())
        if indent > len(line) - len(line.lstrip()):
            return (
                Mark("", 0, here.line, indent, "", 0),
                f"this line is indented as if it belonged to line {earlier + 1}, which has its value already",
            )
    return here, "a second ': ' on this line; put the text that holds it in quotes"


def _describe_mistake(context: str, problem: str, begin: Mark | None, here: Mark, text: str) -> str:
    if "'\\t'" in problem:
        return "a tab is used to indent; use spaces"
    if (found := re.search(r"found character '(.+)' that cannot start any token", problem)) is not None:
        return f"a text that begins with '{found[1]}' stands in quotes"
    if (found := re.search(r"expected the node content, but found '(.+)'", problem)) is not None:
        return f"'{found[1]}' stands where a value is expected; a text that begins with it stands in quotes"
    if "'<document start>'" in problem:
        return "this does not belong to what stands before it; the file holds one mapping, so mind the indentation"
    if "while scanning a directive" in context:
        return "a line that begins with '%' is none of YAML's values; remove it"
    if "sequence entries are not allowed" in problem:
        return "a list with '- ' begins on the line below its key; on the same line, write it as [one, two]"
    if "undefined alias" in problem:
        return f"{problem}; an alias needs its anchor '&name' before it"
    if "expected a single document" in context:
        return "the file holds several documents; keep one, without '---' in between"
    if "unknown escape character" in problem:
        return f"{problem} in a text in double quotes; use single quotes"
    if "while scanning a block scalar" in context:
        return "after '|' or '>' the text begins on the next line, indented"
    if "expected <block end>" in problem and begin is not None:
        return _describe_block_mistake(problem, begin, here, text)
    return f"{context} {problem}".strip()


def _describe_block_mistake(problem: str, begin: Mark, here: Mark, text: str) -> str:
    before = text[: here.index].rstrip()[-1:]
    if "'<scalar>'" in problem and before in ("}", "]"):
        return f"more text follows the '{before}'; a text that begins with a bracket stands in quotes"
    if "'<scalar>'" in problem and before in ("'", '"'):
        return "more text follows the closing quote; put the whole in quotes, and double those within single quotes"
    if (stray := re.search(r"found '([]},])'", problem)) is not None:
        return f"the '{stray[1]}' belongs to no bracket that is open; {_QUOTES}"
    if "found '-'" in problem or "<block sequence start>" in problem:
        return f"a list item stands among the keys of line {begin.line + 1}; mind the indentation"
    return (
        f"this line begins in column {here.column + 1}, and what it should belong to, from line {begin.line + 1} on,"
        f" in column {begin.column + 1}; mind the indentation"
    )
