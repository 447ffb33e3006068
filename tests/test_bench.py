"""The benchmark runs, measures what it says, and what the README and docs/bench tell of it is one and the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import orjson
import pytest

from bench.kept import BEGIN, DOCS, END, README, block
from bench.table import WORDS

ROOT = Path(__file__).resolve().parent.parent
MAKE = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES")
"""What a `make test ARGS=…` around this test would hand down."""


@pytest.mark.timeout(300)
def test_a_short_run_measures_every_scenario_at_every_target(tmp_path: Path) -> None:
    options = f"ARGS=--rounds 1 --seconds 0.1 --concurrency 2 --output {tmp_path}"
    env = {**os.environ, **dict.fromkeys(MAKE, ""), "PYTHON": sys.executable}
    ran = subprocess.run(
        ["make", "bench", options], cwd=ROOT, env=env, capture_output=True, text=True, timeout=280, check=False
    )
    assert ran.returncode == 0, ran.stderr
    kept = orjson.loads((tmp_path / "results.json").read_bytes())
    cells = {(cell["scenario"], cell["target"]): cell for cell in kept["cells"]}
    targets = ["plain bytes (aiohttp)", "lean LangGraph", "LangGraph + ChatOpenAI", "Interlock"]
    wanted = {(name, target) for name in WORDS for target in targets if target != targets[0] or "tool" not in name}
    assert set(cells) == wanted
    for (scenario, _), cell in cells.items():
        assert cell["errors"] == {}
        assert cell["requests"] > 0
        assert cell["tool_calls"] == (1 if "tool" in scenario else 0)
    assert {cell["cpu_ms"] > 0 for (_, target), cell in cells.items() if target == "Interlock"} == {True}
    assert set(kept["ratios"]) == set(WORDS)
    assert block(kept).split("\n\n")[0].strip() in ran.stdout
    drawn = ElementTree.fromstring((tmp_path / "results.svg").read_text())
    told = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert set(WORDS.values()) | set(targets) <= set(told)


def test_the_readme_tells_what_docs_bench_keeps() -> None:
    kept = orjson.loads((DOCS / "results.json").read_bytes())
    assert kept["plan"]["rounds"] >= 5
    between = README.read_text().partition(BEGIN)[2].partition(END)[0]
    assert between == block(kept), "the README's table is not that of docs/bench/results.json: run make bench"
