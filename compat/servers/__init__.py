"""MCP servers of others, one entry each: what is installed, what servers.yaml says, one call, what must come back.

In texts, `$name` is filled in: `$bin` (the environment's programs), `$here` (a folder of the server's own, with
`note.txt` in it), `$port` (a free one of its own), `$nonce` (a word that only this run knows), and what runs beside:
`$page` (a web page), `$login` (a site that answers everything with a login page), `$postgres`, `$prometheus`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compat.environments import Language


@dataclass(frozen=True, kw_only=True)
class Server:
    """One server of the one servers.yaml."""

    name: str
    """Its name in servers.yaml."""
    packages: Sequence[str] = ()
    """What is installed; the first is the server itself."""
    language: Language = "Python"
    entry: Mapping[str, Any]
    """What servers.yaml says of it."""
    program: Sequence[str] = ()
    """The command of a server that is reached over HTTP."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables of that program."""
    tool: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    wanted: str = ""
    """What the tool's result must have in it."""
    lacks: str = ""
    """What a whole call would take that is not at hand: an account, a network, a cluster."""
    note: str = ""
    """What people who install it should know."""
    down: str = ""
    """Broken on purpose: a pattern that the reason must match."""


def npm(name: str, package: str, *args: str, program: str, env: Mapping[str, str] | None = None, **more: Any) -> Server:
    """A program of an npm package, over stdio."""
    entry: dict[str, Any] = {"command": f"$bin/{program}", "args": list(args), "env": {"PATH": "$path", **(env or {})}}
    return Server(name=name, packages=[package], language="Node", entry=entry, **more)


def pip(
    name: str, package: str, *args: str, program: str = "", env: Mapping[str, str] | None = None, **more: Any
) -> Server:
    """A program of a Python package, over stdio."""
    entry: dict[str, Any] = {"command": f"$bin/{program or package}", "args": list(args), "env": dict(env or {})}
    return Server(name=name, packages=[package], entry=entry, **more)


EVERYTHING = "@modelcontextprotocol/server-everything"
TASKS = (
    "one of its 13 tools, `simulate-research-query`, says that it can only be run as a task (`taskSupport: required`), "
    "so it is not offered, as the log and `interlock doctor` say."
)
ECHO: dict[str, Any] = {"tool": "echo", "args": {"message": "$nonce"}, "wanted": "Echo: $nonce"}
NOON = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Kolkata"}
CLOCK: dict[str, Any] = {"tool": "convert_time", "args": NOON, "wanted": "17:30"}
REPEAT: dict[str, Any] = {"tool": "repeat", "args": {"word": "$nonce", "times": 2}, "wanted": "$nonce $nonce"}

