"""`interlock open-webui`, with a stand-in for Open WebUI: what it is given, and how it begins and ends.

The real one is started so by tests/e2e/test_first_minutes_page.py.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from support import openwebui
from support.processes import Process, free_port, plain_environment, running
from support.terminal import CTRL_C, at_terminal

from server.cli import open_webui_program

ROOT = Path(__file__).resolve().parents[3]
INTERLOCK = Path(sys.executable).with_name("interlock")
STAND_IN = f"""\
#!{sys.executable}
import http.server, json, os, sys
json.dump([sys.argv[1:], dict(os.environ), os.getcwd()], open(os.environ["STARTED"], "w"))
print("the log of Open WebUI", flush=True)
if os.environ.get("BROKEN"):
    sys.exit("cannot open database file")
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
address = ("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1]))
http.server.HTTPServer(address, Health).serve_forever()
"""
UVX = """\
#!/bin/sh
echo "uvx $@"
"""
pytestmark = pytest.mark.timeout(180)  # whole programs start here, on machines that may be busy


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wählen sie")


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[Process]:
    command = [INTERLOCK, "serve", "--port", "0"]
    env = {"INTERLOCK_DEMO_DELAY": "0"}
    with running("interlock serve", command, home / "serve.log", env=env, cwd=home) as process:
        process.wait_for_line(r"^Try it:")
        yield process


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """With the stand-in on the PATH, which writes what it was given to `started`."""
    write_program(tmp_path / "bin" / "open-webui", STAND_IN)
    return {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "STARTED": str(tmp_path / "started"),
        "LITELLM_API_KEY": "sk-of-the-model",
        "ENABLE_SIGNUP": "False",
    }


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def run(home: Path, *options: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [INTERLOCK, "open-webui", *options],
        cwd=home,
        env=plain_environment() | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def read_start(env: dict[str, str]) -> tuple[Sequence[str], dict[str, str], str]:
    """Arguments, environment and folder of the stand-in."""
    return json.loads(Path(env["STARTED"]).read_text())


def test_the_page_is_connected_with_the_serve_of_the_folder(
    served: Process, home: Path, env: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    command = [INTERLOCK, "open-webui", "--port", str(port)]
    with running("open-webui", command, tmp_path / "page.log", env=env, cwd=home) as process:
        process.wait_for_line(rf"^page http://127\.0\.0\.1:{port}$")
        url = served.wait_for_line(r"^url (\S+)$")[1]
        key = served.wait_for_line(r"^key admin (\S+)$")[1]
        arguments, given, folder = read_start(env)
        assert arguments == ["serve", "--host", "127.0.0.1", "--port", str(port)]
        assert given["OPENAI_API_BASE_URLS"] == url
        assert given["OPENAI_API_KEYS"] == key
        assert given["ENABLE_SIGNUP"] == "False"
        assert "LITELLM_API_KEY" not in given
        assert Path(given["DATA_DIR"]) == Path(folder) == home / "data" / "open-webui"
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        assert (Path(folder) / "open-webui.log").read_text().startswith("the log of Open WebUI\n")
        assert key not in process.text()
        process.wait_for_line(r"the first one, whoever on this machine makes it, is the$")
        [child] = psutil.Process(process.popen.pid).children()
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(timeout=20) == 128 + signal.SIGTERM
        assert not child.is_running()


def test_no_proxy_of_the_shell_sees_the_key_and_no_database_of_it_is_used(
    served: Process, home: Path, env: dict[str, str], tmp_path: Path
) -> None:
    proxy = f"http://127.0.0.1:{free_port()}"  # where nobody answers
    shell = {"http_proxy": proxy, "HTTP_PROXY": proxy, "DATABASE_URL": "postgresql://x/y", "DATA_DIR": str(tmp_path)}
    command = [INTERLOCK, "open-webui", "--port", "0"]
    with running("open-webui", command, tmp_path / "page.log", env=env | shell, cwd=home) as process:
        process.wait_for_line(r"^page http")
        _, given, folder = read_start(env)
    assert given["no_proxy"].split(",")[-2:] == ["127.0.0.1", "localhost"]
    assert given["NO_PROXY"] == given["no_proxy"]
    assert given["http_proxy"] == proxy
    assert "DATABASE_URL" not in given
    assert Path(given["DATA_DIR"]) == Path(folder) == home / "data" / "open-webui"


@pytest.mark.parametrize(
    ("env", "hosts"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"NO_PROXY": ".example.org"}, ".example.org,127.0.0.1,localhost"),
        ({"NO_PROXY": "other", "no_proxy": "one, two,"}, "one, two,127.0.0.1,localhost"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_hosts_without_a_proxy_of_the_shell_stay_so(env: dict[str, str], hosts: str) -> None:
    assert open_webui_program.name_direct_hosts(env) == hosts


def test_ctrl_c_ends_it_without_a_word(served: Process, home: Path, env: dict[str, str]) -> None:
    command = [INTERLOCK, "open-webui", "--port", "0"]
    with at_terminal(command, env | {"INTERLOCK_DATA": str(home / "data")}) as screen:
        screen.wait_for("^page http", timeout=60)
        screen.type(CTRL_C, end="")
        assert screen.popen.wait(timeout=20) == 128 + signal.SIGINT
        assert "Traceback" not in screen.text()


def test_a_port_that_is_taken_is_passed_by(served: Process, home: Path, env: dict[str, str], tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port()))
        other.listen()
        taken = other.getsockname()[1]
        command = [INTERLOCK, "open-webui", "--port", str(taken)]
        with running("open-webui", command, tmp_path / "page.log", env=env, cwd=home) as process:
            page = process.wait_for_line(r"^page http://127\.0\.0\.1:(\d+)$")[1]
            assert int(page) != taken


def test_where_it_ends_by_itself_the_end_of_its_log_is_shown(served: Process, home: Path, env: dict[str, str]) -> None:
    ended = run(home, env=env | {"BROKEN": "1"})
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "the log of Open WebUI",
        "cannot open database file",
        "Open WebUI ended with exit code 1; the end of its log is above.",
    ]


def test_uv_gets_it_where_it_is_not_installed(served: Process, home: Path, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin" / "open-webui").unlink()
    write_program(tmp_path / "bin" / "uvx", UVX)
    ran = run(home, "--port", "0", env=env)
    assert ran.returncode == 0, ran.stderr
    wanted = f"uvx --python >=3.11,<3.13 --from open-webui=={openwebui.VERSION}"
    assert f"{wanted} python -c" in ran.stdout
    log = (home / "data" / "open-webui" / "open-webui.log").read_text()
    assert re.match(rf"{re.escape(wanted)} open-webui serve --host 127\.0\.0\.1 --port \d+$", log)


def test_without_a_server_or_its_key_nothing_is_started(
    served: Process, home: Path, env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    nobody = run(tmp_path / "empty", env=env)
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert nobody.stderr.startswith("No `interlock serve` runs in this folder, and there is no key.")
    wrong = run(home, "--key", "ilk_wrong", env=env)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "This API key is not known here." in wrong.stderr
    silent = run(home, "--url", f"http://127.0.0.1:{free_port()}/v1", env=env)
    assert (silent.returncode, silent.stdout) == (1, "")
    assert "does not answer. Is `interlock serve` running?" in silent.stderr
    assert not Path(env["STARTED"]).exists()


def test_its_version_and_settings_are_those_of_the_tests_and_of_deploy() -> None:
    compose: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    service = compose["services"]["open-webui"]
    assert service["image"].endswith(f":v{open_webui_program.VERSION}")
    assert openwebui.VERSION == open_webui_program.VERSION
    settings = {name: value for name, value in open_webui_program.DEFAULTS.items() if name != "GLOBAL_LOG_LEVEL"}
    assert service["environment"].items() >= settings.items()
    configs = json.loads(service["environment"]["OPENAI_API_CONFIGS"])
    assert configs == {"0": {"enable": True, "headers": open_webui_program.HEADERS}}
