"""A language server over stdio (LSP 3.17), spoken to as an editor does: open a file, read what is flagged, complete."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PATIENCE = 60.0
"""Seconds for an answer. A busy machine needs several for the first one."""


class LanguageServer:
    """A running server. Lines and characters count from 0, as the protocol has them."""

    def __init__(self, process: subprocess.Popen[bytes], settings: Mapping[str, Any]) -> None:
        self._process = process
        self._settings = settings
        self._inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._last = 0
        self._version = 0
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    def initialize(self, root: Path) -> None:
        """The beginning of every session."""
        self._request(
            "initialize",
            processId=os.getpid(),
            rootUri=root.as_uri(),
            capabilities={"workspace": {"configuration": True}},
        )
        self._send({"method": "initialized", "params": {}})
        self._send({"method": "workspace/didChangeConfiguration", "params": {"settings": self._settings}})

    def end(self) -> None:
        """The end of the program, and of everything that it said."""
        self._process.kill()
        self._reader.join()

    @contextmanager
    def opened(self, file: Path, text: str) -> Iterator[None]:
        """The file is open in the editor while the block lasts, which holds this text of it."""
        document = {"uri": file.as_uri(), "languageId": "yaml", "version": self._newer(), "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        yield
        self._send({"method": "textDocument/didClose", "params": {"textDocument": {"uri": file.as_uri()}}})

    def changed(self, file: Path, text: str) -> None:
        """Somebody typed: this is what the editor holds now."""
        document = {"uri": file.as_uri(), "version": self._newer()}
        change = {"textDocument": document, "contentChanges": [{"text": text}]}
        self._send({"method": "textDocument/didChange", "params": change})

    def wait_for_flags(self, file: Path, lines: set[int]) -> list[str]:
        """What is said of these lines, once they and no others are flagged: what is said while it reads may be old."""
        while True:
            message = self._next(f"flags at the lines {lines} of {file.name}")
            if message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == file.as_uri():
                flagged = message["params"]["diagnostics"]
                if {item["range"]["start"]["line"] for item in flagged} == lines:
                    return [item["message"] for item in flagged]

    def completed(self, file: Path, line: int, character: int) -> list[str]:
        """What is offered there."""
        place = {"line": line, "character": character}
        answer = self._request("textDocument/completion", textDocument={"uri": file.as_uri()}, position=place)
        return [item["label"] for item in (answer["items"] if isinstance(answer, dict) else answer)]

    def hovered(self, file: Path, line: int, character: int) -> str:
        """What is said of what stands there."""
        place = {"line": line, "character": character}
        answer = self._request("textDocument/hover", textDocument={"uri": file.as_uri()}, position=place)
        return answer["contents"]["value"] if answer else ""

    def _newer(self) -> int:
        self._version += 1
        return self._version

    def _request(self, method: str, **params: Any) -> Any:
        self._last += 1
        self._send({"id": self._last, "method": method, "params": params})
        while True:
            message = self._next(f"the answer to {method}")
            if message.get("id") == self._last and "method" not in message:
                assert "error" not in message, message
                return message["result"]

    def _next(self, awaited: str) -> dict[str, Any]:
        """The next message; questions that the server asks are answered on the way."""
        while True:
            try:
                message = self._inbox.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"the language server never sent {awaited}") from None
            assert message is not None, f"the language server ended with status {self._process.wait(10)}"
            if "method" not in message or "id" not in message:
                return message
            wanted: Sequence[Mapping[str, Any]] = message.get("params", {}).get("items", [])
            result = [self._settings.get(item.get("section", ""), {}) for item in wanted]
            known = message["method"] == "workspace/configuration"
            self._send({"id": message["id"], "result": result if known else None})

    def _send(self, message: Mapping[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._process.stdin.flush()

    def _read(self, stream: IO[bytes]) -> None:
        size = 0
        while line := stream.readline():
            name, _, value = line.decode().partition(":")
            if name.lower() == "content-length":
                size = int(value)
            elif not line.strip():
                message = stream.read(size)
                if len(message) < size:  # it ended while it spoke
                    break
                self._inbox.put(json.loads(message))
        self._inbox.put(None)


@contextmanager
def talking(
    command: Sequence[str | Path], root: Path, settings: Mapping[str, Any], env: Mapping[str, str]
) -> Iterator[LanguageServer]:
    """The server while the block lasts, in a workspace of this folder."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(env)) as process:
        server = LanguageServer(process, settings)
        try:
            server.initialize(root)
            yield server
        finally:
            server.end()
