"""Receivers of notifications on loopback: an HTTP server that keeps what it gets, and a real SMTP server (aiosmtpd)."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import hashlib
import hmac
import json
import ssl
import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from support.processes import free_port


@dataclass(frozen=True)
class Received:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """Keeps every request. `statuses` are those of the next answers, then 204."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.requests.append(Received(self.command, self.path, headers, body, time.time()))
                status = receiver.statuses.pop(0) if receiver.statuses and self.command == "POST" else 204
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            do_POST = do_HEAD = do_GET = answer

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def events(self) -> list[str]:
        return [request.json["type"] for request in self.requests if request.method == "POST"]

    async def wait_for(self, count: int, seconds: float = 15) -> list[Received]:
        """The requests, once there are so many."""
        return await wait_until(lambda: self.requests if len(self.requests) >= count else None, seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


async def wait_until(find: Callable[[], Any], seconds: float = 15) -> Any:
    """What `find` finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline, "nothing came"
        await asyncio.sleep(0.05)
    return found


def verify_webhook(secret: str, headers: Mapping[str, str], body: bytes, *, tolerance: float = 300) -> bool:
    """Verify a signature as the specification says (Standard Webhooks 1.0.0), with no code of the product's."""
    if abs(time.time() - int(headers["webhook-timestamp"])) > tolerance:
        return False
    key = base64.b64decode(secret.split("_", 1)[1])
    signed = headers["webhook-id"].encode() + b"." + headers["webhook-timestamp"].encode() + b"." + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(
        version == "v1" and hmac.compare_digest(signature, expected)
        for version, _, signature in (each.partition(",") for each in headers["webhook-signature"].split(" "))
    )


@dataclass
class MailServer:
    """A running SMTP server, and what it took."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list[EmailMessage])
    encrypted: list[bool] = field(default_factory=list[bool])
    logins: list[str] = field(default_factory=list[str])
    refusals: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """By address: what it is answered next, then it is taken."""
    recipients: list[list[str]] = field(default_factory=list[list[str]])
    farewell: float = 0.0
    """Seconds until the answer to QUIT."""

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: Any) -> str:
        if self.refusals.get(address):
            return self.refusals[address].pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_QUIT(self, server: Any, session: Any, envelope: Envelope) -> str:
        await asyncio.sleep(self.farewell)
        return "221 Bye"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        content = cast(bytes, envelope.content)
        self.mails.append(email.message_from_bytes(content, policy=email.policy.default))
        self.recipients.append(list(envelope.rcpt_tos))
        self.encrypted.append(server.transport.get_extra_info("cipher") is not None)
        return "250 OK"


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@asynccontextmanager
async def smtp_server(
    folder: Path | None = None, *, user: str = "", password: str = "", starttls: bool = True
) -> AsyncGenerator[MailServer]:
    """An SMTP server while the block lasts: with a certificate of `folder` by STARTTLS or from the first byte."""
    mail_server = MailServer(0)
    options: dict[str, Any] = {}

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (user.encode(), password.encode())
        mail_server.logins.append(mechanism if good else "refused")
        return AuthResult(success=good, handled=False)

    if folder is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*make_certificate(folder))
        if starttls:
            options |= {"tls_context": context, "require_starttls": True}
        else:
            options |= {"ssl_context": context}
    if user:
        options |= {"authenticator": authenticate, "auth_required": True}
        options |= {} if starttls else {"auth_require_tls": False}
    controller = ClosingController(mail_server, hostname="localhost", port=free_port(), **options)
    await asyncio.to_thread(controller.start)
    try:
        mail_server.port = controller.port
        yield mail_server
    finally:
        await asyncio.to_thread(controller.stop)


class ClosingController(Controller):
    """Closes its connections when it stops: aiosmtpd leaves them open, and a later test is told of it."""

    def __init__(self, *given: Any, **options: Any) -> None:
        self._protocols: list[Any] = []
        super().__init__(*given, **options)

    def factory(self) -> Any:
        self._protocols.append(made := super().factory())
        return made

    def stop(self, no_assert: bool = False) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(10)
        super().stop(no_assert)

    async def _close(self) -> None:
        for protocol in self._protocols:
            if protocol.transport is not None:
                protocol.transport.abort()
        await asyncio.sleep(0)
