"""Our drawings where people look at them: Mermaid's own renderer and a real browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright
from support.chatpage import FLAGS, PATIENCE
from support.environments import node, node_environment, program
from support.large_graphs import LARGE_GRAPHS

from graphs.config.spec.graph import LimitsSpec
from graphs.diagnostics.drawing import GraphShape, read_shapes, render_mermaid, render_svg
from graphs.diagnostics.drawing.shape import read_shape

ROOT = Path(__file__).parent.parent.parent
HOSTILE = '"]; end\n%%{init: {}}%% <script>said()</script> & <b onclick="said()">'
LISTS = ["1. one", "- minus", "# title", "* star", "> said", "__bold__ `code` $$x$$ fa:fa-ban", "#quot; &amp; a\\b"]


def shapes() -> dict[str, GraphShape]:
    found = {**read_shapes(ROOT / "configs", {}), **read_shapes(ROOT / "tests" / "drawn", {}), "hostile": hostile()}
    assert len(found) == 6
    return {Path(name).stem: shape for name, shape in found.items() if shape is not None}


def hostile() -> GraphShape:
    ways = [{"when": text, "to": f"n{at}"} for at, text in enumerate([HOSTILE, *LISTS])]
    model = {"type": "model", "model": HOSTILE, "tools": [HOSTILE, *LISTS]}
    nodes: dict[str, Any] = {"graph": model | {"next": [*ways, {"to": HOSTILE}]}}
    for at, text in enumerate([HOSTILE, *LISTS]):
        nodes[f"n{at}"] = {"type": "tools", "next": [{"when": text, "to": "end"}]}
    data = {"start": "graph", "description": HOSTILE, "nodes": nodes}
    return read_shape(HOSTILE, data, {}, LimitsSpec())


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page that fails the test for any message, dialog or request."""
    with sync_playwright() as playwright:
        chromium = program("chromium", "install it (Debian: chromium)")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1700, "height": 1400})
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


@pytest.fixture
def complaints(page: Page) -> Iterator[list[str]]:
    found: list[str] = []
    page.set_content("<body style='margin: 0'></body>")
    page.on("console", lambda message: found.append(message.text))
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("request", lambda request: found.append(request.url))
    yield found
    assert found == []


