"""Under `langgraph dev`, which stops whatever blocks its loop, functions of the operator's run as they do elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.studio import human, interlock_studio
from test_studio_state import new_thread, run

pytestmark = pytest.mark.timeout(180)

COUNT: dict[str, Any] = {
    "vars": {"words": "int", "thread": "string"},
    "start": "count",
    "nodes": {
        "count": {
            "type": "python",
            "run": "reports:count",
            "with": {"text": "{{ message }}"},
            "into": "words",
            "next": "wait",
        },
        "wait": {"type": "python", "run": "reports:wait", "into": "thread", "on_error": "no", "next": "fail"},
        "fail": {"type": "python", "run": "reports:fail", "on_error": "no", "next": "end"},
        "no": {"type": "reply", "text": "{{ words }} {{ error.kind }}: {{ error.message }}", "next": "end"},
    },
}
REPORTS = """\
import asyncio
import time


def count(text: str) -> int:
    time.sleep(0.1)
    return len(text.split())


async def wait() -> str:
    await asyncio.sleep(0.01)
    return "waited"


def fail() -> None:
    raise SystemExit(3)
"""


def test_functions_run_in_studio(tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    for name in ("graphs", "python"):
        (configs / name).mkdir(parents=True)
    (configs / "access.yaml").write_text(yaml.safe_dump({"roles": {"admin": {"allow": ["*"]}}}))
    (configs / "gateway.yaml").write_text(yaml.safe_dump({"default_graph": "count"}))
    (configs / "graphs" / "count.yaml").write_text(yaml.safe_dump(COUNT, sort_keys=False))
    (configs / "python" / "reports.py").write_text(REPORTS)
    with interlock_studio(tmp_path, configs, {"INTERLOCK_STUDIO_ROLE": "admin"}) as studio, studio.client() as client:
        thread = new_thread(client, "count")
        state = run(client, thread, "count", input=human("three words here"))
    assert (state["words"], state["thread"]) == (3, "waited")
    assert state["messages"][-1]["content"] == "3 python: reports:fail failed: SystemExit: 3"
