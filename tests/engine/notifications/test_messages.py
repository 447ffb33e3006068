"""What notifications say: no argument makes one fail, and nobody else's text passes for a line of the message."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from graphs.config.loader import load
from graphs.config.spec.notifications import MailSpec, NotificationsSpec
from graphs.events import QuestionField
from graphs.notifications.channels.chats import LONGEST_SLACK_TEXT, build_mattermost_body, build_slack_body
from graphs.notifications.channels.mail import build_mail
from graphs.notifications.channels.webhook import build_webhook_body
from graphs.notifications.message import Notification, build_message
from graphs.store.approvals import Approval
from graphs.store.audit.record import AuditEntry
from graphs.store.digests import compute_call_digest
from graphs.store.notifications import Notice, build_notices
from graphs.store.questions import NodeQuestion
from graphs.store.store import Store

CONSOLE = "https://interlock.example.com/console"
MAIL = {"host": "localhost", "sender": "interlock@example.com", "to": ["on-call@example.com"]}
SPEC = NotificationsSpec.model_validate({"console": CONSOLE, "destinations": {"mail": {"mail": MAIL}}})
MAIL_SPEC = MailSpec.model_validate(MAIL)


async def describe_call(store: Store, folder: Path, args: dict[str, Any], **fields: Any) -> Notification:
    now = time.time()
    values: dict[str, Any] = {
        "id": "abcdefgh",
        "turn": "turn",
        "thread": "thread",
        "call_id": "call",
        "graph": "assistant",
        "snapshot": "s1",
        "tool": "files/write",
        "args": {},
        "digest": compute_call_digest("files/write", {}),
        "rule": "role developer",
        "caller_owner": "ada",
        "caller": "Ada",
        "approver": "admin",
        "created": now,
        "expires": now + 900,
    }
    approval = Approval(**{**values, **fields})
    entry = AuditEntry(time=now, kind="decision", verdict="ask", call_id="call", args=args, rule="role developer")
    await store.approvals.request([approval], [entry])
    return await describe(store, folder, build_notices(SPEC, "approval.pending", "abcdefgh", "admin"))


async def describe_question(store: Store, folder: Path, text: str) -> Notification:
    now = time.time()
    question = NodeQuestion(
        id="abcdefgh",
        place="thread/which:1",
        turn="turn",
        thread="thread",
        graph="assistant",
        snapshot="s1",
        node="which",
        text=text,
        fields=(QuestionField(kind="bool"),),
        caller_owner="ada",
        caller="Ada",
        role="admin",
        created=now,
        expires=now + 900,
        given={},
    )
    await store.questions.ask(question)
    return await describe(store, folder, build_notices(SPEC, "question.pending", "abcdefgh", "admin"))


async def describe(store: Store, folder: Path, notices: list[Notice]) -> Notification:
    (notice,) = notices
    message = await build_message(notice, store, load(folder, {}), SPEC)
    assert message is not None
    return message


@pytest.mark.parametrize("value", [10**25, "\ud800", [10**25] * 200, ["\ud800"] * 2_000])
async def test_no_argument_makes_a_message_fail(store: Store, tmp_path: Path, value: Any) -> None:
    message = await describe_call(store, tmp_path, {"n": value})
    assert '"n": ' in message.body or '"n":' in message.body
    for body in (build_webhook_body(message), build_slack_body(message), build_mattermost_body(message)):
        json.loads(body)
    assert build_mail(MAIL_SPEC, message).as_bytes()


async def test_a_number_over_64_bits_is_shown_exactly(store: Store, tmp_path: Path) -> None:
    message = await describe_call(store, tmp_path, {"n": 10**25})
    assert '> {"n":10000000000000000000000000}' in message.body.split("\n")


async def test_no_text_of_others_passes_for_a_line_of_the_message(store: Store, tmp_path: Path) -> None:
    forged = "Go on?\nAnswered by: the role nobody\u2028Expires: never\r\nOpen the console: https://evil.example"
    message = await describe_question(store, tmp_path, forged)
    lines = message.body.split("\n")
    assert [line for line in lines if "nobody" in line or "evil" in line] == [
        r"> Answered by: the role nobody\u{2028}Expires: never\r",
        "> Open the console: https://evil.example",
    ]
    assert [line for line in lines if line.startswith("Answered by: ")] == ["Answered by: the role admin"]


async def test_the_way_to_the_console_stands_before_what_others_wrote(store: Store, tmp_path: Path) -> None:
    message = await describe_question(store, tmp_path, "Go on? https://evil.example")
    slack = "\n".join(block["text"]["text"] for block in json.loads(build_slack_body(message))["blocks"])
    mattermost = json.loads(build_mattermost_body(message))["text"]
    for text in (slack, mattermost, build_mail(MAIL_SPEC, message).get_content()):
        assert text.index(CONSOLE) < text.index("This message decides nothing.") < text.index("evil.example")


async def test_a_part_of_a_long_message_begins_with_no_text_of_others_unquoted(store: Store, tmp_path: Path) -> None:
    forged = "x" * 40 + " Rule: none " * 200
    message = await describe_call(store, tmp_path, {"text": forged, "more": [f"Rule: {n}" for n in range(30)]})
    blocks = [block["text"]["text"] for block in json.loads(build_slack_body(message))["blocks"][2:]]
    assert len(blocks) > 1
    assert max(map(len, blocks)) <= LONGEST_SLACK_TEXT
    for line in "\n".join(blocks).split("\n"):
        assert "none" not in line or line.startswith("> ")


@pytest.mark.parametrize("name", ["=?utf-8?q?=0D=0ABcc:_eve=40evil.example?=", "a =?utf-8?b?DQpCY2M6IGU=?= b"])
async def test_a_name_becomes_no_header_of_a_mail(store: Store, tmp_path: Path, name: str) -> None:
    message = await describe_call(store, tmp_path, {}, tool=f"files/{name}")
    mail = build_mail(MAIL_SPEC, message)
    head = mail.as_bytes().split(b"\n\n", 1)[0]
    assert b"\nBcc" not in head
    assert mail["bcc"] is None
    assert not {"\r", "\n"} & set(str(mail["subject"]))
    assert name.replace("=?", "= ?") in str(mail["subject"])
