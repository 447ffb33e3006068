"""Mail over SMTP, by aiosmtplib: encrypted, or not sent where gateway.yaml says `starttls` or `tls`."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

import aiosmtplib

from graphs.config.spec.notifications import MailSpec
from graphs.notifications.channels.failures import SendFailed
from graphs.notifications.message import Notification

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds for one attempt, from the connection to the answer that the server took the mail."""
FAREWELL = 2.0
"""Seconds for the end of a session, of which nothing depends."""


async def send_mail(spec: MailSpec, message: Notification) -> None:
    """Send a message to all addresses. Raises SendFailed where none took it, or some are to be tried again."""
    async with _open_session(spec) as session:
        try:
            refused, _ = await session.send_message(build_mail(spec, message), sender=spec.sender, recipients=spec.to)
            codes = {address: response.code for address, response in refused.items()}
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = {one.recipient: one.code for one in error.recipients}
    final = [address for address, code in codes.items() if code >= 500]
    later = [address for address, code in codes.items() if code < 500]
    if final:
        log.warning(
            "notification %s: %s refused %d of %d addresses for good", message.id, spec.host, len(final), len(spec.to)
        )
    where = f"{spec.host}:{spec.server_port}"
    if later:
        raise SendFailed(f"{where} refused {len(later)} of {len(spec.to)} addresses for now", remaining=later)
    if len(final) == len(spec.to):
        raise SendFailed(f"{where} refused every address")


async def probe_mail(spec: MailSpec) -> str:
    """Connect, encrypt and log in, and send nothing. Raises SendFailed."""
    async with _open_session(spec):
        how = {"starttls": "with STARTTLS", "tls": "with TLS", "none": "in the clear"}[spec.tls]
        return f"{spec.host}:{spec.server_port} answers {how}{f', and {spec.user} logs in' if spec.user else ''}"


def build_mail(spec: MailSpec, message: Notification) -> EmailMessage:
    """Build the mail. Its Message-ID is the same for every attempt."""
    mail = EmailMessage()
    mail["Subject"] = f"[Interlock] {_break_encoded_words(message.headline)}"
    mail["From"] = spec.sender
    mail["To"] = ", ".join(spec.to)
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = f"<{message.id}@{_find_domain(spec)}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office notices
    mail.set_content(f"{message.advice}\n\n{message.body}\n")
    return mail


@asynccontextmanager
async def _open_session(spec: MailSpec) -> AsyncGenerator[aiosmtplib.SMTP]:
    # Reads the machine's certificates: too slow for the event loop.
    trusted = None if spec.tls == "none" else await asyncio.to_thread(ssl.create_default_context)
    session = aiosmtplib.SMTP(
        hostname=spec.host,
        port=spec.server_port,
        use_tls=spec.tls == "tls",
        start_tls=spec.tls == "starttls",
        tls_context=trusted,
        local_hostname=_find_domain(spec),  # else the library asks the name server, and the loop waits
        username=spec.user or None,
        password=spec.password.get_secret_value() or None,
        timeout=PATIENCE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            await session.connect()
            yield session
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        raise SendFailed(f"{spec.host}:{spec.server_port} {_describe(error)}") from None
    else:
        with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await session.quit()
    finally:
        session.close()


def _describe(error: Exception) -> str:
    """Describe a failure without the server's own words: they may quote what was sent."""
    match error:
        case aiosmtplib.SMTPAuthenticationError():
            return f"refused the user or the password ({error.code})"
        case aiosmtplib.SMTPException() if "not supported" in str(error):
            return "does not offer what is needed: encryption by STARTTLS, or a way to log in"
        case aiosmtplib.SMTPResponseException():
            return f"answered {error.code}"
        case ssl.SSLCertVerificationError():
            return "has a certificate that is not trusted"
        case TimeoutError():
            return f"did not answer within {PATIENCE:.0f} seconds"
        case _ if "CERTIFICATE_VERIFY_FAILED" in str(error) or "certificate" in str(error).lower():
            return "has a certificate that is not trusted"
        case aiosmtplib.SMTPConnectError():
            return "cannot be reached"
        case _:
            return "broke off"


def _break_encoded_words(text: str) -> str:
    """Break encoded words (RFC 2047): the library decodes them in a header that is set, line ends included."""
    return text.replace("=?", "= ?")


def _find_domain(spec: MailSpec) -> str:
    return spec.sender.rpartition("@")[2]
