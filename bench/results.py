"""What is kept of a whole run: `docs/bench`, and the tables in its page, which are written from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench.growth import Growth
from bench.markdown import measured
from bench.plot import COLOURS, Bars, Curves, bars, curves
from bench.table import WORDS, markdown
from bench.targets import FLOORS, INTERLOCK

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs" / "bench"
PAGE = DOCS / "README.md"
CURVES = {
    FLOORS["lean"]: COLOURS[1],
    INTERLOCK: COLOURS[3],
    "tools": COLOURS[3],
    "rules": COLOURS[1],
    "graphs": COLOURS[2],
}
BEGIN, END = "<!-- {name}: written by make bench -->\n", "<!-- end -->"


def keep(results: Mapping[str, Any], folder: Path) -> None:
    """Writes the JSON and the plot of the table."""
    save(folder / "results.json", results)
    cpu = {(cell["scenario"], cell["target"]): cell["cpu_ms"] for cell in results["cells"]}
    targets = [*FLOORS.values(), INTERLOCK]
    panels = [
        Bars(
            title=words,
            values=[(name, cpu[scenario, name]) for name in targets if (scenario, name) in cpu],
            bound=results["bounds"][scenario] * cpu[scenario, FLOORS["lean"]],
        )
        for scenario, words in WORDS.items()
        if scenario in results["ratios"]
    ]
    if panels:
        (folder / "results.svg").write_text(bars("CPU ms per request of the serving process", panels))


def keep_growth(found: Sequence[Growth], kept: Mapping[str, Any], folder: Path) -> None:
    """Writes the JSON and the plot of what grows."""
    save(folder / "growth.json", kept)
    panels = [
        Curves(title=growth.of, x=growth.of, y=growth.unit, series=list(growth.series.items())) for growth in found
    ]
    (folder / "growth.svg").write_text(curves("As there is more of something", panels, CURVES))


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON for people to read, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


def block(results: Mapping[str, Any]) -> str:
    """The table of the page, and the machine that it was measured on."""
    return f"{markdown(results)}\n\n{measured(results)}"


def between(page: Path, name: str) -> str:
    """What stands between two marks of a page."""
    return page.read_text().partition(BEGIN.format(name=name))[2].partition(END)[0].strip()


def write_into(page: Path, name: str, content: str) -> None:
    """Writes anew what stands between two marks of a page. Raises ValueError where there are none."""
    begin = BEGIN.format(name=name)
    before, found, rest = page.read_text().partition(begin)
    _, end, after = rest.partition(END)
    if not found or not end:
        raise ValueError(f"{page.name} has no {begin.strip()} … {END}: write these two marks where it belongs")
    page.write_text(f"{before}{begin}\n{content}\n\n{end}{after}")
