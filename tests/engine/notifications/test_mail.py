"""Mail to several addresses, and what a mail server does after it took one: nobody gets a mail twice, or none."""

from __future__ import annotations

import logging

import pytest
from support.notice_receivers import smtp_server

from graphs.config.spec.notifications import MailSpec
from graphs.notifications.channels import mail
from graphs.notifications.channels.failures import SendFailed
from graphs.notifications.channels.mail import send_mail
from graphs.notifications.message import Notification

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
MESSAGE = Notification(
    id="msg_1",
    event="approval.pending",
    time=1_700_000_000.0,
    headline="Approval needed: deploy/start",
    body="Asked by: ada",
    link="https://interlock.example.com/console",
    data={},
)


def spec(port: int, *to: str) -> MailSpec:
    values = {"host": "localhost", "port": port, "tls": "none", "sender": "interlock@example.com", "to": list(to)}
    return MailSpec.model_validate(values)


async def test_a_mail_that_was_taken_is_sent_whatever_the_server_does_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "PATIENCE", 1.0)
    monkeypatch.setattr(mail, "FAREWELL", 0.2, raising=False)
    async with smtp_server() as server:
        server.farewell = 3.0
        await send_mail(spec(server.port, ADA), MESSAGE)
        assert len(server.mails) == 1


async def test_addresses_that_are_refused_for_now_are_tried_again_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with smtp_server() as server:
        server.refusals = {BOB: ["450 greylisted"], EVE: ["550 no such user"]}
        with pytest.raises(SendFailed) as caught, caplog.at_level(logging.WARNING):
            await send_mail(spec(server.port, ADA, BOB, EVE), MESSAGE)
        assert server.recipients == [[ADA]]
    assert caught.value.remaining == [BOB]
    assert not caught.value.is_final
    assert str(caught.value) == f"localhost:{server.port} refused 1 of 3 addresses for now"
    assert "localhost refused 1 of 3 addresses for good" in caplog.text


async def test_addresses_that_are_refused_for_good_hold_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with smtp_server() as server:
        server.refusals = {EVE: ["550 no such user"] * 2}
        with caplog.at_level(logging.WARNING):
            await send_mail(spec(server.port, ADA, EVE), MESSAGE)
        assert server.recipients == [[ADA]]
        assert "refused 1 of 2 addresses for good" in caplog.text
        with pytest.raises(SendFailed, match="refused every address"):
            await send_mail(spec(server.port, EVE), MESSAGE)


async def test_where_nobody_got_it_those_refused_for_good_are_not_tried_again() -> None:
    async with smtp_server() as server:
        server.refusals = {BOB: ["450 greylisted"], EVE: ["550 no such user"]}
        with pytest.raises(SendFailed) as caught:
            await send_mail(spec(server.port, BOB, EVE), MESSAGE)
    assert caught.value.remaining == [BOB]
