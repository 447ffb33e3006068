"""The benchmark runs, measures what it says, and what docs/bench tells of it is one and the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import orjson
import pytest

from bench import growth, markdown, scale, soak
from bench.load import Target
from bench.plot import Curves, curves
from bench.results import CURVES, DOCS, PAGE, between, block
from bench.table import WORDS
from bench.targets import floors, interlock, upstream

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(300)
MAKE = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES")
"""What a `make test ARGS=…` around this test would hand down."""


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
    plain, lean, usual, ours = targets
    able = {name: {lean, usual, ours} for name in WORDS}
    able |= {name: {plain, *able[name]} for name in ("chat", "stream")}
    able |= {name: {lean, ours} for name in ("variables", "map")}
    wanted = {(name, target) for name, some in able.items() for target in some}
    assert set(cells) == wanted
    for (scenario, _), cell in cells.items():
        assert cell["errors"] == {}
        assert cell["requests"] > 0
        assert cell["tool_calls"] == {"chat": 0, "stream": 0, "map": 16}.get(scenario, 1)
    assert {cell["cpu_ms"] > 0 for (_, target), cell in cells.items() if target == "Interlock"} == {True}
    assert set(kept["ratios"]) == set(WORDS)
    assert block(kept).split("\n\n")[0].strip() in ran.stdout
    drawn = ElementTree.fromstring((tmp_path / "results.svg").read_text())
    told = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert set(WORDS.values()) | set(targets) <= set(told)


async def test_growth_scale_and_soak_see_what_they_measure(tmp_path: Path) -> None:
    with upstream(tmp_path) as served, floors(tmp_path, served) as running, interlock(tmp_path, served) as ours:
        both = [running["lean"], ours]
        grown = await growth.messages(both, lengths=(1, 5))
        assert [[x for x, _ in line] for line in grown.series.values()] == [[1, 5], [1, 5]]
        grown = await growth.sizes(both, 0.1, steps=(10, 100_000))
        assert [[x for x, _ in line] for line in grown.series.values()] == [[10, 100_000], [10, 100_000]]
        panel = Curves(title="results", x="bytes", y="ms", series=[*grown.series.items()])
        assert len(ElementTree.fromstring(curves("growth", [panel], CURVES)).findall(".//{*}circle")) == 4

        asked = [(Target(name=scale.DIRECT, url=f"{served.address}/v1"), None), *((one.target, one) for one in both)]
        paced = await scale.at_once(2, asked, scale.Plan(rounds=1, seconds=0.1))
        assert [(pace.answers, pace.errors) for pace in paced] == [(2, 0)] * 3
        assert all(pace.whole >= scale.PACED.chunks * scale.PACED.delay for pace in paced)
        assert len([*scale.added(paced)]) == 3
        remembered = await scale.remembered(ours, streams=4, conversations=4)
        assert remembered.stored is not None

        before = served.counts()["mcp_calls"]
        looked = await soak.look(ours, total=8, turns=8, concurrency=2)
        assert looked.errors == 0
        assert served.counts()["mcp_calls"] == before + 4
        assert min(looked.resident, looked.stored, looked.files, looked.threads) > 0


def test_the_pages_tell_what_docs_bench_keeps() -> None:
    kept = {name: orjson.loads((DOCS / f"{name}.json").read_bytes()) for name in ("results", "growth", "scale", "soak")}
    assert kept["results"]["plan"]["rounds"] >= 5
    assert kept["soak"]["looks"][-1]["turns"] >= soak.TURNS
    assert between(PAGE, "results") == block(kept["results"]), "run make bench"
    assert between(PAGE, "growth") == markdown.growth(kept["growth"]), "run make bench ARGS=growth"
    assert between(PAGE, "scale") == markdown.scale(kept["scale"]), "run make bench ARGS=scale"
    assert between(PAGE, "soak") == markdown.soak(kept["soak"]), "run make bench ARGS=soak"
