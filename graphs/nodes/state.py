"""The state that travels from node to node, and the context of a run."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired, Protocol

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage
from langgraph.graph.message import add_messages
from pydantic import SecretStr
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12, and makes Studio's schemas

from graphs.config.spec.graph import LimitsSpec
from graphs.errors import FailureKind
from graphs.events import Event
from graphs.llm.stream import Flow
from graphs.policy.role_trial import RoleTrial
from graphs.policy.rules import Caller, Verdict
from graphs.store.tool_journal import Claim, ClaimResult
from graphs.telemetry.token_count import TokenCount, TurnTokenCount


class VerdictRecord(TypedDict):
    """The permission node's verdict on one call. Only `decision == "allow"` with a matching `digest` runs."""

    decision: str
    digest: str
    rule: str
    answer: NotRequired[str]
    """Why it is refused, for the model: what stands behind `TOOL was not run: `. Absent: the rule says it."""
    notice: NotRequired[str]
    """Why it is refused, for the person who chats."""
    hint: NotRequired[str]
    """For the model: what it had better not try."""
    approval: NotRequired[str]
    """Id of the approval that turned an `ask` into an allow; the tools node uses it up."""
    snapshot: NotRequired[str]
    """Id of the configuration whose rules decided."""
    denial: NotRequired[FailureKind]
    """What a denial is to a graph that calls the tool itself. Absent: `denied`."""


class OwnCall(TypedDict):
    """The tool call of a `call` node. It is no part of the conversation: no model sees it."""

    request: AIMessage
    """The call, as a model would ask for it."""
    verdicts: dict[str, VerdictRecord]
    """By tool-call id."""
    counts: dict[str, int]
    """How often each `call` node was come to in this turn."""


class ErrorRecord(TypedDict):
    """A failure of a node, as expressions see it."""

    node: str
    kind: FailureKind
    message: str


class TaskOutcome(TypedDict):
    """What came of one task of a `map` or `parallel`: one run of a node inside it."""

    key: int | str
    """The index of its item, or the name of its branch."""
    value: NotRequired[Any]
    """Absent: it gives none, or failed."""
    error: NotRequired[ErrorRecord]
    rounds: int
    """Model calls that it made."""
    calls: int
    """Tool calls that it ran."""
    tokens: NotRequired[int]
    """What the turn had used of its tokens when it ended, where its graph limits them."""


class InnerTask(TypedDict):
    """Which task this is, of those that run at the same time."""

    key: int | str
    item: NotRequired[Any]
    """The item of the list, in a `map`."""
    total: int
    """How many tasks there are."""
    visit: int
    """How often this turn has come to the `map` or `parallel`, this time included; 0: nobody counts it."""
    began: float
    """When the tasks were sent out, in seconds since the epoch: `now` to all of them, however often they run."""
    note: str
    """The status line of the `map` or `parallel`; empty: it has none."""


def add_outcomes(before: list[TaskOutcome] | None, added: list[TaskOutcome] | None) -> list[TaskOutcome] | None:
    """Add outcomes of tasks, for LangGraph; None clears them."""
    return None if added is None else [*(before or ()), *added]


class TokenUse(TypedDict):
    """What the model calls of a turn used."""

    tokens: int
    """Those of the prompts and of the answers."""
    has_last_answer: bool
    """They were used up, and the model has given its last answer."""


class State(TypedDict, total=False):
    """The state of one turn: only what the turn adds; the conversation before it is in `Context.history`."""

    messages: Annotated[list[AnyMessage], add_messages]
    verdicts: dict[str, VerdictRecord]
    """By tool-call id, for the latest round."""
    asker: str
    """Name of the model node that made the latest tool calls."""
    rounds: int
    """Model calls so far."""
    calls: int
    """Tool calls that ran so far."""
    most_rounds: NotRequired[int]
    """Where `rounds` must stop, in a part of the turn that may not use all that is left; no key of a whole turn."""
    most_calls: NotRequired[int]
    """Where `calls` must stop, likewise."""
    started: float
    """Seconds since the epoch."""
    visits: dict[str, int]
    """How often each node ran in this turn, in graphs that ask for it."""
    agent: str
    """The agent whose tools ran and whose model comes next, in graphs that ask for visits; empty: none."""
    error: ErrorRecord
    """The latest failure that led a way."""
    own_call: OwnCall
    """The latest call of a `call` node, in graphs that have one."""
    task_outcomes: Annotated[list[TaskOutcome] | None, add_outcomes]
    """What came of the tasks of the `map` or `parallel` that runs, in graphs that have one."""
    token_use: TokenUse
    """The tokens used so far, in graphs that limit them."""


