"""Answers to what chat pages ask on their own account: titles, tags and follow-up questions."""

from __future__ import annotations

import json
import re

MARK = "### Task:"
FIRST_WORDS = re.compile(r"^\s*(?:USER|user)\s*:\s*(.+)$", re.MULTILINE)
FOLLOW_UPS = ("List the files", "How many customers per country?", "How busy is this machine?")


def answer_task(question: str) -> str | None:
    """Answer with JSON as the task's own text asks for it; None when the question is no such task."""
    if not question.startswith(MARK):
        return None
    # The instructions come before the conversation, which may use the same words.
    instructions = question.split("<chat_history>", 1)[0] + question.rsplit("</chat_history>", 1)[-1]
    if "follow_ups" in instructions:
        return json.dumps({"follow_ups": list(FOLLOW_UPS)})
    if '"tags"' in instructions:
        return json.dumps({"tags": ["General"]})
    if '"title"' in instructions:
        return json.dumps({"title": _build_title(question)}, ensure_ascii=False)
    if '"queries"' in instructions:
        return json.dumps({"queries": []})
    return json.dumps({"text": ""})


def _build_title(question: str) -> str:
    said = FIRST_WORDS.search(question)
    words = said.group(1).split() if said is not None else []
    return " ".join(words[:6]).rstrip("?.,:;") or "Conversation with the demo model"
