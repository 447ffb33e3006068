"""What keeps people from using a page: axe's violations, what no Tab reaches, focus out of sight, sideways scroll."""

from __future__ import annotations

from functools import cache
from typing import Any

from playwright.sync_api import Page
from support.environments import node, node_environment

MOST_TABS = 400
"""Elements of a page that can have the focus, at most."""
LIST_CONTROLS = """() => {
  const found = "a[href], button, input, select, textarea, summary, [tabindex='0']";
  const shown = (each) => each.checkVisibility() && each.getClientRects().length > 0 && !each.disabled;
  window.controls = [...document.querySelectorAll(found)].filter(shown);
  document.activeElement?.blur();
  return window.controls.map((each) => each.outerHTML.slice(0, 100));
}"""
LOOK_AT_FOCUS = """() => {
  const at = document.activeElement, look = getComputedStyle(at);
  const ring = look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 2;
  const box = at.getBoundingClientRect();
  const bar = document.querySelector("header.bar");
  const top = bar && !bar.contains(at) ? Math.max(0, bar.getBoundingClientRect().bottom) : 0;
  const inside = box.bottom > top && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  return { at: window.controls.indexOf(at), ring, inside };
}"""


@cache
def read_axe() -> str:
    """The source of axe-core, as tests/peers/axe pins it."""
    return (node_environment("axe", node()) / "node_modules" / "axe-core" / "axe.min.js").read_text()


def find_violations(page: Page) -> list[str]:
    """What axe has to say of the page as it is now, in all its rules."""
    page.evaluate(read_axe())
    result: dict[str, Any] = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{rule['id']}: {rule['help']}: {each['html'][:160]}" for rule in result["violations"] for each in rule["nodes"]
    ]


def find_keyboard_traps(page: Page) -> list[str]:
    """What Tab does not reach, or shows no focus on."""
    controls: list[str] = page.evaluate(LIST_CONTROLS)
    reached: set[int] = set()
    found: list[str] = []
    last = -1
    # The browser begins where the last click was: at the top it begins when it went round once.
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        focus = page.evaluate(LOOK_AT_FOCUS)
        if focus["at"] in reached and focus["at"] != last:  # the parts of a date are one control
            break
        last = focus["at"]
        if focus["at"] < 0:
            continue
        reached.add(focus["at"])
        if not focus["ring"]:
            found.append(f"no focus is seen on {controls[focus['at']]}")
        if not focus["inside"]:
            found.append(f"the focus is out of sight on {controls[focus['at']]}")
    return found + [f"no Tab leads to {html}" for at, html in enumerate(controls) if at not in reached]


def scrolls_sideways(page: Page) -> bool:
    """Whether the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth > innerWidth")
