"""Fails when a test of the run was skipped: in CI every program is there, so a skip would hide a test."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET

skipped = [
    f"{case.get('classname')}.{case.get('name')}: {case.find('skipped').get('message')}"
    for case in ET.parse(sys.argv[1]).iter("testcase")
    if case.find("skipped") is not None
]
if skipped:
    sys.exit("these tests were skipped:\n" + "\n".join(skipped))
