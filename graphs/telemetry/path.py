"""The way that a turn takes through its graphs: nodes in order, with their time, their ways on and their model calls.

It holds names, numbers and kinds of errors; never what was said, asked or passed on.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

from graphs.errors import ModelError, NodeFailure
from graphs.events import TokenUsage

ERROR_WAY = -1
"""The place of the way that a node takes where it fails: it stands before those under `next`."""

MOST_STEPS = 200
"""Steps of one turn that are written down; those after them are counted."""
MOST_MODEL_CALLS = 200
"""Model calls of one turn that are written down; those after them are counted."""


class StepWay(TypedDict):
    """The way that a node went on by."""

    at: int
    """Its place among those under `next`, from 0; ERROR_WAY: `on_error`."""
    to: str
    of: int
    """How many there are under `next`."""
    value: NotRequired[str]
    """The value that leads there, where `next` names a way for each."""


class ModelCallRecord(TypedDict):
    """One request to the model endpoint."""

    model: str
    seconds: float
    prompt: int | None
    """Tokens; None where the endpoint did not count them."""
    completion: int | None
    outcome: str
    """`ok`, `cut`, or the kind of the error."""


class StepRecord(TypedDict):
    """One visit to a node, as it is written down. Keys that would say nothing are left out."""

    graph: str
    node: str
    type: str
    """Empty where the visit goes on from before, and that is not known."""
    began: float
    """Seconds since the epoch."""
    seconds: float | None
    """How long it took, without waiting for people. None where nobody saw its end."""
    waited: NotRequired[float]
    """Seconds that it waited for people."""
    paused: NotRequired[bool]
    """It waits still."""
    way: NotRequired[StepWay]
    error: NotRequired[str]
    """What it failed with last, as in `error.kind`, or the name of a fault of the engine."""
    retries: NotRequired[int]
    """Attempts after the first, of all its tasks together."""
    tasks: NotRequired[int]
    """Tasks that a `parallel` or `map` sent out."""
    failed: NotRequired[int]
    """How many of those failed; not there before they are joined."""
    models: NotRequired[list[ModelCallRecord]]
    more_models: NotRequired[int]
    """Model calls after those."""


class PathRecord(TypedDict):
    """The way that one turn took, as it is written down."""

    steps: list[StepRecord]
    more: int
    """Steps after those."""
    prompt: int
    """Tokens of all model calls, as far as the endpoint counted them."""
    completion: int


@dataclass(slots=True, eq=False)
class Step:
    """One visit to a node. Times are those of `perf_counter`."""

    graph: str
    node: str
    type: str
    began: float
    ended: float | None = None
    """When its latest part ended; None while one runs."""
    waited: float = 0.0
    is_paused: bool = False
    part: str = ""
    """Its latest part: of an agent, the one that runs its tools will ask its model again."""
    way: StepWay | None = None
    failure: str | None = None
    retries: int = 0
    tasks: int | None = None
    failed_tasks: int | None = None
    models: list[ModelCallRecord] = field(default_factory=list[ModelCallRecord])
    more_models: int = 0


class GraphPath:
    """The nodes that a turn, or a test of several turns, came to.

    A node that paused and goes on, or is tried again, is there once, and so are an agent with all its rounds and a
    `map` with all its tasks. `is_bounded`: a turn that goes round for long keeps its beginning and a count.
    """

    def __init__(self, *, is_bounded: bool = True) -> None:
        self.steps: list[Step] = []
        self._is_bounded = is_bounded
        self._more = 0
        self._models = 0
        self._usage = TokenUsage()
        self._latest: dict[tuple[str, str], Step] = {}
        """The latest visit to each node."""
        self._failures: dict[str, str] = {}
        """What tasks of LangGraph failed with that may be tried again, by their ids."""
        self._epoch = time.time() - time.perf_counter()

    @property
    def nodes(self) -> list[tuple[str, str]]:
        """Nodes in the order in which they began, each with its graph before it."""
        return [(step.graph, step.node) for step in self.steps]

    @property
    def branches(self) -> list[tuple[str, str, int]]:
        """Graph, node, and the place of the branch that was chosen there."""
        return [(step.graph, step.node, step.way["at"]) for step in self.steps if step.way is not None]

    @property
    def is_broken_off(self) -> bool:
        """Whether the node that began last has failed, so that no way led on from it."""
        return bool(self.steps) and self.steps[-1].failure is not None and self.steps[-1].way is None

    def enter(self, graph: str, node: str, type: str, now: float) -> Step:
        """Note that a node begins, or a part of one such as `read.do`."""
        name, _, part = node.partition(".")
        step = self._latest.get((graph, name))
        if step is None or not (part or step.is_paused or (step.part == "tools" and step.way is None)):
            step = self._latest[graph, name] = Step(graph, name, "" if part else type, now)
            if not self._is_bounded or len(self.steps) < MOST_STEPS:
                self.steps.append(step)
            else:
                self._more += 1
        elif step.is_paused:
            step.is_paused = False
            step.waited += now - (step.ended or now)
        step.part = part
        step.ended = step.failure = None
        return step

    def fail(self, step: Step, task: str, error: BaseException) -> None:
        """Note that a task of LangGraph failed; it may be tried again."""
        step.failure = self._failures[task] = classify_failure(error)

    def retry(self, graph: str, node: str, type: str, task: str, now: float) -> tuple[Step, str]:
        """Note that a task that failed is tried again. Returns the kind of the failure too."""
        step = self._latest.get((graph, node.partition(".")[0])) or self.enter(graph, node, type, now)
        step.retries += 1
        step.ended = step.failure = None
        # LangGraph ends what takes too long from outside.
        return step, self._failures.pop(task, "timeout")

    def choose(self, graph: str, node: str, way: StepWay, failure: str | None) -> None:
        """Note which way a node goes on by. `failure`: what it failed with, where that is why."""
        step = self._latest.get((graph, node))
        if step is not None:
            step.way = way
            step.failure = failure or step.failure

    def count_tasks(self, graph: str, node: str, tasks: int, failed: int | None) -> None:
        """Note how many tasks a node has sent out, and how many of those failed; None: nobody knows yet."""
        step = self._latest.get((graph, node))
        if step is not None:
            step.tasks, step.failed_tasks = tasks, failed

    def add_model_call(self, step: Step | None, call: ModelCallRecord, usage: TokenUsage | None) -> None:
        """Note a model call of this step."""
        if usage is not None:
            self._usage += usage
        if step is None:
            return
        self._models += 1
        if self._is_bounded and self._models > MOST_MODEL_CALLS:
            step.more_models += 1
        else:
            step.models.append(call)

    def build_record(self) -> PathRecord:
        """Build what is written down of the way so far."""
        return PathRecord(
            steps=[self._build_step_record(step) for step in self.steps],
            more=self._more,
            prompt=self._usage.prompt,
            completion=self._usage.completion,
        )

    def _build_step_record(self, step: Step) -> StepRecord:
        seconds = None if step.ended is None else round(step.ended - step.began - step.waited, 4)
        began = round(self._epoch + step.began, 3)
        record = StepRecord(graph=step.graph, node=step.node, type=step.type, began=began, seconds=seconds)
        if step.waited:
            record["waited"] = round(step.waited, 3)
        if step.is_paused:
            record["paused"] = True
        if step.way is not None:
            record["way"] = step.way
        if step.failure is not None:
            record["error"] = step.failure
        if step.retries:
            record["retries"] = step.retries
        if step.tasks is not None:
            record["tasks"] = step.tasks
        if step.failed_tasks is not None:
            record["failed"] = step.failed_tasks
        if step.models:
            record["models"] = [*step.models]
        if step.more_models:
            record["more_models"] = step.more_models
        return record


def join_paths(paths: Sequence[PathRecord]) -> PathRecord:
    """Join the ways of rows of one turn, oldest first. A visit that paused in one and goes on in the next is one."""
    joined = PathRecord(steps=[], more=0, prompt=0, completion=0)
    types: dict[tuple[str, str], str] = {}
    for path in paths:
        for at, step in enumerate(path["steps"]):
            last = joined["steps"][-1] if joined["steps"] else None
            is_same = last is not None and (last["graph"], last["node"]) == (step["graph"], step["node"])
            if last is not None and at == 0 and is_same and last.get("paused"):
                joined["steps"][-1] = _join_steps(last, step)
            elif len(joined["steps"]) < MOST_STEPS and not joined["more"]:
                key = (step["graph"], step["node"])
                types.setdefault(key, step["type"])
                joined["steps"].append(step if step["type"] else {**step, "type": types[key]})
            else:
                joined["more"] += 1
        joined["more"] += path["more"]
        joined["prompt"] += path["prompt"]
        joined["completion"] += path["completion"]
    return joined


def _join_steps(before: StepRecord, after: StepRecord) -> StepRecord:
    """Join two halves of a visit, with a pause between them."""
    joined: StepRecord = {**before, **after, "type": before["type"], "began": before["began"]}
    first = before["seconds"] or 0.0
    joined["seconds"] = None if after["seconds"] is None else round(first + after["seconds"], 4)
    between = max(0.0, after["began"] - before["began"] - first - before.get("waited", 0.0))
    joined["waited"] = round(before.get("waited", 0.0) + between + after.get("waited", 0.0), 3)
    if not after.get("paused"):
        joined.pop("paused", None)
    if models := [*before.get("models", ()), *after.get("models", ())]:
        joined["models"] = models
    if retries := before.get("retries", 0) + after.get("retries", 0):
        joined["retries"] = retries
    return joined


def classify_failure(error: BaseException) -> str:
    """Classify what a node failed with, by the words of `error.kind`; a fault of the engine by its class."""
    match error:
        case NodeFailure():
            return error.kind
        case ModelError():
            return "model"
        case _:
            return type(error).__name__


_current_path: ContextVar[GraphPath | None] = ContextVar("path", default=None)
current_step: ContextVar[Step | None] = ContextVar("step", default=None)
"""The visit that code runs in; None outside of one."""


def find_current_path() -> GraphPath | None:
    """Find where the way of this turn is recorded; None outside of one."""
    return _current_path.get()


@contextmanager
def record_path() -> Generator[GraphPath]:
    """Record the way of all turns that are started inside the block, one after the other."""
    path = GraphPath(is_bounded=False)
    token = _current_path.set(path)
    try:
        yield path
    finally:
        _current_path.reset(token)


def begin_path(path: GraphPath) -> None:
    """Record the way of the turn that this task runs."""
    _current_path.set(path)


def record_way(graph: str, node: str, way: StepWay, failure: str | None = None) -> None:
    """Record which way a node goes on by. `failure`: what it failed with, where that is why."""
    path = _current_path.get()
    if path is not None:
        path.choose(graph, node, way, failure)


def record_tasks(graph: str, node: str, tasks: int, failed: int | None = None) -> None:
    """Record how many tasks a node has sent out, and how many failed; None: nobody knows yet."""
    path = _current_path.get()
    if path is not None:
        path.count_tasks(graph, node, tasks, failed)
