"""Whether a run of pytest had so few failures that they may be chance: prints them. Exit status 1: it had more."""

import sys
from xml.etree import ElementTree

MOST = 3
"""Failures of one run. A change that breaks something breaks more than a race does, or breaks it again."""


def main(report: str) -> int:
    """Read a JUnit report. 0 where 1 to MOST tests failed."""
    failures = [
        f"{case.get('classname')}.{case.get('name')}"
        for case in ElementTree.parse(report).iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    for name in failures:
        print("failed:", name)
    if not 0 < len(failures) <= MOST:
        return 1
    print("These run once more, alone. Where they pass now, they are unsteady, and their races are to be mended.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
