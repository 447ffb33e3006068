"""Why a call is not run, in words for three readers: the audit, the model that asked, and the person who chats."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_core.messages import ToolMessage

from graphs.nodes.state import VerdictRecord
from graphs.policy.rules import Verdict
from graphs.store.approvals import Approval
from graphs.text import end_sentence, escape_on_one_line

WHO_DECIDES = "The rules of this Interlock (access.yaml) decide that; ask whoever looks after them."
NOT_AGAIN = "Do not make this call again with these arguments."
NOT_AGAIN_UNASKED = "Do not make this call again unless the user asks for it."


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a call is not run."""

    rule: str
    """For the audit: the rule that decided, or what a person did, with the rule that asked them."""
    answer: str
    """For the model: what stands behind `TOOL was not run: `."""
    notice: str
    """For the person: whole sentences, and the rule, if any, on a last line of its own."""
    hint: str = ""
    """For the model: what it had better not try."""


def describe_trouble(tool: str, why: str) -> Refusal:
    """Describe a refusal that no rule and no person gave."""
    return Refusal(rule=why, answer=why, notice=escape_on_one_line(f"{tool} was not run: {why}."))


def describe_denial(tool: str, verdict: Verdict, reason: str | None) -> Refusal:
    """Describe what an access rule denies, or no rule allows. `reason`: the rule's own sentence, which comes first."""
    words = escape_on_one_line(verdict.reason).rstrip(". ") if verdict.reason else ""
    why = f"{words}; rule: {verdict.rule}" if words else verdict.rule
    sentence = f"{end_sentence(escape_on_one_line(reason))} " if reason else ""
    return Refusal(
        rule=describe_rule(verdict),
        answer=f"it is not allowed: {why}",
        notice=(
            f"{sentence}This call of {escape_on_one_line(tool)} is not allowed. {WHO_DECIDES}\n"
            f"Why: {escape_on_one_line(verdict.rule)}."
        ),
        hint=NOT_AGAIN,
    )


def describe_undecided(tool: str, approval: Approval) -> Refusal:
    """Describe what a person rejected, did not decide in time, or decided of another call."""
    tool = escape_on_one_line(tool)
    words = escape_on_one_line(approval.note or "")
    note = f": {words}" if words else ""
    asked, hint = f"(asked for by {approval.rule})", ""
    match approval.status:
        case "rejected":
            # Without an approver only whoever asked may decide. A name is no proof of that: two people may share one.
            is_own = approval.approver is None
            name = escape_on_one_line(approval.decided_by or "")
            quoted = f": “{words}”" if words else "."
            return Refusal(
                rule=f"rejected{f' by {name}' if name else ''}{note} {asked}",
                answer=f"rejected by {'the user' if is_own else name or 'somebody'}{note}",
                notice=f"{'You' if is_own else name or 'Somebody'} rejected {tool}{quoted}",
                hint=NOT_AGAIN_UNASKED,
            )
        case "expired":
            why = "the approval expired before anybody decided"
            notice = f"Nobody decided about {tool} in time, so it was not run."
        case "superseded":
            why = "nobody approved it; the person went on with another message instead"
            notice = f"{tool} was not run: the chat went on with another message before anybody approved it."
            hint = NOT_AGAIN_UNASKED
        case _:
            why = "the approval is for other arguments"
            notice = f"{tool} was not run: {why}."
    return Refusal(rule=f"{why} {asked}", answer=why, notice=notice, hint=hint)


def describe_rule(verdict: Verdict) -> str:
    """Name the deciding rule, and the reason that its author gave."""
    return f"{verdict.rule}: {verdict.reason}" if verdict.reason else verdict.rule


def read_refusal(tool: str, verdict: VerdictRecord) -> Refusal:
    """Read why a verdict of the state refuses a call."""
    rule = verdict["rule"]
    if "answer" not in verdict or "notice" not in verdict:
        return describe_trouble(tool, rule)
    return Refusal(rule=rule, answer=verdict["answer"], notice=verdict["notice"], hint=verdict.get("hint", ""))


def build_refusal_message(call_id: str, name: str, tool: str, refusal: Refusal, *, hints: bool = True) -> ToolMessage:
    """Build the answer to a call that was not run. `hints`: a model reads it, which may try again."""
    words = f"{tool} was not run: {refusal.answer}."
    return ToolMessage(
        f"{words} {refusal.hint}" if hints and refusal.hint else words,
        tool_call_id=call_id,
        name=name,
        status="error",
    )
