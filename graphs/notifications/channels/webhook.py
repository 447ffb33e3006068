"""Signed webhooks as Standard Webhooks 1.0.0 has them: https://www.standardwebhooks.com

`webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; two of them while a secret is
replaced.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from graphs.config.spec.notifications import WebhookSpec, decode_webhook_secret
from graphs.notifications.message import Notification


def build_webhook_body(message: Notification) -> bytes:
    """Build the body: `type`, `timestamp` (ISO 8601) and `data`. ASCII alone, so that no proxy changes a byte of it."""
    when = datetime.fromtimestamp(message.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    content = {"type": message.event, "timestamp": when, "data": dict(message.data)}
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def sign_webhook(spec: WebhookSpec, id: str, body: bytes, now: float | None = None) -> Mapping[str, str]:
    """Build the three headers for one attempt, which is made now: receivers refuse old ones."""
    timestamp = str(int(time.time() if now is None else now))
    signed = f"{id}.{timestamp}.".encode() + body
    secrets = [secret for secret in (spec.secret, spec.previous_secret) if secret is not None]
    return {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(compute_signature(secret.get_secret_value(), signed) for secret in secrets),
    }


def compute_signature(secret: str, signed: bytes) -> str:
    """Compute one signature, as the header has it."""
    digest = hmac.new(decode_webhook_secret(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
