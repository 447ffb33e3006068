"""Channels of notifications, against real receivers: signatures, chats that read no markup, mail that is encrypted."""

from __future__ import annotations

import base64
import json
import logging
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from support.notice_receivers import MailServer, Receiver, smtp_server, verify_webhook
from support.processes import free_port

from graphs.config.spec.notifications import DestinationSpec, WebhookSpec
from graphs.notifications.channels import probe, send
from graphs.notifications.channels.chats import build_mattermost_body, build_slack_body
from graphs.notifications.channels.failures import SendFailed
from graphs.notifications.channels.http import build_transport, post_json
from graphs.notifications.channels.webhook import compute_signature, sign_webhook
from graphs.notifications.message import Notification

OLD, NEW = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
PASSWORD = "hush-hush-hush"
MESSAGE = Notification(
    id="msg_1",
    event="approval.pending",
    time=1_700_000_000.25,
    headline="Approval needed: deploy/start",
    body='Asked by: ada\nArguments:\n{"to": "<!channel> @all [Approve](https://evil.example) ``` & Zoë"}',
    link="https://interlock.example.com/console",
    data={"approval": "abcdefgh", "args": {"to": "Zoë \u202e"}},
)


async def deliver(destination: dict[str, Any], message: Notification = MESSAGE) -> None:
    async with build_transport(httpx.create_ssl_context()) as transport:
        await send(DestinationSpec.model_validate(destination), message, transport)


async def find_failure(destination: dict[str, Any]) -> str:
    with pytest.raises(SendFailed) as caught:
        await deliver(destination)
    return str(caught.value)


def test_a_signature_is_that_of_the_specification() -> None:
    # The example of the reference libraries of Standard Webhooks.
    signed = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
    made = compute_signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", signed)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_receiver_with_either_secret_verifies_while_one_is_replaced() -> None:
    with Receiver() as receiver:
        await deliver({"webhook": {"url": f"{receiver.url}/x", "secret": NEW, "previous_secret": OLD}})
        (got,) = receiver.requests
    for secret in (NEW, OLD):
        assert verify_webhook(secret, got.headers, got.body)
    assert not verify_webhook("whsec_" + base64.b64encode(bytes(32)).decode(), got.headers, got.body)
    assert got.headers["content-type"] == "application/json"
    assert got.json == {"type": "approval.pending", "timestamp": "2023-11-14T22:13:20.250Z", "data": MESSAGE.data}
    assert got.body.isascii()


async def test_the_receiver_of_the_guide_takes_what_is_genuine_and_nothing_else() -> None:
    page = (Path(__file__).parents[3] / "docs" / "guide" / "operations.md").read_text()
    [code] = re.findall(r"```python\n(.*?def is_genuine.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    with Receiver() as receiver:
        await deliver({"webhook": {"url": receiver.url, "secret": NEW, "previous_secret": OLD}})
        (got,) = receiver.requests
    is_genuine, headers = names["is_genuine"], dict(got.headers)
    assert is_genuine(NEW, headers, got.body)
    assert is_genuine(OLD, headers, got.body)
    assert not is_genuine(NEW, headers, got.body + b" ")
    assert not is_genuine(NEW, {**headers, "webhook-id": "msg_2"}, got.body)
    stale = sign_webhook(
        WebhookSpec(url=SecretStr("https://x.example"), secret=SecretStr(NEW)), "msg_1", got.body, now=1e9
    )
    assert not is_genuine(NEW, dict(stale), got.body)


async def test_a_redirect_is_not_followed_and_a_failure_names_no_more_than_the_host() -> None:
    with Receiver() as receiver:
        receiver.statuses = [302, 500]
        destination = {"slack": {"url": f"{receiver.url}/services/T0KEN-OF-THE-CHAT?key=T0KEN"}}
        assert (
            await find_failure(destination)
            == "127.0.0.1 answered 302; redirects are not followed: write the address that it leads to"
        )
        assert await find_failure(destination) == "127.0.0.1 answered 500"
        assert len(receiver.requests) == 2
    port = free_port()
    gone = {"slack": {"url": f"http://127.0.0.1:{port}/services/T0KEN"}}
    assert await find_failure(gone) == f"127.0.0.1:{port} cannot be reached"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://127.99.0.1/services/T0KEN", "127.99.0.1:80"),
        ("https://127.99.0.1/services/T0KEN", "127.99.0.1:443"),
        ("https://[::1]:9/services/T0KEN", "[::1]:9"),
    ],
)
async def test_an_address_that_cannot_be_reached_is_named_with_its_port(url: str, place: str) -> None:
    assert await find_failure({"slack": {"url": url}}) == f"{place} cannot be reached"


