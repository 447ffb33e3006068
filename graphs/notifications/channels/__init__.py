"""Channels by which notifications are sent: signed webhooks, chats, mail. `send` and `probe` choose the channel."""

from __future__ import annotations

from graphs.config.http_transport import OutboundTransport
from graphs.config.spec.notifications import DestinationSpec, MailSpec
from graphs.notifications.channels.chats import build_mattermost_body, build_slack_body
from graphs.notifications.channels.http import post_json, probe_address
from graphs.notifications.channels.mail import probe_mail, send_mail
from graphs.notifications.channels.webhook import build_webhook_body, sign_webhook
from graphs.notifications.message import Notification


async def send(destination: DestinationSpec, message: Notification, transport: OutboundTransport) -> None:
    """Send a message. Raises SendFailed."""
    if destination.mail is not None:
        await send_mail(destination.mail, message)
    elif destination.webhook is not None:
        body = build_webhook_body(message)
        await post_json(transport, destination.webhook.url, body, sign_webhook(destination.webhook, message.id, body))
    elif destination.slack is not None:
        await post_json(transport, destination.slack.url, build_slack_body(message))
    elif destination.mattermost is not None:
        await post_json(transport, destination.mattermost.url, build_mattermost_body(message))


async def probe(destination: DestinationSpec, transport: OutboundTransport) -> str:
    """Try a destination without sending anything, and say in words what was found. Raises SendFailed."""
    channel = destination.channel
    return await (probe_mail(channel) if isinstance(channel, MailSpec) else probe_address(transport, channel.url))
