"""The page `/docs` of a running Interlock: what docs/reference/http.md says, as HTML without scripts."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from scripts.reference import http

PATH = Path("server", "routes", "docs.html")
"""In the repository; the wheel takes it along."""
PAGE = """\
<!doctype html>
<!-- Written by `make reference` from scripts/reference/http.py: change that, not this page. -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Interlock: HTTP reference</title>
<link rel="icon" href="console/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="console/console.css">
</head>
<body>
<header class="bar">
  <h1><img src="console/icon.svg" alt="" width="26" height="26">Interlock</h1>
  <nav aria-label="Pages"><a href="console">Console</a></nav>
</header>
<main class="reference">
{body}
</main>
</body>
</html>
"""
EXAMPLE = """\
<pre>POST /v1/chat/completions
Authorization: Bearer KEY
Content-Type: application/json

{"model": "assistant", "stream": true, "messages": [{"role": "user", "content": "list the files"}]}</pre>
"""


def build_page() -> str:
    """The whole page."""
    body = [render_text(http.INTRODUCTION), EXAMPLE, "<h2>Routes</h2>\n"]
    routes = [(f"`{route}`", key, text) for route, (key, text) in http.ROUTES.items()]
    body.append(render_table("Routes", ("route", "key", "what it does"), routes))
    body += ["<h2>Request headers</h2>\n", render_table("Request headers", ("header", "what it does"), http.HEADERS)]
    errors = [(str(status), f"`{name}`", text) for name, (status, text) in http.CODES.items()]
    errors += [(str(status), "", text) for status, text in http.OTHERS]
    body += ["<h2>Errors</h2>\n", render_table("Errors", ("status", "code", "when"), sorted(errors))]
    body += [render_text(text) for text in (http.STREAM, http.APPROVAL, http.QUESTION)]
    return PAGE.replace("{body}", "".join(body).rstrip())


def render_text(text: str) -> str:
    """Headings below the page's own, and paragraphs."""
    parts = [part.strip() for part in text.split("\n\n") if part.strip() and part.strip() != "## Routes"]
    return "".join(
        f"<h2>{render_line(part.lstrip('# '))}</h2>\n" if part.startswith("#") else f"<p>{render_line(part)}</p>\n"
        for part in parts
    )


def render_table(name: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls by itself where the window is narrow, by the keyboard too."""
    lines = ["".join(f'<th scope="col">{render_line(cell)}</th>' for cell in head)]
    lines += ["".join(f"<td>{render_line(cell)}</td>" for cell in row) for row in rows]
    inside = "".join(f"<tr>{line}</tr>\n" for line in lines)
    region = f'<div class="card" tabindex="0" role="region" aria-label="{name}">'
    return f"{region}<table>\n{inside}</table></div>\n"


def render_line(text: str) -> str:
    """One line of Markdown with code in it; of links to pages that are not served here, only their words; nothing of
    a "see" with such a link."""
    whole = re.sub(r", see \[[^\]]+\]\([^)]*\)", "", " ".join(text.split()))
    plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", whole)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(plain, quote=False))
