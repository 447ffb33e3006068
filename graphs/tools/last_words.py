"""The last words of a program that ended: which of its lines says why."""

from __future__ import annotations

import re
from collections.abc import Sequence

_FRAME = " \t|+-│╭╰├─▶×•❯>"
"""What log handlers, tracebacks and uv draw around what is said."""
_NOISE = re.compile(
    r"""
    (hint|help|note|tip|warn(ing)?)\s*: | npm\ (notice|warn) | for\ (more|further)\ (information|help)
    | (re)?try\ ['"`-] | at\ .+[:)]\d* \{?$ | at\ async | Node\.js\ v\d | file\ ".+",\ line\ \d+ | run\ (with|again)
    | use\ `?--(help|verbose)
    | see\ .*(--help|https?://) | (code|requireStack|errno|syscall)\s*: | \S*\(node:internal | throw\ | a\ complete\ log
    | process\ exited | traceback\ \(most | during\ handling\ of | the\ above\ exception
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""The beginnings of lines that stand around an error and are none."""
_NPM = re.compile(r"npm (?:error|ERR!)\s*(.*)")
_NPM_NOISE = re.compile(
    r"(code|errno|syscall|path|dest|stack|signal)\b|(\d+|E[A-Z]+)?$|(\d+ )?(note that you|tarball, folder)"
    r"|a complete log|.*(this is related to npm not being|if you are behind a proxy|'proxy' config)",
    re.IGNORECASE,
)
_CAUSE = re.compile(r"(?:caused by|cause)\s*:\s*(?=\S)|(?=because\b)", re.IGNORECASE)
_USAGE = re.compile(r"usage\s*:", re.IGNORECASE)
_VALIDATION = re.compile(r"\d+ validation errors? for \S+")
_MARK = re.compile(
    r"\b(error|exception|fatal|panic(ked)?|fail(ed|ure|s)?|can(not|'t)|could not|unable|denied|refused|missing|required"
    r"|not (found|set|a)|no such|invalid|un(known|recogni[sz]ed|expected|supported|reachable)|must|expected)\b"
    r"|[a-z](Error|Exception)\b|\berror\[",
    re.IGNORECASE,
)
_BLAME = re.compile(r"\S*\s*(\w*error|fatal|missing|unknown|invalid)\b", re.IGNORECASE)


def find_last_words(lines: Sequence[str]) -> str | None:
    """Find why a program ended among its last lines; None where it said nothing."""
    stripped = (line.strip(_FRAME) for line in _join_wrapped(lines))
    texts = [text for text in stripped if any(letter.isalnum() for letter in text)]
    if not texts:
        return None
    npm = [found[1].strip() for text in texts if (found := _NPM.match(text))]
    if npm and _NPM.match(texts[-1]):
        return next((f"npm: {text}" for text in npm if not _NPM_NOISE.match(text)), f"npm: {npm[0]}")
    for at in range(len(texts) - 1, -1, -1):
        if found := _VALIDATION.search(texts[at]):
            return ": ".join((found[0], *texts[at + 1 : at + 3]))
    plain = [text for text in texts if not _NOISE.match(text)] or texts
    causes = [text[found.end() :] for text in plain if (found := _CAUSE.match(text))]
    if causes:
        return causes[-1]
    marked = [text for text in plain if _MARK.search(text) and not _USAGE.match(text)]
    usage = next((at for at, text in enumerate(plain) if _USAGE.match(text)), None)
    if usage is None:
        return marked[-1] if marked else plain[-1]
    # What is wrong stands beside the usage; its own lines describe options.
    blamed = [text for text in marked if _BLAME.match(text)]
    if blamed:
        return blamed[-1]
    shown = plain[usage]
    return f"{shown} {plain[usage + 1]}" if not shown.partition(":")[2].strip() and len(plain) > usage + 1 else shown


def _join_wrapped(lines: Sequence[str]) -> list[str]:
    """Join the lines into which uv breaks a sentence behind its marks."""
    joined: list[str] = []
    is_open = False
    for line in lines:
        text = line.lstrip(" │|")
        if text.startswith(("×", "╰", "├")):
            joined.append(text)
            is_open = True
        elif is_open and line.startswith(" ") and text and not _NOISE.match(text):
            joined[-1] += f" {text}"
        else:
            joined.append(line)
            is_open = False
    return joined
