"""Reasons why a server is down or a call failed, in words for a person, without the server's secrets."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from http import HTTPStatus
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httpx
from mcp import McpError
from mcp.types import ErrorData
from pydantic import ValidationError

from graphs.config.secrets import find_proxy_passwords, find_server_secrets
from graphs.config.spec.servers import ServerSpec
from graphs.errors import InterlockError
from graphs.redaction import Redaction
from graphs.tools.http_failures import HttpFailure, describe_break, find_http_failure
from graphs.tools.http_limits import RequestFailed
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

_HOST_REFUSED = re.compile(r"invalid host|host (header|name)? ?(is )?not allowed|disallowed host", re.IGNORECASE)


class StartError(InterlockError):
    """A server's program cannot be started; the text is the reason, for people."""


class LineTooLong(InterlockError):
    """A server sent one message longer than is taken."""


def describe_missing_command(command: str) -> str:
    """Describe a program that is not there, and its cure."""
    first, *rest = command.split() or [command]
    # A path may have spaces in it: that is what is meant where its folder is there.
    is_path = "/" in command and Path(command).parent.is_dir() and shutil.which(first) is None
    if rest and not is_path:
        return (
            f"{command}: not found. 'command' is the program alone: write command: {first}, and the rest as args: "
            f"{json.dumps(rest, ensure_ascii=False)}."
        )
    if command == "python":
        return (
            "python: not found, nor python3. Install Python, or write the path of the interpreter that has the "
            "server's packages as 'command' in servers.yaml."
        )
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


def describe_failure(error: BaseException, spec: ServerSpec) -> str:
    """Describe what ended, or prevented, a connection to this server: in words that follow its name."""
    where = strip_credentials_from_url(spec.url) if spec.url is not None else "the server"
    match unwrap_error(error):
        case InterlockError() | UnfitMessage() as known:
            return str(known)
        case McpError(error=ErrorData(data=HttpFailure() as failure)) | RequestFailed(failure=failure):
            return _describe_http_failure(failure, where)
        case httpx.TransportError() as broken:
            return _describe_http_failure(describe_break(broken), where)
        case McpError(error=refused):
            return describe_refusal(refused)
        case ValidationError():
            return "gave an answer of a form that MCP does not have"
        case other:
            return f"failed: {str(other) or type(other).__name__}"


def describe_refusal(refused: ErrorData) -> str:
    """Describe an error in place of an answer."""
    own = find_http_failure(refused) is not None or refused.code == UNFIT_CODE
    return refused.message if own else f"answered with an error: {refused.message}"


def _describe_http_failure(failure: HttpFailure, where: str) -> str:
    match failure.cause:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return (
                f"cannot connect to {where}: {failure.words}. Is the server running, and 'url' in servers.yaml right?"
            )
        case httpx.TimeoutException():
            return f"gave no answer in time at {where}"
        case httpx.TransportError():
            return f"broke the connection to {where}: {failure.words}"
        case None:
            pass
    if failure.redirect:
        return (
            f"redirects from {where} to {failure.redirect} ({failure.title}), which is not followed: what is sent was "
            "meant for that address alone. Write the new one as 'url' in servers.yaml if it is the server's."
        )
    said = f"answered {failure.title} at {where}" + (f": {failure.words.rstrip('.')}" if failure.words else "")
    cure = _find_cure(failure)
    return f"{said}. {cure}" if cure else said


def _find_cure(failure: HttpFailure) -> str:
    if failure.status == HTTPStatus.MISDIRECTED_REQUEST or _HOST_REFUSED.search(failure.words):
        return (
            "It takes requests only under names that it knows: add the host of 'url' in servers.yaml to those that "
            "its own settings allow, or write in 'url' a name that it knows."
        )
    match failure.status:
        case 202:
            return "So it took the greeting, and sent no answer with it. Check the path in 'url' in servers.yaml."
        case 401 | 403:
            return "Check 'headers' in servers.yaml."
        case 404 | 405:
            return "Check the path in 'url' in servers.yaml, or write 'type: sse' for an SSE server."
        case _:
            return ""


def build_redaction(spec: ServerSpec) -> Redaction:
    """Build what removes this server's secrets from a line for a log or a person.

    Values that are folders or files on this machine are no secrets; the line would be useless without them.
    """
    given = {part for value in spec.env.values() for part in (value, *value.split()) if len(part) >= _SHORTEST_SECRET}
    secrets = find_server_secrets(spec) | find_proxy_passwords(os.environ)
    return Redaction({value for value in given if not _is_path(value)} | secrets, shortest=4)


def _is_path(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):
        return False