@pytest.mark.parametrize("host", ["hooks..slack.com", "x" * 64 + ".example"])
async def test_a_host_that_cannot_be_one_is_a_failure_in_words(host: str) -> None:
    url = f"https://{host}/services/T0KEN"
    with pytest.raises(ValueError, match="is no address"):
        DestinationSpec.model_validate({"slack": {"url": url}})
    async with build_transport(httpx.create_ssl_context()) as transport:
        with pytest.raises(SendFailed) as caught:
            await post_json(transport, SecretStr(url), b"{}")
    assert host in str(caught.value)
    assert "T0KEN" not in str(caught.value)


async def test_a_certificate_that_nobody_trusts_ends_the_attempt(tmp_path: Path) -> None:
    async with smtp_server(tmp_path, starttls=False) as server:  # its TLS is as good as a web server's
        url = f"https://localhost:{server.port}/services/T0KEN"
        assert await find_failure({"slack": {"url": url}}) == "the certificate of localhost is not trusted"


async def test_the_address_of_a_chat_is_in_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with Receiver() as receiver, caplog.at_level(logging.DEBUG):
        await deliver({"slack": {"url": f"{receiver.url}/services/T0KEN"}})
    assert "T0KEN" not in caplog.text


def test_slack_reads_no_markup_in_what_people_and_models_wrote() -> None:
    body = json.loads(build_slack_body(MESSAGE))
    assert {block["text"]["type"] for block in body["blocks"]} == {"plain_text"}
    assert "<!channel>" not in body["text"]
    assert MESSAGE.body in [block["text"]["text"] for block in body["blocks"]]
    assert MESSAGE.link in body["blocks"][1]["text"]["text"]


def test_slack_gets_no_section_that_is_too_long() -> None:
    long = Notification(**{**MESSAGE.__dict__, "body": "x" * 7_000})
    sections = [block["text"]["text"] for block in json.loads(build_slack_body(long))["blocks"]]
    assert max(map(len, sections)) <= 3_000
    assert "".join(sections).count("x") >= 7_000


def test_mattermost_reads_no_markup_in_what_people_and_models_wrote() -> None:
    text = json.loads(build_mattermost_body(MESSAGE))["text"]
    fence = "````"  # longer than any run of backticks inside
    before, inside, after = text.split(fence)
    assert "@all" in inside
    assert "```" in inside
    assert "@all" not in before + after
    assert MESSAGE.link in before


def mail(server: MailServer, **more: Any) -> dict[str, Any]:
    spec = {"host": "localhost", "port": server.port, "sender": "interlock@example.com", "to": ["on-call@example.com"]}
    return {"mail": {**spec, **more}}


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")  # the test server's own words
@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_mail_goes_encrypted_to_a_server_that_knows_the_user(
    tmp_path: Path, tls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    async with smtp_server(tmp_path, user="interlock", password=PASSWORD, starttls=tls == "starttls") as server:
        login = {"tls": tls, "user": "interlock", "password": PASSWORD}
        await deliver(mail(server, **login))
        destination = DestinationSpec.model_validate(mail(server, **login))
        async with build_transport(httpx.create_ssl_context()) as transport:
            found = await probe(destination, transport)
        refused = await find_failure(mail(server, **{**login, "password": "wrong-wrong"}))
    (got,) = server.mails
    assert server.encrypted == [True]
    how = "STARTTLS" if tls == "starttls" else "TLS"
    assert found == f"localhost:{server.port} answers with {how}, and interlock logs in"
    assert refused == f"localhost:{server.port} refused the user or the password (535)"
    assert got["subject"] == "[Interlock] Approval needed: deploy/start"
    assert (got["from"], got["to"]) == ("interlock@example.com", "on-call@example.com")
    assert got["message-id"] == "<msg_1@example.com>"
    assert got["auto-submitted"] == "auto-generated"
    text = got.get_content().replace("\r\n", "\n")
    assert MESSAGE.body in text
    assert "https://interlock.example.com/console" in text
    assert "This message decides nothing." in text


async def test_mail_is_not_sent_in_the_clear_where_encryption_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with smtp_server() as server:  # it offers no STARTTLS
        why = await find_failure(mail(server))
        assert server.mails == []
        await deliver(mail(server, tls="none"))
        assert server.encrypted == [False]
    assert "does not offer what is needed" in why
    async with smtp_server(tmp_path) as server:  # its certificate is trusted by nobody
        assert await find_failure(mail(server)) == f"localhost:{server.port} has a certificate that is not trusted"
        assert server.mails == []


def test_no_secret_shows_in_a_destination() -> None:
    destination = DestinationSpec.model_validate({"webhook": {"url": "https://h.example/T0KEN", "secret": NEW}})
    assert NEW not in repr(destination)
    assert "T0KEN" not in repr(destination)
    assert destination.webhook is not None
    assert destination.webhook.secret == SecretStr(NEW)
