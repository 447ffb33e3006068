"""What a run says while it works: the only words that leave the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens, summed over every model call of the turn."""

    prompt: int = 0
    completion: int = 0
    details: Mapping[str, Mapping[str, int]] | None = None
    """What of them was cached, thought and so on, in OpenAI's words; None where the endpoint does not say."""

    def __add__(self, other: TokenUsage) -> TokenUsage:
        details = self.details or other.details
        if self.details and other.details:
            details = {
                part: add_counts(self.details.get(part, {}), other.details.get(part, {}))
                for part in {**self.details, **other.details}
            }
        return TokenUsage(self.prompt + other.prompt, self.completion + other.completion, details)


def add_counts(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    """The counts of both."""
    return {kind: one.get(kind, 0) + other.get(kind, 0) for kind in {**one, **other}}


AuditKind = Literal["decision", "call", "approval", "endpoint", "pruned"]
"""What an audit record is of: `AuditEntry` says what each means."""

FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]


@dataclass(frozen=True, slots=True)
class ModelFinished:
    """One model call of the turn ended. Summed up by the run; not meant for clients."""

    model: str
    usage: TokenUsage
    reason: FinishReason


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer."""

    text: str
    new_paragraph: bool = False
    """This piece begins another model round; text of an earlier round stands before it."""


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """The next piece of what a reasoning model thinks aloud."""

    text: str


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """The next piece of the words with which a model declines to answer."""

    text: str


@dataclass(frozen=True, slots=True)
class LogprobsDelta:
    """How likely the last piece of text was, and what else was, in OpenAI's words: for who asked for `logprobs`.

    As JSON, by kind: read into objects, it would take up to thirty times the memory until the client takes it.
    """

    logprobs: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class AnnotationsAdded:
    """Where the model's answer comes from: OpenAI's `annotations`, verbatim."""

    annotations: bytes
    """A JSON list."""


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A call that carries an allow begins to run."""

    call_id: str
    tool: str
    """`server/tool`, as people write it."""
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A call ended, well or not."""

    call_id: str
    tool: str
    text: str
    """What the model reads."""
    failed: bool
    seconds: float
    images: tuple[str, ...] = ()
    """Addresses (mostly `data:`) of the images that it returned."""


@dataclass(frozen=True, slots=True)
class ToolRefused:
    """A call that was not run, and why."""

    call_id: str
    tool: str
    args: Mapping[str, Any]
    reason: str


@dataclass(frozen=True, slots=True)
class RoleVerdict:
    """What the rules of one role say of a call."""

    role: str
    decision: Literal["allow", "ask", "deny"]
    rule: str


@dataclass(frozen=True, slots=True)
class CallJudged:
    """In a trial, the rules have decided about a call. Shown to the admin who tries the graph, and to nobody else."""

    call_id: str
    tool: str
    args: Mapping[str, Any]
    decision: Literal["allow", "ask", "deny"]
    """The strictest of all."""
    rule: str
    by_role: tuple[RoleVerdict, ...]
    """Empty where no rule was asked: the call cannot be made whatever they say."""


@dataclass(frozen=True, slots=True)
class PendingApproval:
    """One call that waits for a person. `approval_id` is eight characters of `[a-z2-7]`."""

    approval_id: str
    call_id: str
    tool: str
    args: Mapping[str, Any]
    rule: str
    """The rule that asks, with its place, and its reason behind it where it gives one."""
    approver: str | None
    expires: float | None
    """Seconds since the epoch."""
    reason: str | None = None
    """The sentence that the rule gives as its reason."""


@dataclass(frozen=True, slots=True)
class ApprovalNeeded:
    """The turn pauses here until the calls are decided."""

    pending: tuple[PendingApproval, ...]


QuestionKind = Literal["string", "int", "number", "bool", "enum"]


@dataclass(frozen=True, slots=True)
class QuestionField:
    """One value that a question asks for."""

    kind: QuestionKind
    name: str = ""
    """The field of the answer; empty: it is the answer itself."""
    values: tuple[str, ...] = ()
    """What may be chosen, for `enum`."""
    is_optional: bool = False
    rules: str = ""
    """A JSON Schema that the answer must fit beside its kind, as JSON; empty: any such value is an answer."""
    shown: str = ""
    """What of it is shown in the schema of the answer, as JSON."""
    description: str = ""
    """What its schema says of it to people."""
    expected: str = ""
    """What the answer has to be by its rules, such as `a whole number of at least 3`; empty: the kind says it all."""


@dataclass(frozen=True, slots=True)
class PendingQuestion:
    """A question that waits for a person. `question_id` is eight characters of `[a-z2-7]`."""

    question_id: str
    node: str
    text: str
    fields: tuple[QuestionField, ...]
    """What is asked for, in order."""
    given: Mapping[str, Any]
    """What was answered so far, by the field's name; None: it was left out."""
    role: str | None
    """The role that may answer; None: whoever asked."""
    expires: float
    """Seconds since the epoch."""
    problem: str = ""
    """What was wrong with the latest answer."""

    @property
    def open_fields(self) -> tuple[QuestionField, ...]:
        """What is still to be answered."""
        return tuple(field for field in self.fields if field.name not in self.given)


@dataclass(frozen=True, slots=True)
class QuestionAsked:
    """The turn pauses here until the question is answered."""

    question: PendingQuestion


Pause = ApprovalNeeded | QuestionAsked


@dataclass(frozen=True, slots=True)
class ClientCall:
    """A call that the client is to run. `arguments` is JSON text."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ClientCalls:
    """The model wants tools that are the client's own; the turn goes on when their results come back."""

    calls: tuple[ClientCall, ...]


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """A running call says how far it is."""

    call_id: str
    tool: str
    text: str


@dataclass(frozen=True, slots=True)
class NodeNote:
    """A node begins, and says what it does. Shown while the turn runs, and no part of the answer."""

    node: str
    text: str
    """In one line."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a turn; nothing follows it."""

    reason: FinishReason
    usage: TokenUsage


Event = (
    ModelFinished
    | TextDelta
    | ReasoningDelta
    | RefusalDelta
    | AnnotationsAdded
    | LogprobsDelta
    | ToolStarted
    | ToolProgress
    | NodeNote
    | ToolFinished
    | ToolRefused
    | CallJudged
    | ApprovalNeeded
    | QuestionAsked
    | ClientCalls
    | Finished
)
