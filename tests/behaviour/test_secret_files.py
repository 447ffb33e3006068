"""Secrets in files: `NAME_FILE` names the file of what `NAME` should hold: keys, config files, settings."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from support.configs import MINIMAL_GRAPH, loaded, problems, write_configs
from support.facade import Facade, serving
from support.processes import plain_environment, running
from support.scripted_model import ScriptedModel

from graphs.config.environment import LARGEST_SECRET, Environment, SecretUnreadable, build_environment
from graphs.diagnostics.doctor import examine_keys
from server.settings import Settings

INTERLOCK = Path(sys.executable).with_name("interlock")
KEY = "ilk_kept-in-a-file"
ACCESS = """\
roles:
  admin: {allow: ["*"]}
keys:
  - {name: admin, role: admin, env: TEAM_KEY}
"""
FILES = {"access.yaml": ACCESS, "servers.yaml": "mcpServers: {}\n", "graphs/assistant.yaml": MINIMAL_GRAPH}


def secret(folder: Path, text: str) -> str:
    file = folder / "secret"
    file.write_text(text)
    return str(file)


def test_a_key_in_a_file_opens_the_door_and_is_told_nowhere(tmp_path: Path) -> None:
    configs = write_configs(tmp_path / "configs", FILES)
    env = {"INTERLOCK_DATA": str(tmp_path / "data"), "TEAM_KEY_FILE": secret(tmp_path, f"{KEY}\n")}
    command = [INTERLOCK, "serve", "--configs", configs, "--host", "0.0.0.0", "--port", "0", "--workers", "2"]
    with running("interlock serve", command, tmp_path / "serve.log", env=env) as process:
        url = process.wait_for_line(r"^url (\S+)$")[1]
        answers = {
            key: httpx.get(f"{url}/models", headers={"authorization": f"Bearer {key}"}, trust_env=False).status_code
            for key in (KEY, f"{KEY}\n".encode().hex(), "ilk_other")
        }
        assert list(answers.values()) == [200, 401, 401]
        assert not (tmp_path / "data" / "keys.env").exists()
        assert KEY not in process.text()


async def test_a_secret_that_is_swapped_counts_without_a_restart(
    tmp_path: Path, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphs.config.watcher.POLL_INTERVAL_MS", 200)
    mounted = tmp_path / "mounted"

    def swap(number: int) -> None:
        """As Kubernetes does it: all secrets of a mount at once, by a link that takes another's place."""
        folder = mounted / f"..{number}"
        folder.mkdir(parents=True)
        for name in ("team", "model", "users"):
            (folder / name).write_text(f"{name}-secret-of-round-{number}, which is long enough\n")
            if not (mounted / name).is_symlink():
                (mounted / name).symlink_to(f"..data/{name}")
        (mounted / "..new").symlink_to(folder.name)
        (mounted / "..new").replace(mounted / "..data")

    def secret_of(name: str, number: int) -> str:
        return f"{name}-secret-of-round-{number}, which is long enough"

    swap(1)
    for variable, name in (("TEAM_KEY", "team"), ("MODEL_KEY", "model"), ("INTERLOCK_FORWARDED_JWT_SECRET", "users")):
        monkeypatch.setenv(f"{variable}_FILE", str(mounted / name))
    gateway = f"models: {{base_url: '{model.url}', api_key: '${{MODEL_KEY}}', default: scripted}}\n"
    access = ACCESS.replace("TEAM_KEY}", "TEAM_KEY, forwards_users: true}")
    configs = write_configs(tmp_path / "configs", {**FILES, "access.yaml": access, "gateway.yaml": gateway})
    model.respond(lambda _: "Hello.")
    async with serving(configs, tmp_path / "data") as facade:

        async def asked(number: int) -> int:
            claims = {"iss": "open-webui", "sub": "u1", "exp": int(time.time()) + 60}
            signed = jwt.encode(claims, secret_of("users", number), "HS256")
            headers = {"x-openwebui-user-jwt": signed}
            return (await facade.ask("hi", key=secret_of("team", number), headers=headers)).status_code

        assert [await asked(1), await asked(2)] == [200, 401]
        (mounted / "..data").rename(mounted / "..gone")
        async with asyncio.timeout(20):
            while not (problems := (await ready(facade, secret_of("team", 1)))["problems"]):
                await asyncio.sleep(0.05)
        assert "cannot be read" in problems[0]
        assert await asked(1) == 200
        swap(2)
        async with asyncio.timeout(20):
            while await asked(2) != 200:
                await asyncio.sleep(0.05)
        assert await asked(1) == 401
        assert model.requests[-1].headers["authorization"] == f"Bearer {secret_of('model', 2)}"
        assert (await ready(facade, secret_of("team", 2)))["problems"] == []
        # A key alone changes nothing that stands in a config file.
        (mounted / "..2" / "team").write_text(secret_of("team", 3))
        async with asyncio.timeout(20):
            while await asked(2) == 200:
                await asyncio.sleep(0.05)


async def ready(facade: Facade, key: str) -> dict[str, Any]:
    return (await facade.ready(key)).json()


