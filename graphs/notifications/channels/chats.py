"""Bodies for incoming webhooks of chats. What people and models wrote stands where a chat reads no markup: no link, no
mention and no formatting can come out of it."""

from __future__ import annotations

import json
from typing import Any

from graphs.notifications.message import QUOTE, Notification
from graphs.text import format_code_block, format_code_span

LONGEST_SLACK_TEXT = 3_000
"""Characters that Slack takes in one section of a message."""


def build_slack_body(message: Notification) -> bytes:
    """Build Slack's form: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks

    `plain_text` is never parsed. `text` is for notifications of the desktop, where `&`, `<` and `>` are escaped.
    """
    sections: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "plain_text", "text": text, "emoji": False}}
        for text in (message.headline, message.advice, *split_lines(message.body, LONGEST_SLACK_TEXT))
    ]
    return json.dumps({"text": _escape(message.headline), "blocks": sections}).encode()


def build_mattermost_body(message: Notification) -> bytes:
    """Build Mattermost's form, `text` in Markdown: https://developers.mattermost.com/integrate/webhooks/incoming"""
    headline = format_code_span(message.headline)
    return json.dumps({"text": f"{headline}\n{message.advice}\n{format_code_block(message.body)}"}).encode()


def split_lines(text: str, longest: int) -> list[str]:
    """Split a text into parts of at most `longest` characters, between lines. The rest of a line that is too long is
    quoted: it may be a quotation, and must not pass for a line of the message's own."""
    parts: list[str] = []
    for whole in text.split("\n"):
        line = whole
        while len(line) > longest:
            parts.append(line[:longest])
            line = QUOTE + line[longest:]
        if parts and len(parts[-1]) + 1 + len(line) <= longest:
            parts[-1] += f"\n{line}"
        else:
            parts.append(line)
    return parts


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
