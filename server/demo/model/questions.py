"""A person's words into steps: regular expressions over English, nothing cleverer."""

from __future__ import annotations

import re
from collections.abc import Iterator

from server.demo.model.queries import to_sql
from server.demo.model.steps import (
    CountThere,
    Execute,
    ListFiles,
    ListTables,
    Measure,
    Query,
    ReadFile,
    ReadFound,
    Stage,
    Step,
    Unknown,
    WriteFile,
    WriteFound,
)

ROOT = "/workspace"
FLAGS = re.IGNORECASE | re.DOTALL

PATH = r"[`\"'“]?(?P<path>/?(?:[\w.-]+/)*[\w-][\w.-]*\.[a-z]\w{0,5})\b[`\"'”]?"
FOUND = r"(?:it|that|this|them|the (?:results?|answers?|list|findings|numbers|table|outcome))"
QUOTED = re.compile(r"```.*?```|`[^`]*`|\"[^\"]*\"|“[^”]*”|(?<!\w)'[^']*'(?!\w)|\bcase\b.*?\bend\b", FLAGS)
THEN = re.compile(r"[\s,;.]*\b(?:and\s+then|then|after\s+(?:that|which)|afterwards|finally|next)\b[\s,:]*", FLAGS)
CLAUSE = re.compile(r"\s*(?:[,;?]|\band\b|\balso\b)\s*", FLAGS)

SQL = re.compile(
    r"(?:```(?:sql)?\s*)?(?P<sql>\b(?:select\s+(?!(?:an?|the|some|one)\s+(?!from\b|as\b))(?:.+?\bfrom\b|[\d'(*])|with\s+\w+\s+as\s*\(|insert\s+into\s"
    r"|update\s+\w+\s+set\s|delete\s+from\s|(?:create|drop|alter)\s+(?:table|index|view)\s)[^`;]*)[`;]*",
    FLAGS,
)
WRITES = (
    re.compile(
        rf"\b(?:write|save|put|store)\s+(?P<content>.+?)\s+(?:to|into|in|as)\s+"
        rf"(?:(?:the|a|an)\s+)?(?:new\s+)?(?:file\s+)?(?:called\s+|named\s+)?{PATH}",
        FLAGS,
    ),
    re.compile(
        rf"\b(?:write|save)\s+(?:(?:to|into)\s+)?(?:the\s+)?(?:file\s+)?{PATH}\s*[:,]?\s*(?P<content>\S.*)", FLAGS
    ),
    re.compile(
        rf"\b(?:create|make)\s+(?:(?:the|a)\s+)?(?:new\s+)?(?:file\s+)?(?:called\s+|named\s+)?{PATH}\s+"
        r"(?:with|containing|that\s+says|saying)\s+(?:the\s+)?(?:(?:text|content|words?)\s+)?(?P<content>\S.*)",
        FLAGS,
    ),
)
CANNOT = re.compile(r"\b(?:delete|remove|rename|move|copy|upload|download|e?mail)\b", FLAGS)
NAMED_FILE = re.compile(PATH, FLAGS)
READ_FOUND = re.compile(
    r"\b(?:read|open|show|print|display)\s+(?:me\s+)?(?:the\s+)?(?:"
    r"(?P<nth>first|second|third|last)(?:\s+(?:one|file|of\s+(?:them|these|those)))?\b(?!\s+\w)"
    r"|(?P<every>them(?:\s+all)?|all(?:\s+of)?(?:\s+(?:them|these|the\s+files|files))|each\s+(?:one|file|of\s+them)|every\s+(?:one|file))\b"
    r"|(?P<it>it|that\s+file|this\s+file)\b)",
    FLAGS,
)
NTH = {"first": 0, "second": 1, "third": 2, "last": -1}
LIST = re.compile(
    r"(?:\b(?:list|show|what|which|see|give\s+me|display|name)\b[^.?!;,]{0,30}?"
    r"\b(?:files?|director(?:y|ies)|folders?|documents?|workspace)\b|^\s*ls\b)"
    r"(?:(?:\s+(?:are|is|there|we|you|i|do|does|have|has|exist|available))*"
    r"\s+(?:in|of|under|inside|below)\s+(?:(?:the|my|our|your)\s+)?(?P<dir>/?[\w-]+(?:/[\w-]+)*))?(?:\s+(?:folder|directory))?",
    FLAGS,
)
ROOT_WORDS = {"workspace", "/workspace", "folder", "directory", "it", "this", "here", "there", "total", "all"}
TABLES = re.compile(r"\b(?:tables|schema)\b", FLAGS)
COUNT_THERE = re.compile(
    r"\b(?:(?:count|how\s+many)\b[^.?!]*?\b(?:customers?|clients?)\b[^.?!]*?\b(?:there|(?:in|of|from)\s+(?:that|this|its|the\s+focus)\s+country|it\s+names)\b"
    r"|count\s+its\s+(?:customers|clients))",
    FLAGS,
)
METRICS = re.compile(
    r"\b(?:busy|cpu|processors?|load|memory|ram|disk|uptime|metrics|processes|"
    r"(?:how\s+is|health\s+of|state\s+of)\s+(?:the|this|your)\s+(?:machine|server|computer|system))\b",
    FLAGS,
)
EARLIER = re.compile(
    r"\b(?:what|which|repeat|remind|recall)\b.*\b(?:earlier|before|previous(?:ly)?|again|just\s+now|last\s+(?:answer|result|time))\b",
    FLAGS,
)


