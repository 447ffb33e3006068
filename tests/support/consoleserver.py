"""A gateway for tests of the console's pages: three roles, and a past of turns written straight into its store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.facade import ASSISTANT, write_configs
from support.gateway import PinnedGateway
from support.processes import free_port
from support.scripted_model import ScriptedModel
from support.tool_server import Tools

from graphs.store.store import Store
from graphs.store.turns import TurnRow, TurnSummary

DAY = 86_400.0
ACCESS: dict[str, Any] = {
    "roles": {
        "admin": {
            "allow": ["*"],
            "ask": [{"tool": "files/write", "expires": "15m"}],
            "deny": [{"tool": "files/environment", "reason": "The environment may hold secrets."}],
        },
        "developer": {"allow": [{"tool": "files/echo", "when": 'args.text != "secret"'}], "graphs": ["assistant"]},
    },
    "keys": [
        {"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"},
        {"name": "developer", "role": "developer", "env": "INTERLOCK_DEVELOPER_KEY"},
    ],
}


@contextmanager
def serving_past(
    folder: Path,
    upstream: ScriptedModel,
    tools: Tools,
    answers: Mapping[str, str],
    *,
    graphs: Mapping[str, Any] | None = None,
) -> Iterator[PinnedGateway]:
    """Serve while the block lasts. `answers`: questions that the key `admin` asked some days ago, with the answers."""
    configs = write_configs(
        folder / "configs",
        upstream.url,
        {"files": {"url": tools.url}},
        access=ACCESS,
        graphs={"assistant": ASSISTANT, **(graphs or {})},
    )
    with ThreadPoolExecutor(1) as elsewhere:  # in this thread Playwright's event loop runs
        elsewhere.submit(asyncio.run, write_turns(folder / "data", answers)).result()
    gateway = PinnedGateway(configs, folder / "data", {}, free_port())
    try:
        yield gateway
    finally:
        gateway.stop()


async def write_turns(data: Path, answers: Mapping[str, str]) -> None:
    """Write turns of the key `admin` into a new store, each a day before the next, the last one yesterday's."""
    store = await Store.open("", data)
    for at, (question, answer) in enumerate(answers.items()):
        began = time.time() - DAY * (len(answers) - at) - 75.4
        row = TurnRow(
            id=f"past-{at}",
            owner="key:admin",
            graph="assistant",
            created=began + 75.4,
            status="finished",
            base="",
            text=answer,
            story=TurnSummary(question=question, began=began, rounds=1, continues=None),
        )
        await store.turns.add(row)
    await store.close()
