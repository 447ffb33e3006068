"""How far a request goes through the code before its first node runs: counted, so that it stays easy to follow."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import graphs
import server
from support.facade import Facade
from support.scripted_model import Answer, Call, ScriptedModel

ROOTS = tuple(str(Path(package.__file__ or "").parent) for package in (graphs, server))


class CallRecorder:
    """The files of our own functions in the order in which they are called, from the route to the first node."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, str]] = []
        self.is_over = False
        self._has_begun = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or self.is_over or not code.co_filename.startswith(ROOTS):
            return
        file = code.co_filename.rpartition("/interlock/")[2]
        if code.co_qualname == "chat" and file.endswith("server/routes/chat.py"):
            self._has_begun = True
        if self._has_begun:
            self.steps.append((file, code.co_qualname))
            self.is_over = file.endswith("graphs/nodes/model.py")


async def test_between_the_route_and_the_first_node(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer("Let me look.", calls=[Call("files__echo", {"text": "1"}), Call("files__echo", {"text": "2"})]), "Done.")
    await facade.say("warm up")
    model.script(Answer("Let me look.", calls=[Call("files__echo", {"text": "1"}), Call("files__echo", {"text": "2"})]), "Done.")
    recorder = CallRecorder()
    sys.setprofile(recorder)
    try:
        await facade.stream("look twice")
    finally:
        sys.setprofile(None)
    changes = 0; last=None
    for f,n in recorder.steps:
        if f!=last: changes+=1; last=f
        print(changes, f, n)
    raise SystemExit(changes)