def is_about_earlier(question: str) -> bool:
    """Tell whether the words are such as `what did the file say again?`."""
    return EARLIER.search(question) is not None


def parse_stages(question: str) -> tuple[Stage, ...]:
    """Parse `list the files, then read the first one` into two stages. Empty when no rule fits any of it."""
    found: list[Stage] = []
    for text in _split_stages(question):
        steps = _parse_steps(text)
        # What leans on an earlier step waits for it, although the person said "and".
        alone = [step for step in steps if not isinstance(step, ReadFound | WriteFound | CountThere)]
        if alone:
            found.append(tuple(alone))
        found.extend((step,) for step in steps if step not in alone)
    if all(isinstance(step, Unknown) for stage in found for step in stage):
        return ()
    return tuple(_insert_listing(found))


def _insert_listing(found: list[Stage]) -> Iterator[Stage]:
    """Insert the listing that `read the first file` needs and nobody asked for."""
    listed = False
    for stage in found:
        listed = listed or any(isinstance(step, ListFiles | WriteFile | WriteFound) for step in stage)
        if not listed and any(isinstance(step, ReadFound) for step in stage):
            yield (ListFiles(ROOT),)
            listed = True
        yield stage


def _split_stages(question: str) -> list[str]:
    """Cut at `then` and its like, but not inside quotation marks."""
    masked = QUOTED.sub(lambda quoted: "\0" * len(quoted.group()), question)
    parts: list[str] = []
    start = 0
    for cut in THEN.finditer(masked):
        parts.append(question[start : cut.start()])
        start = cut.end()
    parts.append(question[start:])
    return [part.strip() for part in parts if part.strip(" \t\n,;.?!")]


def _parse_steps(text: str) -> list[Step]:
    """Parse the steps of one stage in the order of the words. A rule takes its words away from the rules after it."""
    placed: list[tuple[int, Step]] = []
    for rule in (
        _parse_sql,
        _parse_write,
        _parse_impossible,
        _parse_count,
        _parse_read_found,
        _parse_read,
        _parse_tables,
        _parse_list,
        _parse_shop_query,
        _parse_metrics,
    ):
        for start, end, step in list(rule(text)):
            placed.append((start, step))
            text = text[:start] + "\0" * (end - start) + text[end:]
    if not placed:
        return [Unknown(text.strip())]
    steps = [step for _, step in sorted(placed, key=lambda item: item[0])]
    return list(dict.fromkeys(steps))


StepMatches = Iterator[tuple[int, int, Step]]


def _parse_sql(text: str) -> StepMatches:
    if (match := SQL.search(text)) is not None:
        sql = match["sql"].strip().rstrip("?.!")
        reads = re.match(r"select|with", sql, FLAGS) is not None
        yield match.start(), match.end(), Query(sql) if reads else Execute(sql)


def _parse_write(text: str) -> StepMatches:
    for pattern in WRITES:
        if (match := pattern.search(text)) is not None:
            path, content = _make_absolute(match["path"]), match["content"].strip()
            step = WriteFound(path) if re.fullmatch(FOUND, content, FLAGS) else WriteFile(path, _unquote(content))
            yield match.start(), match.end(), step
            return


def _parse_impossible(text: str) -> StepMatches:
    if CANNOT.search(text) is not None and "\0" not in text:
        yield 0, len(text), Unknown(text.strip())


def _parse_count(text: str) -> StepMatches:
    if (match := COUNT_THERE.search(text)) is not None:
        yield match.start(), match.end(), CountThere()


def _parse_read_found(text: str) -> StepMatches:
    if (match := READ_FOUND.search(text)) is not None:
        which = NTH[match["nth"].lower()] if match["nth"] else None
        yield match.start(), match.end(), ReadFound(which, every=match["every"] is not None)


def _parse_read(text: str) -> StepMatches:
    for match in NAMED_FILE.finditer(text):
        yield match.start(), match.end(), ReadFile(_make_absolute(match["path"]))


def _parse_tables(text: str) -> StepMatches:
    if (match := TABLES.search(text)) is not None:
        yield match.start(), match.end(), ListTables()


def _parse_list(text: str) -> StepMatches:
    if (match := LIST.search(text)) is not None:
        folder = match["dir"] or "workspace"
        yield match.start(), match.end(), ListFiles(ROOT if folder.lower() in ROOT_WORDS else _make_absolute(folder))


def _parse_shop_query(text: str) -> StepMatches:
    start = 0
    for cut in (*CLAUSE.finditer(text), None):
        end = cut.start() if cut is not None else len(text)
        if (sql := to_sql(text[start:end])) is not None:
            yield start, end, Query(sql)
        start = cut.end() if cut is not None else end


def _parse_metrics(text: str) -> StepMatches:
    if (match := METRICS.search(text)) is not None:
        yield match.start(), match.end(), Measure()


def _make_absolute(path: str) -> str:
    return path if path.startswith("/") else f"{ROOT}/{path}"


def _unquote(text: str) -> str:
    text = text.strip()
    for opening, closing in (("```", "```"), ('"', '"'), ("“", "”"), ("'", "'"), ("`", "`")):
        if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
            return text[len(opening) : -len(closing)]
    return text
