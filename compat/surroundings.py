"""What the servers need around them: files, a web site, PostgreSQL, Prometheus, programs that serve over HTTP."""

from __future__ import annotations

import http.server
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from string import Template
from typing import Any

from support.postgres import postgres
from support.processes import free_port, running
from support.prometheus import prometheus

from compat.environments import Environment
from compat.servers import Server

OWN = Path(__file__).parent / "servers"


class Surroundings:
    """The values of `$name` in the servers' entries; what takes a program is started when it is first needed."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.nonce = new_word()
        self._folder = folder
        self._stack = stack
        self._here = make_files(folder / "files", self.nonce)
        site = stack.enter_context(web_site(self.nonce))
        self._values = {
            "nonce": self.nonce,
            "here": str(self._here),
            "own": str(OWN),
            "python": sys.executable,
            "path": os.environ["PATH"],
            "chromium": shutil.which("chromium") or "chromium",
            "site": site,
            "page": f"{site}/page",
            "login": f"{site}/login",
        }

    def start(self, server: Server, environment: Environment | None) -> tuple[Any, Any, str]:
        """The server's entry and arguments with every value in them, and what must come back; its program runs."""
        values = dict(self._values, port=str(free_port()))
        if environment:
            values |= {"bin": str(environment.programs), "path": environment.path}
        if "$postgres" in str(server.entry):
            values["postgres"] = self._once("postgres")
        if "$prometheus" in str(server.entry):
            values["prometheus"] = self._once("prometheus")
        if server.program:
            command: Sequence[str] = filled(server.program, values)
            env: Mapping[str, str] = {**filled(server.env, values), "PATH": values["path"]}
            log = self._folder / f"{server.name}.log"
            process = self._stack.enter_context(running(server.name, command, log, env=env, cwd=self._here))
            process.wait_for_port(int(values["port"]))
        return filled(server.entry, values), filled(server.args, values), filled(server.wanted, values)

    def _once(self, name: str) -> str:
        if name not in self._values:
            folder = self._folder / name
            folder.mkdir()
            if name == "postgres":
                self._values[name] = self._stack.enter_context(postgres(folder / "log")).url
            else:
                self._values[name] = self._stack.enter_context(prometheus(folder, {"compat_answer": 4711.25}))
        return self._values[name]


def new_word() -> str:
    """A word that nothing can know before."""
    return f"w{secrets.token_hex(6)}"


def filled(value: Any, values: Mapping[str, str]) -> Any:
    """A copy in which every text has its values. Raises KeyError for one that is not known."""
    if isinstance(value, str):
        return Template(value).substitute(values)
    if isinstance(value, Mapping):
        return {key: filled(item, values) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [filled(item, values) for item in value]
    return value


def make_files(folder: Path, nonce: str) -> Path:
    """A folder with a note in it, under git."""
    folder.mkdir()
    (folder / "note.txt").write_text(f"The note says {nonce}.\n")
    git = ["git", "-C", str(folder), "-c", "user.name=compat", "-c", "user.email=compat@example.com"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", f"Commit of {nonce}"]):
        subprocess.run([*git, *command], check=True)
    return folder


@contextmanager
def web_site(nonce: str) -> Iterator[str]:
    """The address of a site with a page, and with a login page that answers everything under its path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/page":
                self.answer(200, f"<title>Page {nonce}</title><h1>Compatibility</h1><p>The page says {nonce}</p>")
            elif self.path == "/login":
                self.answer(200, "<title>Sign in</title><form>Your password: <input></form>")
            else:
                self.answer(404, "<title>Not found</title>")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.do_GET()

        do_DELETE = do_HEAD = do_GET

        def answer(self, status: int, page: str) -> None:
            body = f"<!doctype html>{page}".encode()
            self.send_response(status)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
