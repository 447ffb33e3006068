"""Checks of servers.yaml beyond each value alone: names of servers, other clients' approvals, patterns of tools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphs.config.reader import ParsedFile
from graphs.config.source import Path, find_value
from graphs.config.spec.servers import ServersSpec, list_names
from graphs.errors import Problem, did_you_mean, list_some
from graphs.policy import patterns

MOST_LISTED = 12
"""How many servers a message lists."""


def check_servers(servers: ParsedFile[ServersSpec]) -> Iterator[Problem]:
    """Yield what is wrong with the entries of servers.yaml, apart from what is wrong with each value alone."""
    names = servers.list_names("mcpServers")
    for name in names:
        if not patterns.is_server_name(name) and ("mcpServers", name) not in servers.original.broken_paths:
            message = f"{name!r} is no name for a server; use letters, digits, '-' and single '_'"
            if (other := patterns.suggest_server_name(name)) is not None and other not in names:
                message += f", such as {other}"
            yield servers.original.build_problem(("mcpServers", name), message)
    yield from _check_approvals(servers)
    for name in servers.spec.mcpServers if servers.spec is not None else ():
        for path, pattern in locate_server_patterns(servers, name).items():
            if (wrong := patterns.find_fault(pattern) or _find_server_prefix(pattern, names)) is not None:
                yield servers.source.build_problem(path, wrong)


def describe_idle_pattern(
    pattern: str, servers: ParsedFile[ServersSpec], raw_text: str | None
) -> Iterator[tuple[bool, str]]:
    """Say why a pattern over `server/tool` matches no tool, and whether that is because servers.yaml does not have its
    server; nothing if the server is there and on, or may be any.

    `raw_text`: the pattern as it stands in the file where a variable filled it in, which is for nobody to read.
    """
    server, names = patterns.find_server(pattern), servers.list_names("mcpServers")
    if server is None:
        return
    shown = repr(pattern) if raw_text is None else f"{raw_text!r}, with its variables filled in,"
    spec = servers.spec.mcpServers.get(server) if servers.spec is not None else None
    if server in names:
        if spec is not None and spec.is_off:
            yield False, f"{shown} matches no tool now: its server is switched off in servers.yaml"
    elif raw_text is not None:
        yield True, f"{shown} matches no tool: servers.yaml has no such server"
    else:
        there = did_you_mean(server, names) or f"; there is {list_some(names, MOST_LISTED)}"
        yield True, f"there is no server {server!r} in servers.yaml, so {shown} matches no tool{there}"


def locate_server_patterns(servers: ParsedFile[ServersSpec], name: str) -> dict[Path, str]:
    """List the patterns under `include` and `exclude` of a server, by their paths in the file."""
    found: dict[Path, str] = {}
    entry: Path = ("mcpServers", name)
    if servers.spec is not None:
        spec = servers.spec.mcpServers[name]
        for field, written in (("include", spec.include), ("exclude", spec.exclude)):
            # A setting has one name in an entry, and that may be another client's.
            key = next(
                (key for key in list_names(field) if find_value(servers.source.data, (*entry, key)) is not None), field
            )
            found |= {(*entry, key, at): pattern for at, pattern in enumerate(written)}
    return found


def _find_server_prefix(pattern: str, servers: Sequence[str]) -> str | None:
    """Explain that a pattern begins with a server's name, which no tool's own name is likely to do; None: it does
    not."""
    for between in ("/", "__"):
        server, found, tool = pattern.partition(between)
        if found and server in servers:
            return (
                f"{pattern!r} is the name of a tool with its server, which belongs into rules in access.yaml; here "
                f"stands the tool's own name: write {tool or '*'!r}. If the server itself calls it {pattern!r}, write "
                f"{server + '?' * len(found) + tool!r}"
            )
    return None


def _check_approvals(servers: ParsedFile[ServersSpec]) -> Iterator[Problem]:
    """Refuse what would let tools run unasked in another client: here rules alone say so."""
    for name, spec in servers.spec.mcpServers.items() if servers.spec is not None else ():
        foreign = {"autoApprove": spec.autoApprove, "alwaysAllow": spec.alwaysAllow, "trust": spec.trust}
        for key, tools in foreign.items():
            if tools:
                yield servers.source.build_problem(("mcpServers", name, key), _describe_approval(name, key, tools))


def _describe_approval(server: str, key: str, tools: Sequence[str] | bool) -> str:
    """Say which rule does what `key` of a server does in other clients; `tools`: those that it names, or True."""
    names = ["*"] if isinstance(tools, bool) else tools
    rules = ", ".join(f'"{server}/{tool}"' for tool in names[:3]) + (", …" if len(names) > 3 else "")
    other = "; `trusted: true` makes rules believe what its tools say of themselves" if key == "trust" else ""
    return (
        f"{key!r} is not taken: what runs without asking is said in access.yaml. The line `allow: [{rules}]` under a "
        f"role does that for its callers, so write it there and remove this{other}"
    )
