"""A real Open WebUI in front of Interlock: an administrator, an ordinary person, and every header that it can send."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from support.environments import missing, python_environment
from support.processes import Process, free_port, running

VERSION = "0.12.4"
KEY = "ilk_open-webui-of-the-tests"
OPERATOR_KEY = "ilk_operator-of-the-tests"
"""For somebody who decides what chats ask, and is not in any."""
JWT_SECRET = "the-secret-that-open-webui-signs-its-users-with"
HEADERS = {
    "X-OpenWebUI-Chat-Id": "{{CHAT_ID}}",
    "X-OpenWebUI-Message-Id": "{{MESSAGE_ID}}",
    "X-OpenWebUI-User-Message-Id": "{{USER_MESSAGE_ID}}",
    "X-OpenWebUI-User-Message-Parent-Id": "{{USER_MESSAGE_PARENT_ID}}",
    "X-OpenWebUI-Task": "{{TASK}}",
}
"""What the administrator writes into the connection's custom headers."""


@dataclass(frozen=True)
class Person:
    """Somebody with an account. `role` is Open WebUI's: admin or user."""

    name: str
    email: str
    password: str
    role: str


ADA = Person("Ada Admin", "ada@example.org", "correct horse battery", "admin")
BEN = Person("Ben Üser", "ben@example.org", "staple of the harbour", "user")


@dataclass(frozen=True)
class OpenWebUI:
    """A running one. `url` has no path."""

    url: str
    process: Process

    def wait(self) -> None:
        """Returns once it serves and both people have an account."""
        self.process.wait_for_url(f"{self.url}/health", timeout=300)
        make_accounts(self.url)


def make_accounts(url: str) -> None:
    """Gives both people an account, in an Open WebUI that has none."""
    with httpx.Client(base_url=f"{url}/api/v1", trust_env=False, timeout=30) as http:
        # The first account is the administrator's.
        admin = post(http, "/auths/signup", name=ADA.name, email=ADA.email, password=ADA.password)
        token = admin["token"]
        post(http, "/auths/add", token, name=BEN.name, email=BEN.email, password=BEN.password, role=BEN.role)
        for person in (ADA, BEN):
            token = post(http, "/auths/signin", email=person.email, password=person.password)["token"]
            # Else the news of this version lie over the page.
            post(http, "/users/user/settings/update", token, ui={"version": VERSION})


def post(http: httpx.Client, path: str, token: str = "", **body: Any) -> dict[str, Any]:
    answer = http.post(path, json=body, headers={"authorization": f"Bearer {token}"} if token else {})
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
    return answer.json()


@contextmanager
def open_webui(folder: Path, backend: str, key: str, env: Mapping[str, str] | None = None) -> Iterator[OpenWebUI]:
    """Starts it on that OpenAI connection, without waiting for it (about a minute): see `OpenWebUI.wait`."""
    if sys.version_info >= (3, 13):
        missing(f"Open WebUI {VERSION}", "it needs Python 3.11 or 3.12; run the tests with one of them")
    home = python_environment("open-webui")
    port = free_port()
    settings = {
        "DATA_DIR": str(folder),
        "WEBUI_AUTH": "True",
        "WEBUI_SECRET_KEY": "of-the-tests",
        "ENABLE_PERSISTENT_CONFIG": "False",
        "ENABLE_OLLAMA_API": "False",
        "OPENAI_API_BASE_URLS": backend,
        "OPENAI_API_KEYS": key,
        "OPENAI_API_CONFIGS": json.dumps({"0": {"enable": True, "headers": HEADERS}}),
        "ENABLE_FORWARD_USER_INFO_HEADERS": "True",
        "FORWARD_USER_INFO_HEADER_JWT_SECRET": JWT_SECRET,
        # Without this only administrators see models that nobody has published.
        "BYPASS_MODEL_ACCESS_CONTROL": "True",
        # It would ask the internet for models and news.
        "OFFLINE_MODE": "True",
        "HF_HUB_OFFLINE": "1",
        "RAG_EMBEDDING_ENGINE": "openai",
        "ANONYMIZED_TELEMETRY": "False",
        **(env or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    command = [home / "bin" / "open-webui", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with running("Open WebUI", command, folder / "open-webui.log", env=settings, cwd=folder) as process:
        yield OpenWebUI(f"http://127.0.0.1:{port}", process)
