"""Errors about files and addresses that hold a secret are told without it: `check`, logs and `/ready` show them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.configs import MINIMAL_GRAPH, write_configs

from graphs.config.loader import load
from graphs.errors import ConfigError, InterlockError
from graphs.store.store import Store
from server.observability import logging

DRAWN = "Hx7Gq2Zp9Lw4TnHx7Gq2"
"""As keys look."""
CHOSEN = "correct-horse-battery"
"""As people choose passwords: known by what stands beside it alone."""
ENTRY = "mcpServers:\n  a: "
NAMED = {
    "an option": ENTRY + "{command: x, args: [--token, SECRET], timeout: soon}",
    "an option with its value": ENTRY + "{command: x, args: [--api-key=SECRET], timeout: soon}",
    "an option in quotes": ENTRY + "{command: x, args: ['--token', 'SECRET'], timeout: soon}",
    "an option in an open quote": ENTRY + "{command: x, args: [--token, 'SECRET, timeout: soon}",
    "a command line": ENTRY + "x --token SECRET",
    "a command as a list": ENTRY + "{command: [x, --token, SECRET]}",
    "arguments as a text": ENTRY + "{command: x, args: '--token SECRET'}",
    "a second colon": ENTRY + "{url: http://h, headers: {Authorization: Bearer SECRET: x}}",
    "a header as a list": ENTRY + "{url: http://h, headers: {Authorization: [Bearer, SECRET]}}",
    "headers as a text": ENTRY + '{url: http://h, headers: "Authorization: Bearer SECRET"}',
    "headers as a list": ENTRY + '{url: http://h, headers: ["X-Api-Key: SECRET"]}',
    "an address of a wrong kind": ENTRY + "{url: 'ftp://me:SECRET@h/'}",
    "an address with a key": ENTRY + "{url: 'http://h/?key=SECRET', timout: 3}",
    "variables as a list": ENTRY + "{command: x, env: [API_KEY=SECRET]}",
    "a variable as a list": ENTRY + "{command: x, env: {API_KEY: [SECRET]}}",
    "a variable twice": ENTRY + "{command: x, env: {API_KEY: SECRET, API_KEY: SECRET}}",
    "an open quote": ENTRY + '\n    command: x\n    env:\n      API_KEY: "SECRET',
    "an unknown setting": ENTRY + "{command: x, token: SECRET}",
    "a key in a list": "models: {api_key: [SECRET]}",
    "a key in a mapping": "models: {api_key: {a: SECRET}}",
    "a key beside a mistake": "models: {api_key: SECRET, base_url: localhost}",
    "a password for the model": "models: {base_url: 'http://me:SECRET@h'}",
    "a key for the model": "models: {base_url: 'http://h/v1?key=SECRET'}",
    "a login without a scheme": "models: {base_url: 'me:SECRET@h'}",
    "a key at the wrong place": "api_key: SECRET",
    "a list of storages": "storage: [postgresql://me:SECRET@h/db]",
    "a storage with a colon": "storage: postgresql://me:SECRET@h/db: x",
    "a digest that is none": "keys: [{name: a, role: a, sha256: SECRET}]",
    "a key itself": "keys: [{name: a, role: a, key: SECRET}]",
    "a key as a variable": "keys: [{name: a, role: a, env: sk-SECRET}]",
}
DRAWN_ONLY = {
    "a name": ENTRY + "{command: x, env: {SECRET: 5}}",
    "an undefined alias": ENTRY + "{command: x, args: [--verbose, *SECRET]}",
    "a tag": ENTRY + "{command: x, args: [!secret SECRET]}",
    "an anchor": ENTRY + "{command: x, args: [&SECRET x, *nope]}",
    "a variable's name": ENTRY + '{command: x, args: ["${SECRET}"]}',
    "a variable's default": ENTRY + '{command: x, args: ["${X:-SECRET"]}',
    "a time": ENTRY + "{command: x, timeout: SECRET}",
    "a text for a mapping": "models: SECRET",
    "a list of keys": "keys: [SECRET]",
    "an unknown value": "keys: [{name: a, role: b, value: SECRET}]",
    "a rule": "roles: {a: {allow: [{tool: 'x/*', when: 'args.key == \"SECRET\" &&'}]}}",
}


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        *(pytest.param(text, secret, id=name) for name, text in NAMED.items() for secret in (DRAWN, CHOSEN)),
        *(pytest.param(text, DRAWN, id=name) for name, text in DRAWN_ONLY.items()),
    ],
)
def test_a_mistake_beside_a_secret_is_shown_without_it(text: str, secret: str, tmp_path: Path) -> None:
    file = "servers.yaml" if "mcpServers" in text else "access.yaml" if text[0] in "kr" else "gateway.yaml"
    write_configs(tmp_path, {"graphs/assistant.yaml": MINIMAL_GRAPH, file: text.replace("SECRET", secret) + "\n"})
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {})
    told = f"{caught.value} {[problem.excerpt for problem in caught.value.problems]!r}"
    assert secret not in told
    assert file in told


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:SECRET@127.0.0.1:1/db",
        "postgresql://me:SECRET@127.0.0.1:1/db?nonsense=1",
        "postgresql://me:SE@SECRET@h/db",
        "postgresql://me:SECRET@[::1/db",
        "postgresql://127.0.0.1:1/db?user=me&password=SECRET",
        "mysql://me:SECRET@h/db",
    ],
)
async def test_a_storage_that_cannot_be_used_is_named_without_its_password(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InterlockError) as caught:
        await Store.open(url.replace("SECRET", DRAWN), tmp_path, patience=0.2)
    assert DRAWN not in f"{caught.value!r} {caplog.text} {logging.format_exception(caught.value)}"
