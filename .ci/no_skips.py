"""Fails when a test of the run was skipped: in CI every program is there, so a skip would hide a test."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET


def skipped(report: str) -> list[str]:
    """`module.test: reason` of each skipped test in a JUnit report."""
    found: list[str] = []
    for case in ET.parse(report).iter("testcase"):
        mark = case.find("skipped")
        if mark is not None:
            found.append(f"{case.get('classname')}.{case.get('name')}: {mark.get('message')}")
    return found


lines = [line for report in sys.argv[1:] for line in skipped(report)]
if lines:
    sys.exit("these tests were skipped:\n" + "\n".join(lines))
