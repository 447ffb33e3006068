"""docs/compatibility.md, from what was found."""

from __future__ import annotations

import datetime
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from compat.results import WAYS, Asked, ClientResult, ServerResult

PAGE = Path(__file__).resolve().parents[1] / "docs" / "compatibility.md"
LONGEST = 240
"""Characters of a reason or an answer in a table."""

INTRODUCTION = """# What Interlock was tried with

`make compat` installs each of these in an environment of its own, in the newest version that is published, runs it
with Interlock and writes this page. `make compat ARGS="--only memory,langchain"` tries some of them and prints the
page; `ARGS=--output FILE` writes it elsewhere. What is installed stays in `~/.cache/interlock/compat`, and
`ARGS=--renew` makes that anew. It takes git, Chromium and Prometheus (Debian's packages), and the network of pip and
npm, but no account.
"""

SERVERS = """## MCP servers

All of them stand in one `servers.yaml` of one running Interlock, those that are broken on purpose too. Each is asked
in a chat turn over HTTP: the model is a script that calls the tool and then says what the tool answered. "Works"
means that the answer had the value in it that only the tool could give. "Lists its tools" means that a call takes
more than there is here, an account for example; what that call came back with is in the last column.
"""

BROKEN = """### Broken on purpose

Each must be down, with a reason that helps, while the servers above work.
"""

CLIENTS = """## Clients

Each asks the same Interlock, with the client's defaults, by the small program that is named: for a whole answer, for
one in pieces, and for both once more in a turn in which a tool runs on Interlock's side. "Works" means that the
answer had the word in it that was drawn for this question (for a tool: by the tool), in more than one piece where it
is streamed, and that the tool ran exactly once; "in one piece" is all of that but the pieces, for the reason below.
"""


def write_page(found: Sequence[ServerResult | ClientResult]) -> str:
    """The whole page."""
    today = datetime.datetime.now(datetime.UTC).date()
    servers = [result for result in found if isinstance(result, ServerResult)]
    clients = [result for result in found if isinstance(result, ClientResult)]
    parts = [INTRODUCTION, f"Tried on {today}, with Python {platform.python_version()}. {count(servers, clients)}\n"]
    if working := [result for result in servers if not result.server.down]:
        head = ["server", "package", "over", "result", "tools", "called", "came back"]
        parts += [SERVERS, table(head, map(server_row, working))]
    if notes := [f"- {result.server.name}: {result.server.note}" for result in working if result.server.note]:
        parts += ["\n".join(notes) + "\n"]
    if broken := [result for result in servers if result.server.down]:
        parts += [BROKEN, table(["server", "result", "reason"], map(broken_row, broken))]
    if clients:
        parts += [CLIENTS, table(["client", "package", "program", *WAYS], map(client_row, clients))]
        if notes := [f"- {result.client.name}: {result.client.whole}." for result in clients if result.client.whole]:
            parts += ["\n".join(notes) + "\n"]
        failures = [
            f"- {result.client.name}, {way}: {short(why)}" for result in clients for way, why in reasons(result)
        ]
        if failures:
            parts += ["What does not work:\n", "\n".join(failures) + "\n"]
    return "\n".join(parts)


def count(servers: Sequence[ServerResult], clients: Sequence[ClientResult]) -> str:
    """How many of them do what they can, in one sentence."""
    whole = [result.works for result in servers if not result.server.lacks and not result.server.down]
    listed = [result.works for result in servers if result.server.lacks]
    broken = [result.works for result in servers if result.server.down]
    good = [not result.failures() for result in clients]
    return (
        f"{sum(whole)} of {len(whole)} servers and {sum(good)} of {len(good)} clients work. {sum(listed)} of "
        f"{len(listed)} servers that need more than there is here list their tools. {sum(broken)} of {len(broken)} "
        "that are broken on purpose are down, with the reason."
    )


def server_row(result: ServerResult) -> list[str]:
    server = result.server
    over = "stdio" if "command" in server.entry else "SSE" if server.entry.get("type") == "sse" else "HTTP"
    if not result.works:
        verdict = "**does not work**"
    else:
        verdict = f"lists its tools; a call needs {server.lacks}" if server.lacks else "works"
    came = f"`{short(result.wanted)}`" if result.works and not server.lacks else short(result.answer or result.reason)
    called = f"`{server.tool}`" if result.status == "up" else "–"
    return [server.name, versions(result.versions), over, verdict, str(result.tools or "–"), called, came]


def broken_row(result: ServerResult) -> list[str]:
    verdict = "down, as it must" if result.works else f"**{result.status}, not as it must**"
    return [result.server.name, verdict, short(result.reason)]


def client_row(result: ClientResult) -> list[str]:
    failures = result.failures()
    cells: list[str] = []
    for way in WAYS:
        asked = result.asked.get(way, Asked())
        good = "in one piece" if way.endswith("streamed") and asked.is_whole else "works"
        cells.append(f"– ({asked.cannot})" if asked.cannot else "**no**" if result.problem or way in failures else good)
    program = f"[{result.client.program}](../compat/clients/{result.client.program})"
    return [result.client.name, versions(result.versions), program, *cells]


def reasons(result: ClientResult) -> list[tuple[str, str]]:
    """Why it failed, a reason that several ways share once."""
    ways: dict[str, list[str]] = {}
    for way, why in result.failures().items():
        ways.setdefault(why, []).append(way)
    return [(" and ".join(names), why) for why, names in ways.items()]


def versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in found.items()) or "–"


def short(text: str) -> str:
    """One line of a table, without anything that only this machine has."""
    text = re.sub(r"https?://(?!127\.0\.0\.1)[^\s'\"`)]+", "(an address)", text)
    text = re.sub(r"(?<![\w:/.])/(?:[^\s'\"`:,()/]+/)+", "…/", text)
    text = re.sub(r"(127\.0\.0\.1['\", :]+)\d+", r"\1PORT", text)
    text = re.sub(r"\bw[0-9a-f]{12}", "WORD", text)
    text = re.sub(r"\b[IWEF]\d{4} [\d:.]+ +\d+ ", "", text)  # the time and the process in a line of Kubernetes' log
    line = " ".join(text.split())
    cut = f"{line[:LONGEST].rstrip()} …" if len(line) > LONGEST else line
    return cut.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def table(head: Sequence[str], rows: object) -> str:
    lines = [head, ["---"] * len(head), *rows]  # pyright: ignore[reportGeneralTypeIssues]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
