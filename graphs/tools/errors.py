"""Reasons why a server is down or a call failed, in words for a person, without the server's secrets."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httpx
from mcp import McpError

from graphs.config.secrets import find_server_secrets
from graphs.config.spec.servers import ServerSpec
from graphs.errors import InterlockError
from graphs.redaction import Redaction
from graphs.tools.message_limits import UNFIT_CODE, UnfitMessage

_SHORTEST_SECRET = 8
"""Characters of a variable of a server's own that is blotted out: shorter ones are everyday words."""
_CURES = {
    "npx": "Install Node.js, which brings it",
    "npm": "Install Node.js, which brings it",
    "node": "Install Node.js",
    "uvx": "Install uv, which brings it",
    "uv": "Install uv",
    "docker": "Install Docker",
    "bunx": "Install Bun, which brings it",
    "deno": "Install Deno",
}


class StartError(InterlockError):
    """A server's program cannot be started; the text is the reason, for people."""


class LineTooLong(InterlockError):
    """A server sent one message longer than is taken."""


def describe_missing_command(command: str) -> str:
    """Describe a program that is not there, and its cure."""
    name = Path(command).name
    cure = _CURES.get(name, "Install it, or give its full path" if name == command else "Check the path")
    return f"{command}: not found. {cure}, or correct 'command' in servers.yaml."


def describe_exit(returncode: int | None) -> str:
    """Describe how a process ended; None is one that still runs."""
    if returncode is None:
        return "closed its output"
    if returncode >= 0:
        return f"exited with status {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"


def strip_credentials_from_url(url: str) -> str:
    """Remove from an address what may be secret: user, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def unwrap_error(error: BaseException) -> BaseException:
    """Unwrap the first real error from the groups that task groups wrap it in."""
    if isinstance(error, BaseExceptionGroup):
        return unwrap_error(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    return error


def find_unsent_ids(error: BaseException) -> frozenset[object]:
    """Find the ids of the JSON-RPC requests that cannot have been sent: no connection was made for them."""
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return frozenset[object]().union(*(find_unsent_ids(one) for one in inner))
    if not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return frozenset()
    try:
        return frozenset({json.loads(error.request.content)["id"]})
    except (RuntimeError, ValueError, KeyError, TypeError):
        # It was not for a JSON-RPC request.
        return frozenset()


def describe_failure(error: BaseException, spec: ServerSpec) -> str:
    """Describe what ended, or prevented, a connection to this server."""
    where = strip_credentials_from_url(spec.url) if spec.url is not None else "the server"
    match unwrap_error(error):
        case StartError() | LineTooLong() | UnfitMessage() as known:
            return str(known)
        case httpx.HTTPStatusError(response=response):
            status = f"{where} answered {response.status_code} {response.reason_phrase}"
            match response.status_code:
                case 401 | 403:
                    return f"{status}. Check 'headers' in servers.yaml."
                case 404 | 405:
                    return f"{status}. Check the path in 'url' in servers.yaml, or write 'type: sse' for an SSE server."
                case _:
                    return status
        case httpx.ConnectError() | httpx.ConnectTimeout() as unreached:
            return f"cannot connect to {where}: {unreached}. Is the server running, and 'url' in servers.yaml right?"
        case httpx.TimeoutException():
            return f"{where} gave no answer in time"
        case httpx.TransportError() as broken:
            return f"the connection to {where} broke: {broken}"
        case McpError(error=refused) if spec.url is not None and refused.message == "Session terminated":
            return f"{where} knows no such session, or answered 404. Check the path in 'url' in servers.yaml."
        case McpError(error=refused) if refused.code == UNFIT_CODE:
            return refused.message
        case McpError(error=refused):
            return f"answered with an error: {refused.message}"
        case other:
            return f"{type(other).__name__}: {other}"


def build_redaction(spec: ServerSpec) -> Redaction:
    """Build what removes this server's secrets from a line for a log or a person.

    Values that are folders or files on this machine are no secrets; the line would be useless without them.
    """
    given = {part for value in spec.env.values() for part in (value, *value.split()) if len(part) >= _SHORTEST_SECRET}
    return Redaction({value for value in given if not _is_path(value)} | find_server_secrets(spec), shortest=4)


def _is_path(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):
        return False
