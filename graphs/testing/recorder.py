"""What the real model and the real tools say in one case, noted while the case runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp.types import CallToolResult
from pydantic import SecretStr

from graphs.config.loader import Snapshot
from graphs.errors import ModelError
from graphs.llm.client import ChatModel
from graphs.llm.stream import Answer, Flow, Listener, PieceKind
from graphs.telemetry.token_count import CallTokenCount
from graphs.testing.model import find_asking_places


@dataclass(kw_only=True)
class AnswerRecord:
    """One request to the model, and how it was answered."""

    places: tuple[str, ...]
    """The task that asked, behind those around it."""
    number: int
    """Requests of the case before this one."""
    answer: Answer | None = None
    """None: it did not come to its end."""
    refusal: str = ""
    failure: str = ""
    """Why there is no answer, in words, where the endpoint failed."""

    @property
    def node(self) -> str:
        """The node of the graph that asked."""
        return self.places[0].partition(":")[0] if self.places else ""

    def finish(self, answer: Answer, refusal: str) -> None:
        """Note the answer."""
        self.answer, self.refusal = answer, refusal

    def fail(self, error: ModelError) -> None:
        """Note that the endpoint failed."""
        self.failure = str(error)


@dataclass(frozen=True, kw_only=True)
class ResultRecord:
    """One call of a tool, and what it gave."""

    tool: str
    args: Mapping[str, Any]
    result: CallToolResult


@dataclass
class CaseRecorder:
    """Everything that was said in one case."""

    answers: list[AnswerRecord] = field(default_factory=list[AnswerRecord])
    """In the order in which they were asked for."""
    results: list[ResultRecord] = field(default_factory=list[ResultRecord])
    """In the order in which they came."""

    def begin_answer(self) -> AnswerRecord:
        """Note that a node asks the model."""
        record = AnswerRecord(places=find_asking_places(), number=len(self.answers))
        self.answers.append(record)
        return record

    def add_result(self, tool: str, args: Mapping[str, Any], result: CallToolResult) -> None:
        """Note what a call gave."""
        self.results.append(ResultRecord(tool=tool, args=args, result=result.model_copy(deep=True)))

    def list_failures(self) -> list[str]:
        """List the requests that the model did not answer, and that were not repeated with success, in words."""
        found: list[str] = []
        for record in self.answers:
            repeated = any(
                other.answer is not None and other.places == record.places and other.number > record.number
                for other in self.answers
            )
            if record.answer is None and not repeated:
                why = record.failure or "the node did not wait for its answer"
                found.append(f"the model has not answered node {record.node!r}: {why}")
        return found

    def list_answers(self) -> list[AnswerRecord]:
        """List the answers in the order in which a replay asks for them, which runs nothing at the same time: those of
        a task that began earlier first."""
        first: dict[tuple[str, ...], int] = {}
        for record in self.answers:
            for end in range(1, len(record.places) + 1):
                first.setdefault(record.places[:end], record.number)

        def order(record: AnswerRecord) -> list[int]:
            return [*(first[record.places[:end]] for end in range(1, len(record.places) + 1)), record.number]

        return sorted((record for record in self.answers if record.answer is not None), key=order)


class RecordedModel(ChatModel):
    """The model endpoint of the configs, with everything that it answers noted."""

    def __init__(self, snapshot: Snapshot, base_url: str, recorder: CaseRecorder) -> None:
        models = snapshot.gateway.models
        super().__init__(
            base_url, models.api_key, silence=models.timeout, longest=models.max_answer, redaction=snapshot.redaction
        )
        self._recorder = recorder

    async def stream(
        self,
        request: Mapping[str, Any],
        listener: Listener,
        *,
        key: SecretStr | None = None,
        token_count: CallTokenCount | None = None,
        flow: Flow | None = None,
    ) -> Answer:
        """Pass on the answer of the endpoint. Raises ModelError."""
        record = self._recorder.begin_answer()
        heard = _RefusalListener(listener)
        try:
            answer = await super().stream(request, heard, key=key, token_count=token_count, flow=flow)
        except ModelError as error:
            record.fail(error)
            raise
        record.finish(answer, heard.refusal)
        return answer


class _RefusalListener:
    """Passes on everything, and keeps the words of a refusal, which an answer does not hold."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.refusal = ""

    def add_text(self, kind: PieceKind, text: str) -> None:
        self.refusal += text if kind == "refusal" else ""
        self._listener.add_text(kind, text)

    def add_annotations(self, annotations: bytes) -> None:
        self._listener.add_annotations(annotations)

    def add_logprobs(self, logprobs: Mapping[str, bytes]) -> None:
        self._listener.add_logprobs(logprobs)