class Claims(Protocol):
    """Claims tool calls for a turn that is kept as a row."""

    async def claim(self, calls: Sequence[Claim], messages: Sequence[AnyMessage]) -> Mapping[str, ClaimResult]:
        """Decide for each call, by call id, whether to run it. `messages` are the turn's own so far."""
        ...

    def hold_calls(self) -> AbstractContextManager[None]:
        """Let calls be claimed and run to their end while the block lasts, although the client may leave."""
        ...

    async def pass_gate(self) -> None:
        """Go on where the client is still there; else the turn ends here."""
        ...


@dataclass(frozen=True, kw_only=True)
class Context:
    """The context of a run, which no checkpoint keeps."""

    caller: Caller
    owner: str
    """Whose conversation this is: approvals asked here belong to it."""
    turn: str
    """Id of the turn's row."""
    verified_user: str | None = None
    """Who that surely is, and so whose own connections to servers are used; None where nobody vouches for it."""
    thread: str
    chat: str | None = None
    """The client's id of the chat; None where it names none."""
    parent: str | None = None
    """The turn before this one in its conversation."""
    history: Sequence[Mapping[str, Any]] = ()
    """The conversation before this turn's own messages, as OpenAI messages."""
    model: str | None = None
    """The LiteLLM model that was asked for by name; None where a graph was."""
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The request's sampling fields, verbatim."""
    client_tools: Sequence[Mapping[str, Any]] = ()
    """The caller's own function tools (OpenAI tool objects): offered to the model, run by the client."""
    client_names: frozenset[str] = frozenset()
    """Their names."""
    outer_messages: Sequence[AnyMessage] | None = None
    """The turn's own messages around an agent with `input`, which its texts look at. None: they look at the state's."""
    addendum: HumanMessage | None = None
    """What the person said after the calls that this resumed turn waits for; follows their results. It has an id, so
    that it stands there once."""
    started: float = 0.0
    """When this run began (seconds since the epoch): what a person took to decide does not count as the turn's time."""
    key: SecretStr | None = None
    """The caller's own key, where LiteLLM is to count what is spent as theirs."""
    claims: Claims | None = None
    """None where no row is kept of the turn (Studio)."""
    token_count: TokenCount | None = None
    """Counts the tokens, where a role of the caller limits them."""
    turn_tokens: TurnTokenCount = field(default_factory=TurnTokenCount, compare=False, repr=False)
    """Counts the tokens of the turn, where its graph limits them."""
    listener: Callable[[Event], None] | None = None
    """Hears what nodes say. None: whoever reads LangGraph's stream does (Studio)."""
    flow: Flow | None = None
    """Where what `listener` hears goes on to, which may be full. None: nobody has to wait (Studio)."""
    decided: dict[Hashable, Verdict] = field(default_factory=dict[Hashable, Verdict], compare=False, repr=False)
    """What the rules came to in this run, by all that they looked at: two nodes ask the same of each call."""
    limits: LimitsSpec | None = None
    """The limits of the turn, for a graph that another runs. None: its own."""
    place: str = ""
    """Where in the turn a graph runs that another runs, such as `/research/1`; empty: it is the turn's own. Part of the
    ids of its calls."""
    message: str | None = None
    """The person's latest text, for a graph that does not see the conversation. None: it does."""
    gates: dict[Hashable, object] = field(default_factory=dict[Hashable, object], compare=False, repr=False)
    """What tasks that run at the same time share in this run."""
    withdrawn: frozenset[str] = frozenset()
    """Tasks, by LangGraph's ids, that end without a result: they wait in vain, since one beside them has failed."""
    paused_work: dict[str, tuple[int, int]] = field(
        default_factory=dict[str, tuple[int, int]], compare=False, repr=False
    )
    """By task: the counts of tool calls and model calls of the turn at which an agent paused in this run."""
    resumed: bool = False
    interactive: bool = False
    """The value that resumes an interrupt is a decision (Studio). Elsewhere only the approvals table decides."""
    trial: RoleTrial | None = None
    """An admin tries the graph as a role."""

    @property
    def is_dry_run(self) -> bool:
        """Whether no call runs and nobody is asked: a trial that shows verdicts alone."""
        return self.trial is not None and not self.trial.runs_tools


