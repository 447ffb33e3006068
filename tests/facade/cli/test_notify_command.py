"""`interlock notify test`: one test message a destination, and what became of each."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from support.configs import MINIMAL_GRAPH, write_configs
from support.notice_receivers import Receiver, verify_webhook
from typer.testing import CliRunner, Result

from graphs.config.spec.notifications import DestinationSpec
from graphs.diagnostics import notification_check
from server.cli.main import app

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
GATEWAY = """\
    notifications:
      console: https://interlock.example.com/console
      destinations:
        on-call: {{webhook: {{url: "{url}/interlock", secret: {secret}}}}}
        chat: {{mattermost: {{url: "{url}/hooks/T0KEN"}}}}
        gone: {{slack: {{url: "http://127.0.0.1:9/services/T0KEN"}}}}
    """


def notify(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["notify", "test", *map(str, arguments)])


def test_each_destination_gets_a_test_message_once(tmp_path: Path) -> None:
    with Receiver() as receiver:
        gateway = GATEWAY.format(url=receiver.url, secret=SECRET)
        configs = write_configs(tmp_path, {"gateway.yaml": gateway, "graphs/assistant.yaml": MINIMAL_GRAPH})
        result = notify("--configs", configs)
        assert result.exit_code == 1
        assert result.output.splitlines() == [
            "ok   gateway.yaml:4:5: on-call: a test message was sent",
            "ok   gateway.yaml:5:5: chat: a test message was sent",
            "FAIL gateway.yaml:6:5: gone: 127.0.0.1:9 cannot be reached",
        ]
        by_path = {request.path: request for request in receiver.requests}
        assert by_path.keys() == {"/interlock", "/hooks/T0KEN"}
        assert len(receiver.requests) == 2
        signed = by_path["/interlock"]
        assert verify_webhook(SECRET, signed.headers, signed.body)
        assert signed.json["type"] == "interlock.test"
        assert "https://interlock.example.com/console" in json.dumps(by_path["/hooks/T0KEN"].json)

        assert notify("on-call", "--configs", configs).exit_code == 0
        assert len(receiver.requests) == 3


def test_a_fault_at_one_destination_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail_for_chats(destination: DestinationSpec, *_: object) -> None:
        if destination.slack or destination.mattermost:
            raise RuntimeError("T0KEN")

    monkeypatch.setattr(notification_check, "send", fail_for_chats)
    gateway = GATEWAY.format(url="http://127.0.0.1:9", secret=SECRET)
    configs = write_configs(tmp_path, {"gateway.yaml": gateway, "graphs/assistant.yaml": MINIMAL_GRAPH})
    result = notify("--configs", configs)
    assert result.exit_code == 1
    failed = "cannot be tried: RuntimeError, a fault of Interlock's own"
    first, second, _ = result.output.splitlines()
    assert first == "ok   gateway.yaml:4:5: on-call: a test message was sent"
    assert second == f"FAIL gateway.yaml:5:5: chat: {failed}"


def test_what_cannot_be_tried_is_said(tmp_path: Path) -> None:
    configs = write_configs(tmp_path, {"graphs/assistant.yaml": MINIMAL_GRAPH})
    result = notify("--configs", configs)
    assert (result.exit_code, result.output) == (
        2,
        "gateway.yaml has no `notifications`, so there is nothing to try\n",
    )
    gateway = GATEWAY.format(url="http://127.0.0.1:9", secret=SECRET)
    write_configs(tmp_path, {"gateway.yaml": gateway})
    result = notify("nobody", "--configs", configs)
    assert result.exit_code == 2
    assert result.output == "there is no destination 'nobody' in gateway.yaml; there is on-call, chat, gone\n"
