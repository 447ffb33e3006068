"""A real YAML language server on the shipped files, without a network: typos are flagged, and keys are offered."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.environments import node, node_environment
from support.language_server import LanguageServer, talking

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
SETTINGS = {
    "yaml": {"schemaStore": {"enable": False}, "validate": True, "completion": True, "hover": True},
    "http": {"proxy": "http://127.0.0.1:9", "proxyStrictSSL": False},
}
TYPOS = [
    ("gateway.yaml", "default_graph:", "defalt_graph:"),
    ("servers.yaml", "    command: python", "    comand: python"),
    ("access.yaml", "    ask:", "    aks:"),
    ("access.yaml", "approver: admin", "aprover: admin"),
    ("graphs/assistant.yaml", "    prompt:", "    promt:"),
    ("graphs/assistant.yaml", "type: permission", "type: permision"),
    ("graphs/assistant.yaml", "rounds: 12", "rounds: many"),
]
OFFERS = [
    ("gateway.yaml", "models:", "  ", {"key", "timeout"}),
    ("gateway.yaml", "default_graph:", "ret", {"retention"}),
    ("servers.yaml", "  filesystem:", "    ", {"url", "headers", "timeout", "required"}),
    ("access.yaml", "  admin:", "    ", {"include", "deny", "graphs", "models"}),
    ("graphs/assistant.yaml", "    type: model", "    ", {"model", "temperature", "max_tokens"}),
]


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageServer]:
    """The language server, where every address outside is a closed port."""
    runtime = node((22, 13))
    script = node_environment("yaml-language-server", runtime) / "node_modules" / "yaml-language-server" / "bin"
    away = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [runtime.node, script / "yaml-language-server", "--stdio"]
    with talking(command, CONFIGS, SETTINGS, {**os.environ, **away}) as server:
        yield server


def line_of(text: str, piece: str) -> int:
    return next(number for number, line in enumerate(text.splitlines()) if piece in line)


@pytest.mark.parametrize(("name", "right", "wrong"), TYPOS)
def test_a_typo_in_a_shipped_file_is_flagged_at_its_line_until_it_is_mended(
    editor: LanguageServer, name: str, right: str, wrong: str
) -> None:
    file = CONFIGS / name
    shipped = file.read_text()
    typed = shipped.replace(right, wrong, 1)
    with editor.opened(file, typed):
        editor.wait_for_flags(file, {line_of(typed, wrong)})
        editor.changed(file, shipped)
        editor.wait_for_flags(file, set())


@pytest.mark.parametrize(("name", "after", "typed", "offered"), OFFERS)
def test_keys_are_offered_where_they_belong(
    editor: LanguageServer, name: str, after: str, typed: str, offered: set[str]
) -> None:
    file = CONFIGS / name
    lines = file.read_text().splitlines()
    at = line_of(file.read_text(), after) + 1
    lines.insert(at, typed)
    with editor.opened(file, "\n".join(lines) + "\n"):
        assert offered <= set(editor.completed(file, at, len(typed)))


def test_a_key_says_what_it_is_for(editor: LanguageServer) -> None:
    file = CONFIGS / "access.yaml"
    text = file.read_text().replace("keys:", "kees:", 1)
    with editor.opened(file, text):
        # It says nothing of a file that it has not read yet, and this shows that it has.
        editor.wait_for_flags(file, {line_of(text, "kees:")})
        assert "What runs after a person said yes." in editor.hovered(file, line_of(text, "    ask:"), 5)