TASK = "inner_task"
"""The key of `InnerTask` in the state that a task is sent."""
OWN_CALL = "call_graph_"
"""How the ids of calls begin that a graph makes itself. No model has asked for them, and none is shown them, though a
client that was shown them sends them back."""


def mint_call_id() -> str:
    """Mint an id for a tool call that no client can guess: 128 random bits."""
    return f"call_{secrets.token_hex(16)}"


def find_origin(thread: str) -> str:
    """Find the thread in which a turn first began; it may go on in another one."""
    return thread.partition("-")[0]


def find_most_rounds(state: State, context: Context, limits: LimitsSpec) -> int:
    """Find where `rounds` must stop; `limits` are those of the graph itself."""
    most = (context.limits or limits).rounds
    return min(most, state.get("most_rounds", most))


def find_last_answer(state: State) -> AIMessage | None:
    """Find the turn's latest model message; None: there is none."""
    return next((m for m in reversed(state.get("messages", [])) if isinstance(m, AIMessage)), None)


def find_client_calls(state: State, context: Context) -> list[ToolCall]:
    """Find the latest round's calls of the client's own tools, once every other call of the round has its result.

    A turn with such calls ends here: it goes on when the client sends the results.
    """
    answer = find_last_answer(state)
    if answer is None or not context.client_names:
        return []
    answered = {message.tool_call_id for message in state.get("messages", []) if isinstance(message, ToolMessage)}
    waiting = [call for call in [*answer.tool_calls, *answer.invalid_tool_calls] if call["id"] not in answered]
    if any(call["name"] not in context.client_names for call in waiting):
        return []
    return [call for call in answer.tool_calls if call["id"] not in answered]


def find_last_request(state: State) -> AIMessage | None:
    """Find the model message whose tool calls are still to be answered; None: nothing waits."""
    for message in reversed(state.get("messages", [])):
        if isinstance(message, ToolMessage):
            return None
        if isinstance(message, AIMessage):
            return message if message.tool_calls or message.invalid_tool_calls else None
    return None


def count_visits(state: State, node: str) -> int:
    """Count how often a way led to the node in this turn, this time included. An agent that asks its model again after
    its tools is still at the same visit."""
    return state.get("visits", {}).get(node, 0) + (state.get("agent", "") != node)


def build_token_use(state: State, context: Context, *, is_last_answer: bool = False) -> dict[str, Any]:
    """Build what changes in the state where model calls were made; nothing where nobody limits the turn's tokens."""
    if not context.turn_tokens.has_begun:
        return {}
    earlier = state.get("token_use")
    has_last_answer = is_last_answer or (earlier is not None and earlier["has_last_answer"])
    return {"token_use": TokenUse(tokens=context.turn_tokens.tokens, has_last_answer=has_last_answer)}


def has_last_answer(state: State, rounds: int) -> bool:
    """Whether the model has given the answer with which a turn of at most so many rounds ends. It said that it is the
    last, so whatever the graph would do next, it is over."""
    use = state.get("token_use")
    return state.get("rounds", 0) > rounds or (use is not None and use["has_last_answer"])