@pytest.mark.parametrize(
    ("variables", "value"),
    [
        ({"NAME_FILE": "FILE"}, "in the file"),
        ({"NAME": "", "NAME_FILE": "FILE"}, "in the file"),
        ({"NAME": "itself", "NAME_FILE": "FILE"}, "itself"),
        ({"NAME": "itself", "NAME_FILE": "/nowhere"}, "itself"),
        ({"NAME": "", "NAME_FILE": ""}, ""),
        ({"NAME": ""}, ""),
        ({"NAME_FILE": ""}, None),
        ({}, None),
    ],
)
def test_the_variable_wins_and_an_empty_one_counts_as_unset(
    tmp_path: Path, variables: dict[str, str], value: str | None
) -> None:
    file = secret(tmp_path, "in the file\r\n\n")
    env = Environment({name: text.replace("FILE", file) for name, text in variables.items()})
    assert env.get("NAME") == value


def test_a_file_is_read_when_it_is_asked_for_and_never_handed_on(tmp_path: Path) -> None:
    file = secret(tmp_path, "first")
    env = build_environment({"NAME_FILE": file, "SSL_CERT_FILE": "/nowhere"}, tmp_path)
    assert env["NAME"] == "first"
    Path(file).write_text("second")
    assert env["NAME"] == "second"
    assert set(env) == {"NAME_FILE", "SSL_CERT_FILE", "INTERLOCK_DATA"}
    assert env["SSL_CERT_FILE"] == "/nowhere"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read (No such file or directory); put the secret there, or unset NAME_FILE"),
        (b"\n", "is empty; put the secret there, or unset NAME_FILE"),
        (b"\xff\xfe", "is not UTF-8 text; write the secret as text"),
        (b"x" * (LARGEST_SECRET + 1), "is larger than 64 kB; name the file of one secret"),
    ],
)
def test_a_file_without_a_secret_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SecretUnreadable) as caught:
        Environment({"NAME_FILE": str(file)})["NAME"]
    assert str(caught.value) == f"NAME_FILE names {file}, which {words}"


def test_config_files_get_them_and_a_missing_one_is_a_mistake_at_its_place(tmp_path: Path) -> None:
    gateway = "storage: postgresql://interlock:${STORAGE_PASSWORD}@postgres/interlock\n"
    files = {**FILES, "gateway.yaml": gateway}
    env = {"STORAGE_PASSWORD_FILE": secret(tmp_path, "0a1b\n")}
    snapshot = loaded(tmp_path / "c", files, Environment(env))
    assert snapshot.gateway.storage == "postgresql://interlock:0a1b@postgres/interlock"

    [problem] = problems(tmp_path / "c", files, Environment({"STORAGE_PASSWORD_FILE": "/nowhere"}))
    assert problem == (
        "gateway.yaml:1:33: STORAGE_PASSWORD_FILE names /nowhere, which cannot be read (No such file or directory); "
        "put the secret there, or unset STORAGE_PASSWORD_FILE"
    )


def test_settings_get_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLOCK_FORWARDED_JWT_SECRET", "")
    monkeypatch.setenv("INTERLOCK_FORWARDED_JWT_SECRET_FILE", secret(tmp_path, "signed\n"))
    assert Settings().forwarded_jwt_secret.get_secret_value() == "signed"
    monkeypatch.setenv("INTERLOCK_FORWARDED_JWT_SECRET", "by hand")
    assert Settings().forwarded_jwt_secret.get_secret_value() == "by hand"


def test_serve_refuses_to_start_without_a_file_that_a_key_names(tmp_path: Path) -> None:
    configs = write_configs(tmp_path / "configs", FILES)
    for name, place in (
        ("TEAM_KEY_FILE", f"access.yaml:4:5: key admin: TEAM_KEY_FILE names {tmp_path}/none, which cannot be read"),
        ("INTERLOCK_STORAGE_FILE", f"INTERLOCK_STORAGE_FILE names {tmp_path}/none, which cannot be read"),
    ):
        env = {**plain_environment(), "INTERLOCK_DATA": str(tmp_path / "data"), name: f"{tmp_path}/none"}
        command = [INTERLOCK, "serve", "--configs", configs, "--port", "0"]
        refused = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode == 1
        assert refused.stderr.startswith(place), refused.stderr
        assert "Traceback" not in refused.stderr


def test_doctor_says_which_key_has_no_file(tmp_path: Path) -> None:
    snapshot = loaded(tmp_path / "c", FILES, {})
    [found] = examine_keys(snapshot, Environment({"TEAM_KEY_FILE": str(tmp_path / "none")}))
    assert not found.sound
    assert str(found).startswith("FAIL access.yaml:4:5: key admin: TEAM_KEY_FILE names ")
    [found] = examine_keys(snapshot, Environment({"TEAM_KEY_FILE": secret(tmp_path, KEY)}))
    assert str(found) == "ok   access.yaml:4:5: key admin: on, role admin"
    assert "TEAM_KEY" not in os.environ