SERVERS = (
    npm("everything", EVERYTHING, "stdio", program="mcp-server-everything", note=TASKS, **ECHO),
    Server(
        name="everything-http",
        packages=[EVERYTHING],
        language="Node",
        program=["$bin/mcp-server-everything", "streamableHttp"],
        env={"PORT": "$port"},
        entry={"url": "http://127.0.0.1:$port/mcp"},
        **ECHO,
    ),
    Server(
        name="everything-sse",
        packages=[EVERYTHING],
        language="Node",
        program=["$bin/mcp-server-everything", "sse"],
        env={"PORT": "$port"},
        entry={"type": "sse", "url": "http://127.0.0.1:$port/sse"},
        **ECHO,
    ),
    npm(
        "filesystem",
        "@modelcontextprotocol/server-filesystem",
        "$here",
        program="mcp-server-filesystem",
        tool="read_text_file",
        args={"path": "$here/note.txt"},
        wanted="The note says $nonce.",
    ),
    npm(
        "memory",
        "@modelcontextprotocol/server-memory",
        program="mcp-server-memory",
        env={"MEMORY_FILE_PATH": "$here/memory.jsonl"},
        tool="create_entities",
        args={"entities": [{"name": "$nonce", "entityType": "word", "observations": ["was here"]}]},
        wanted="$nonce",
    ),
    npm(
        "sequential-thinking",
        "@modelcontextprotocol/server-sequential-thinking",
        program="mcp-server-sequential-thinking",
        tool="sequentialthinking",
        args={"thought": "$nonce", "nextThoughtNeeded": True, "thoughtNumber": 1, "totalThoughts": 7},
        wanted='"totalThoughts": 7',
    ),
    npm(
        "playwright",
        "@playwright/mcp",
        *("--headless", "--no-sandbox", "--isolated", "--executable-path", "$chromium"),
        program="playwright-mcp",
        tool="browser_navigate",
        args={"url": "$page"},
        wanted="Page Title: Page $nonce",
    ),
    npm(
        "notion",
        "@notionhq/notion-mcp-server",
        program="notion-mcp-server",
        env={"NOTION_TOKEN": "ntn_none"},
        tool="API-get-self",
        lacks="an account",
    ),
    npm(
        "kubernetes",
        "mcp-server-kubernetes",
        program="mcp-server-kubernetes",
        tool="kubectl_get",
        args={"resourceType": "pods", "name": "", "namespace": "default"},
        lacks="a cluster",
    ),
    npm(
        "context7",
        "@upstash/context7-mcp",
        program="context7-mcp",
        tool="resolve-library-id",
        args={"query": "how to route", "libraryName": "fastapi"},
        lacks="the internet",
    ),
    pip(
        "fetch",
        "mcp-server-fetch",
        *("--ignore-robots-txt", "--allow-private-ips"),
        tool="fetch",
        args={"url": "$page"},
        wanted="The page says $nonce",
    ),
    pip(
        "git",
        "mcp-server-git",
        *("--repository", "$here"),
        tool="git_log",
        args={"repo_path": "$here", "max_count": 1},
        wanted="Commit of $nonce",
    ),
    pip("time", "mcp-server-time", **CLOCK),
    Server(
        name="sqlite",
        packages=["mcp-server-sqlite", "mcp<2"],
        entry={"command": "$bin/mcp-server-sqlite", "args": ["--db-path", "$here/data.db"]},
        note="its last release is older than mcp 2, which pip picks, and ends with `'Server' object has no attribute "
        "'list_resources'` there; here it has mcp below 2.",
        tool="read_query",
        args={"query": "SELECT '$nonce' || (6 * 7) AS answer"},
        wanted="${nonce}42",
    ),
    npm(
        "dbhub",
        "@bytebase/dbhub",
        *("--transport", "stdio", "--dsn", "$postgres"),
        program="dbhub",
        tool="execute_sql",
        args={"sql": "SELECT '$nonce' || (6 * 7) AS answer, version()"},
        wanted="${nonce}42",
    ),
    pip(
        "prometheus",
        "prometheus-mcp-server",
        env={"PROMETHEUS_URL": "$prometheus"},
        tool="execute_query",
        args={"query": "compat_answer"},
        wanted="4711.25",
    ),
    Server(
        name="mcp-proxy-http",
        packages=["mcp-proxy", "mcp-server-time"],
        program=["$bin/mcp-proxy", "--port", "$port", "--", "$bin/mcp-server-time"],
        entry={"url": "http://127.0.0.1:$port/mcp"},
        **CLOCK,
    ),
    Server(
        name="mcp-proxy-sse",
        packages=["mcp-proxy", "mcp-server-time"],
        program=["$bin/mcp-proxy", "--port", "$port", "--", "$bin/mcp-server-time"],
        entry={"type": "sse", "url": "http://127.0.0.1:$port/sse"},
        **CLOCK,
    ),
    pip("fastmcp", "fastmcp", "$own/fastmcp_server.py", program="python", **REPEAT),
    Server(
        name="fastmcp-http",
        packages=["fastmcp"],
        program=["$bin/python", "$own/fastmcp_server.py", "$port"],
        entry={"url": "http://127.0.0.1:$port/mcp"},
        **REPEAT,
    ),
    # Broken on purpose: these must be down, with the reason, and cost the others nothing.
    Server(name="no-such-program", entry={"command": "no-such-program"}, down="no-such-program: not found"),
    Server(
        name="exits-at-once",
        entry={"command": "$python", "args": ["-c", "exit('PORT is not set')"]},
        down="PORT is not set",
    ),
    Server(
        name="one-line",
        entry={"command": "npx -y some-server"},
        down=r'command: npx,.* args: \["-y", "some-server"\]',
    ),
    Server(
        name="usage-text",
        entry={"command": "$python", "args": ["-c", "print('usage: server --port N')"]},
        down="usage: server --port N",
    ),
    Server(name="wrong-path", entry={"url": "$site/no/such/path"}, down="answered 404 .*/no/such/path: .*'url'"),
    Server(name="login-page", entry={"url": "$login"}, down="text/html: a web page, 'Sign in'"),
    Server(
        name="wrong-host",
        program=["$python", "$own/guarded_server.py", "$port"],
        entry={"url": "http://127.0.0.1:$port/mcp"},
        down="421 .*Host",
    ),
    Server(name="dead-port", entry={"url": "http://127.0.0.1:$port/mcp"}, down="[Cc]onnect"),
)
