"""What is kept of a whole run: `docs/bench`, and the table in the README, which is written from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from bench.growth import Growth
from bench.plot import COLOURS, Bars, Curves, bars, curves
from bench.rig import FLOORS, INTERLOCK
from bench.table import WORDS, markdown

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs" / "bench"
README = ROOT / "README.md"
CURVES = {
    FLOORS["lean"]: COLOURS[1],
    INTERLOCK: COLOURS[3],
    "tools": COLOURS[3],
    "rules": COLOURS[1],
    "graphs": COLOURS[2],
}
BEGIN, END = "<!-- written by make bench -->\n", "<!-- end -->"


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


def keep_growth(found: Sequence[Growth], machine: Mapping[str, Any], folder: Path) -> None:
    """Writes the JSON and the plot of what grows."""
    save(folder / "growth.json", {"machine": machine, "growth": [asdict(growth) for growth in found]})
    panels = [
        Curves(title=growth.of, x=growth.of, y=growth.unit, series=list(growth.series.items())) for growth in found
    ]
    (folder / "growth.svg").write_text(curves("As there is more of something", panels, CURVES))


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON for people to read, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


def block(results: Mapping[str, Any]) -> str:
    """What stands in the README between its two marks."""
    made = results["machine"]
    where = f"{made['cores']} cores of {made['processor']}, Python {made['python']}, {made['date']}"
    return f"\n{markdown(results)}\n\nMeasured on {where}.\n"


def into_readme(results: Mapping[str, Any]) -> None:
    """Writes the README's table anew."""
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}{block(results)}{end}{after}")
