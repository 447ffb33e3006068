"""The run itself: installs one after another, starts everything once, asks, and judges nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from string import Template
from typing import Any

import pytest
from support.processes import ProcessFailed, plain_environment
from support.scripted_answer import Call

from compat import clients
from compat.clients import Client
from compat.environments import Environment, NotInstalled, install
from compat.gateway import KEY, MODEL, Gateway, gateway
from compat.results import WAYS, Asked, ClientResult, ServerResult
from compat.script import RESULT, Script, script
from compat.servers import Server
from compat.surroundings import OWN, Surroundings, new_word

PROGRAMS = Path(clients.__file__).parent
SAID, TOLD = "The word is {} for today, my friend.", "The tool said {} to me just now."
"""What the model says, without and with a tool."""
MARKS = "marks.txt"
"""Where our own server writes down each call."""
PATIENCE = 400.0
"""Seconds that one client's program may take."""


def run(
    chosen_servers: Sequence[Server], chosen_clients: Sequence[Client], *, renew: bool, say: Callable[[str], None]
) -> Iterator[ServerResult | ClientResult]:
    """Every result, as it is found: all servers in one Interlock, then each client at that same Interlock."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="interlock-compat-")))
        around = Surroundings(folder, stack)
        made: dict[str, Environment] = {}

        def get_environment(one: Server | Client) -> Environment:
            # Once in a run: what others already run from must stay.
            key = f"{one.language} {one.packages}"
            if key not in made:
                made[key] = install(one.language, one.packages, renew=renew)
            return made[key]

        entries: dict[str, Any] = {}
        calls: dict[str, tuple[Any, str]] = {}
        problems: dict[str, str] = {}
        for server in chosen_servers:
            try:
                environment = get_environment(server) if server.packages else None
                entries[server.name], args, wanted = around.start(server, environment)
                calls[server.name] = args, wanted
                say(f"{server.name} is there")
            except (NotInstalled, OSError, ProcessFailed, pytest.skip.Exception) as error:
                problems[server.name] = str(error)
        (folder / MARKS).touch()
        entries["marks"] = {"command": sys.executable, "args": [str(OWN / "marks.py"), str(folder / MARKS)]}
        lines = stack.enter_context(script())
        interlock = stack.enter_context(gateway(folder, lines.url, entries))
        found = interlock.settle([server.name for server in chosen_servers if server.down])
        for server in chosen_servers:
            if server.name in problems:
                yield ServerResult(server=server, reason=problems[server.name])
                continue
            args, wanted = calls[server.name]
            state = found[server.name]
            answer = ""
            if state["status"] == "up" and server.tool:
                call = Call(f"{server.name}__{server.tool}", args)
                answer = interlock.ask(lines.question(call, RESULT))
            yield ServerResult(
                server=server,
                versions=get_environment(server).versions if server.packages else {},
                status=state["status"],
                reason=interlock.reason(server.name) if state["status"] != "up" else "",
                tools=len(state["tools"]),
                answer=answer,
                wanted=wanted,
            )
        for client in chosen_clients:
            try:
                environment = get_environment(client)
            except NotInstalled as error:
                yield ClientResult(client=client, problem=str(error))
                continue
            asked = ask_all(client, environment, interlock, lines, folder)
            yield ClientResult(client=client, versions=environment.versions, asked=asked)


def ask_all(
    client: Client, environment: Environment, interlock: Gateway, lines: Script, folder: Path
) -> dict[str, Asked]:
    """Runs the client's program once, and reads what it gave for each way of asking."""

    def last_step(text: str) -> Call | str:
        said = Template(client.form).substitute(text=text)
        return Call("", {"text": said}) if client.forces else said

    words = {way: new_word() for way in WAYS}
    prompts: dict[str, str] = {}
    for way, word in words.items():
        if way.startswith("tool"):
            prompts[way] = lines.question(Call("marks__mark", {"token": word}), last_step(TOLD.format(RESULT)))
        else:
            prompts[way] = lines.question(last_step(SAID.format(word)))
    job = {"url": interlock.url, "key": KEY, "model": MODEL, "prompts": prompts}
    given = converse(client, environment, job, folder)
    results: dict[str, Asked] = {}
    for way, word in words.items():
        answer = given.get(way, {"error": given.get("", {}).get("error", "the program ended before")})
        if way.startswith("tool"):
            made = [line.split() for line in (folder / MARKS).read_text().splitlines() if line.startswith(word)]
            results[way] = Asked(**answer, wanted=TOLD.format(made[0][1]) if made else "", calls=len(made))
        else:
            results[way] = Asked(**answer, wanted=SAID.format(word))
    return results


def converse(client: Client, environment: Environment, job: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """What the client's program printed, by way; under the empty name, why it ended."""
    program = PROGRAMS / client.program
    if client.language == "Node":
        # Modules are looked for beside the script that imports them.
        for script in ("steps.mjs", client.program):
            shutil.copy(PROGRAMS / script, environment.folder)
        program = environment.folder / client.program
    try:
        done = subprocess.run(
            [str(environment.interpreter), str(program)],
            input=json.dumps(job),
            env=plain_environment() | {"PATH": environment.path, "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        output, ending = done.stdout, f"the program ended: {done.stderr.strip()[-400:]}"
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        ending = f"the program had not ended after {PATIENCE:g} seconds"
    given = [json.loads(line) for line in output.splitlines()]
    return {"": {"error": ending}} | {answer.pop("way"): answer for answer in given}