def keep(page: Page, name: str) -> None:
    """A picture to look at, where INTERLOCK_SCREENSHOTS says."""
    if folder := os.environ.get("INTERLOCK_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.locator("svg").first.screenshot(path=Path(folder) / f"{name}.png")


def test_mermaid_draws_every_node_and_every_way_with_our_words(page: Page) -> None:
    library = node_environment("mermaid", node()) / "node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js"
    page.set_content("<body></body>")
    page.add_script_tag(path=library)
    page.evaluate("() => { window.said = () => { throw 'a script of the graph ran' }; mermaid.initialize({}) }")
    for name, shape in shapes().items():
        drawn = page.evaluate(
            """async text => {
                const {svg} = await mermaid.render('drawing', text)
                document.body.innerHTML = svg
                const texts = names => [...document.querySelectorAll(names)].map(one => one.innerText.trim())
                return {
                    nodes: texts('.node .nodeLabel'),
                    frames: texts('.cluster .nodeLabel'),
                    labels: texts('.edgeLabel .edgeLabel').filter(text => text),
                    ways: document.querySelectorAll('path.flowchart-link').length,
                    scripts: document.querySelectorAll('svg script, svg [onclick]').length,
                }
            }""",
            f"%% graphs/{name}.yaml\n{render_mermaid(shape)}",
        )
        keep(page, f"mermaid-{name}")
        ends = any(edge.target == "end" for edge in shape.edges)
        assert drawn["ways"] == len(shape.edges) + 1
        assert drawn["scripts"] == 0
        assert len(drawn["nodes"]) == sum(len(node.inner) or 1 for node in shape.nodes) + 1 + ends
        assert len(drawn["frames"]) == sum(bool(node.inner) for node in shape.nodes) + 1
        firsts = {text.split("\n")[0].split(" · ")[0] for text in (*drawn["nodes"], *drawn["frames"])}
        assert {node.name for node in shape.nodes if len(node.name) < 20} <= firsts
        said = {text for node in shape.nodes for text in node.faults}
        assert all(any(text in one.split("\n") for one in drawn["nodes"]) for text in said)
        labels = {label.replace("\n", " ") for label in drawn["labels"]}
        if name == "hostile":
            assert {*LISTS, *(f"{number}: {text}" for number, text in enumerate(LISTS, start=2))} <= labels
        else:
            assert {edge.when for edge in shape.edges if edge.when} <= {label.split(": ", 1)[-1] for label in labels}


def test_mermaid_draws_large_graphs_so_that_they_can_be_read(page: Page) -> None:
    library = node_environment("mermaid", node()) / "node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js"
    page.set_content("<body></body>")
    page.add_script_tag(path=library)
    page.evaluate("() => mermaid.initialize({})")
    widths: dict[str, float] = {}
    for name in LARGE_GRAPHS:
        widths[name] = page.evaluate(
            """async text => {
                const {svg} = await mermaid.render('drawing', text)
                document.body.innerHTML = svg
                return document.querySelector('svg').viewBox.baseVal.width
            }""",
            render_mermaid(LARGE_GRAPHS[name]),
        )
        keep(page, f"mermaid-{name}")
    assert all(width < 1700 for width in widths.values()), widths


@pytest.mark.parametrize("name", ["assistant", "desk", "line", "groups", "broken", "hostile", *LARGE_GRAPHS])
def test_in_a_browser_the_texts_fit_and_the_lines_pass_beside_the_boxes(
    page: Page, complaints: list[str], name: str
) -> None:
    page.evaluate("text => { document.body.innerHTML = text }", render_svg({**shapes(), **LARGE_GRAPHS}[name]))
    keep(page, name)
    wrong = page.evaluate(
        """() => {
            const wrong = []
            const all = (root, names) => [...root.querySelectorAll(names)]
            const place = one => { const {left, top, right, bottom} = one.getBoundingClientRect()
                                   return {left, top, right, bottom} }
            const within = (one, other) => one.left >= other.left - 1 && one.right <= other.right + 1
                && one.top >= other.top - 1 && one.bottom <= other.bottom + 1
            const whole = place(document.querySelector('svg'))
            for (const node of all(document, '.node')) {
                const box = place(node.querySelector('.box'))
                node.querySelector('.count').textContent = '88'
                const texts = all(node, 'text')
                for (const text of texts) if (!within(place(text), box)) wrong.push(['outside', text.textContent])
                const [name, count] = [node.querySelector('.name'), node.querySelector('.count')].map(place)
                if (name.right > count.left) wrong.push(['count on name', node.dataset.node])
            }
            for (const text of all(document, 'text')) {
                if (!within(place(text), whole)) wrong.push(['cut off', text.textContent])
            }
            for (const label of all(document, '.label')) {
                const board = place(label.querySelector('rect'))
                for (const text of all(label, 'text')) {
                    if (!within(place(text), board)) wrong.push(['beside its board', text.textContent])
                }
            }
            const boxes = [...all(document, '.node .box'), ...all(document, '.mark rect')].map(place)
            const boards = all(document, '.label rect')
            const inside = (x, y, box) => x > box.left + 2 && x < box.right - 2 && y > box.top + 2 && y < box.bottom - 2
            for (const edge of all(document, '.edge')) {
                const line = edge.querySelector('.line')
                const matrix = line.getScreenCTM()
                const others = boards.filter(board => !edge.contains(board)).map(place)
                for (let at = 0; at <= line.getTotalLength(); at += 2) {
                    const {x, y} = line.getPointAtLength(at).matrixTransform(matrix)
                    if (boxes.some(box => inside(x, y, box))) wrong.push(['through a box', edge.outerHTML, x, y])
                    if (others.some(board => inside(x, y, board))) wrong.push(['through a label', edge.outerHTML, x, y])
                }
            }
            return wrong
        }"""
    )
    assert wrong == []


def test_the_drawing_is_dark_on_a_dark_page_and_readable_where_style_sheets_are_forbidden(
    page: Page, complaints: list[str]
) -> None:
    text = render_svg(shapes()["broken"])
    looks = """() => Object.fromEntries(['.background', '.model .box', '.faulty .box', '.loop .line', '.muted'].map(
        names => [names, [getComputedStyle(document.querySelector(names)).fill,
                          getComputedStyle(document.querySelector(names)).stroke]]))"""
    seen: dict[str, dict[str, list[str]]] = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.evaluate("text => { document.body.innerHTML = text }", text)
        seen[scheme] = page.evaluate(looks)
        keep(page, scheme)
    assert seen["light"][".background"][0] == "rgb(255, 255, 255)"
    assert seen["dark"][".background"][0] == "rgb(20, 24, 31)"
    for names, light in seen["light"].items():
        assert light != seen["dark"][names], names
    page.evaluate("() => document.querySelector('svg style').remove()")
    assert page.evaluate(looks) == seen["light"]
    page.emulate_media(color_scheme="light")
