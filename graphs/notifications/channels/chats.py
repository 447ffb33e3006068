"""Bodies for incoming webhooks of chats. What people and models wrote stands where a chat reads no markup: no link, no
mention and no formatting can come out of it."""

from __future__ import annotations

import json
from typing import Any

from graphs.notifications.message import Notification
from graphs.text import format_code_block, format_code_span

LONGEST_SLACK_TEXT = 3_000
"""Characters that Slack takes in one section of a message."""


def build_slack_body(message: Notification) -> bytes:
    """Build Slack's form: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks

    `plain_text` is never parsed. `text` is for notifications of the desktop, where `&`, `<` and `>` are escaped.
    """
    texts = [message.body[at : at + LONGEST_SLACK_TEXT] for at in range(0, len(message.body), LONGEST_SLACK_TEXT)]
    sections: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "plain_text", "text": text, "emoji": False}}
        for text in (message.headline, *texts, message.advice)
    ]
    return json.dumps({"text": _escape(message.headline), "blocks": sections}).encode()


def build_mattermost_body(message: Notification) -> bytes:
    """Build Mattermost's form, `text` in Markdown: https://developers.mattermost.com/integrate/webhooks/incoming"""
    headline = format_code_span(message.headline)
    return json.dumps({"text": f"{headline}\n{format_code_block(message.body)}\n{message.advice}"}).encode()


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
