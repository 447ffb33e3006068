"""The way of a request through the code, from its route to its first node: counted, so that it stays easy to follow.

The way is the chain of calls that leads to the node: which function called which, over the borders of tasks. What a
function looks up on the side and comes back from is not on the way.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from support.facade import Facade, content
from support.scripted_model import Answer, Call, ScriptedModel

ROOT = Path(__file__).resolve().parents[2]
OURS = (f"{ROOT}/graphs/", f"{ROOT}/server/")
MOST_CHANGES = 12


class PathRecorder:
    """Remembers for each task the files that led to it, and stops at the first call of a node."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self._origins: WeakKeyDictionary[asyncio.Task[Any], list[str]] = WeakKeyDictionary()

    def make_task(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **more: Any) -> Any:
        """A task factory (`loop.set_task_factory`)."""
        task = asyncio.Task(work, loop=loop, **more)
        self._origins[task] = self._read_path(sys._getframe(1))
        return task

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """A profiler (`sys.setprofile`)."""
        code = frame.f_code
        if event == "call" and not self.path and code.co_filename == f"{ROOT}/graphs/nodes/model.py":
            path = self._read_path(frame)
            if any(file == "server/routes/chat.py" for file in path):
                self.path = path

    def _read_path(self, frame: FrameType | None) -> list[str]:
        inner: list[str] = []
        while frame is not None:
            if frame.f_code.co_filename.startswith(OURS):
                inner.append(frame.f_code.co_filename.removeprefix(f"{ROOT}/"))
            frame = frame.f_back
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        return [*(self._origins.get(task, []) if task else []), *reversed(inner)]


async def test_a_request_goes_one_way_to_its_first_node(facade: Facade, model: ScriptedModel) -> None:
    calls = [Call("files__echo", {"text": "1"}), Call("files__echo", {"text": "2"})]
    model.script(Answer("Let me look.", calls=calls), "Done.")
    recorder = PathRecorder()
    loop = asyncio.get_running_loop()
    loop.set_task_factory(recorder.make_task)
    sys.setprofile(recorder.profile)
    try:
        answer = content(await facade.stream("look twice"))
    finally:
        sys.setprofile(None)
        loop.set_task_factory(None)
    assert answer == "Let me look.\n\nDone."
    way = [file for file, _ in groupby(recorder.path)]
    way = way[way.index("server/routes/chat.py") :]
    assert way[-1] == "graphs/nodes/model.py"
    assert len(way) - 1 <= MOST_CHANGES, " → ".join(way)
