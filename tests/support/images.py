"""Images without a container engine: each a set of folders to see, variables, a user and a command.

Ours are made by running the `RUN` lines of their Dockerfiles as they stand, in a sandbox with a /src and /opt of their
own. Those of others are the same programs from tests/peers, at the paths where compose.yaml's commands find them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from support.dockerfile import Stage, stages
from support.environments import Node, kept, node, program, python_environment
from support.netns import run

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"


@dataclass(frozen=True)
class Image:
    """What a container of it finds."""

    path: Sequence[str]
    """Folders of programs, searched before the system's."""
    binds: Mapping[Path, str]
    """Folder of this computer → where the container sees it, read-only."""
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    workdir: str = "/"
    owners: Mapping[str, int] = field(default_factory=dict)
    """Where a new volume gets the owner that the image's folder has; root's otherwise."""


def tools(folder: Path, node: Node | None = None) -> dict[Path, str]:
    """A folder with `python`, `python3` and, if wanted, Node's programs, at /image/bin; and what they need."""
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    commands = {"python": [str(python)], "python3": [str(python)]}
    binds = {} if Path("/usr") in python.parents else {Path(sys.base_prefix): sys.base_prefix}
    if node is not None:
        commands |= {"node": [str(node.node)], "npm": [*node.npm], "npx": [*node.npx]}
        home = node.node.parent.parent
        if Path("/usr") not in (home, *home.parents):
            binds[home] = str(home)
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    for name, command in commands.items():
        file = folder / "bin" / name
        # Programs that begin with #!/usr/bin/env node must find this one.
        file.write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n')
        file.chmod(0o755)
    return {folder / "bin": "/image/bin", **binds}


def digest(*files: Path) -> bytes:
    """Of the files' contents and of this Python."""
    whole = hashlib.sha256(sys.version.encode())
    for file in sorted(files):
        whole.update(file.read_bytes())
    return whole.digest()


def build(stage: Stage, sources: Mapping[str, Path], opt: Path, tool_binds: Mapping[Path, str], only: slice) -> None:
    """Runs the stage's `RUN` lines (those of `only`) with the sources in its workdir; what they put in /opt stays."""
    workdir = stage.last("WORKDIR")
    work = opt if workdir.startswith("/opt/") else opt.with_name(f"{opt.name}-src")
    inside = work / workdir.removeprefix("/opt/") if workdir.startswith("/opt/") else work
    inside.mkdir(parents=True, exist_ok=True)
    opt.mkdir(parents=True, exist_ok=True)
    for name, source in sources.items():
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, inside / name, dirs_exist_ok=True, ignore=ignore)
        else:
            shutil.copy(source, inside / name)
    sandbox = ["bwrap", "--die-with-parent"]
    for entry in sorted(Path("/").iterdir()):
        if entry.is_symlink():
            sandbox += ["--symlink", str(entry.readlink()), str(entry)]
        elif entry.name not in ("proc", "dev", "opt", "src", "image", "lost+found"):
            sandbox += ["--bind", str(entry), str(entry)]
    sandbox += ["--proc", "/proc", "--dev", "/dev"]
    # The machine's own /opt may hold what its package settings name.
    for entry in sorted(Path("/opt").iterdir()):
        sandbox += ["--ro-bind", str(entry), str(entry)]
    sandbox += ["--bind", str(work), "/src"] if work != opt else []
    for name in {target.split("/")[2] for target in made_in_opt(stage)}:
        (opt / name).mkdir(exist_ok=True)
        sandbox += ["--bind", str(opt / name), f"/opt/{name}"]
    for source, target in tool_binds.items():
        sandbox += ["--ro-bind", str(source), target]
    env = {**os.environ, **stage.env, "PATH": f"/image/bin:{os.environ['PATH']}"}
    for text in [text for kind, text in stage.instructions if kind == "RUN"][only]:
        run([*sandbox, "--chdir", workdir, "sh", "-euc", text], env=env, timeout=900)


def made_in_opt(stage: Stage) -> list[str]:
    words = " ".join(text for _, text in stage.instructions).split()
    return [word for word in words if word.startswith("/opt/")]


def interlock_image(folder: Path) -> Image:
    """Built from deploy/Dockerfile: its dependencies once per lock, this checkout's code each time."""
    _, _, building, final = stages(DEPLOY / "Dockerfile")
    locked = [ROOT / name for name in ("requirements.lock", "pyproject.toml")]
    sources = {name: ROOT / name for name in ("requirements.lock", "pyproject.toml", "README.md")}
    runtime = node()
    binds = tools(folder / "interlock-tools", runtime)
    with kept("image-interlock", digest(*locked, DEPLOY / "Dockerfile")) as (home, fresh):
        if fresh:
            build(building, sources, home / "opt", binds, slice(0, 1))
    mine = folder / "interlock-image"
    shutil.copytree(home, mine, copy_function=os.link, symlinks=True)
    code = {**sources, **{name: ROOT / name for name in ("configs", "graphs", "server")}}
    for file in ("requirements.lock", "pyproject.toml", "README.md"):
        (mine / "opt-src" / file).unlink(missing_ok=True)
    build(building, code, mine / "opt", binds, slice(1, 2))
    client = postgres_client(folder / "postgresql-client")
    env = {**final.env, "PATH": "/opt/interlock/bin"}
    user = int(final.last("USER").split(":")[0])
    return Image(
        path=["/opt/interlock/bin", "/opt/postgresql/bin", "/image/bin"],
        binds={**binds, mine / "opt" / "interlock": "/opt/interlock", client: "/opt/postgresql"},
        env=env,
        command=final.command("CMD"),
        workdir=final.last("WORKDIR"),
        owners={"/var/lib/interlock": user, "/var/backups/interlock": user},
    )


def postgres_client(folder: Path) -> Path:
    """The folder /opt/postgresql of Interlock's image, by its Dockerfile; from pgserver's programs, which are older."""
    _, stage, _, _ = stages(DEPLOY / "Dockerfile")
    installed = next(python_environment("pgserver").glob("lib/python*/site-packages"))
    here = str(installed / "pgserver" / "pginstall" / "bin")
    texts = [(kind, text.replace("/usr/lib/postgresql/17/bin", here)) for kind, text in stage.instructions]
    build(replace(stage, instructions=texts), {}, folder, {}, slice(None))
    return folder / "postgresql"


def mcp_proxy_image(folder: Path) -> Image:
    """Built from deploy/mcp-proxy/Dockerfile."""
    home = DEPLOY / "mcp-proxy"
    with_node, building, final = stages(home / "Dockerfile")
    runtime = node((22, 5))
    binds = tools(folder / "mcp-proxy-tools", runtime)
    files = [home / name for name in (*NODE_LOCKS, *PYTHON_LOCKS, "Dockerfile")]
    with kept("image-mcp-proxy", digest(*files)) as (made, fresh):
        if fresh:
            opt = made / "opt"
            build(with_node, {name: home / name for name in NODE_LOCKS}, opt, binds, slice(None))
            build(building, {name: home / name for name in PYTHON_LOCKS}, opt, binds, slice(None))
    shown = {made / "opt" / name: f"/opt/{name}" for name in ("mcp", "mcp-proxy", "prometheus-mcp-server")}
    return Image(
        path=["/opt/mcp-proxy/bin", "/opt/prometheus-mcp-server/bin", "/image/bin"],
        binds={**binds, **shown},
        env=final.env,
        command=final.command("CMD"),
        workdir=final.last("WORKDIR"),
    )


NODE_LOCKS = ("package.json", "package-lock.json")
PYTHON_LOCKS = ("mcp-proxy.txt", "prometheus-mcp-server.txt")


def litellm_image(folder: Path) -> Image:
    home = python_environment("litellm")
    return Image(path=[f"{home}/bin"], binds={home: str(home), **tools(folder / "litellm-tools")})


def open_webui_image(folder: Path) -> Image:
    home = python_environment("open-webui")
    binds = {home: str(home), **tools(folder / "open-webui-tools")}
    # Where the image keeps its version and its pages, the package keeps them in itself; this tells it so.
    return Image(path=[f"{home}/bin"], binds=binds, env={"FROM_INIT_PY": "true"}, workdir="/app/backend")


def prometheus_image(folder: Path) -> Image:
    command = program("prometheus", "install Debian's package prometheus, or put prometheus on the PATH")
    binds = {} if Path("/usr") in command.parents else {command.parent: str(command.parent)}
    return Image(path=[str(command.parent)], binds=binds, entrypoint=["prometheus"], owners={"/prometheus": 65534})


def postgres_image(folder: Path) -> Image:
    installed = next(python_environment("pgserver").glob("lib/python*/site-packages"))
    binds = {installed / "pgserver": "/image/site/pgserver", installed / "pgserver.libs": "/image/site/pgserver.libs"}
    entrypoint = folder / "postgres-entrypoint"
    entrypoint.mkdir(parents=True, exist_ok=True)
    (entrypoint / "first").write_text(FIRST_START)
    (entrypoint / "first").chmod(0o755)
    return Image(
        path=["/image/site/pgserver/pginstall/bin"],
        binds={**{source: to for source, to in binds.items() if source.exists()}, entrypoint: "/image/entry"},
        # The second is what Debian's build looks for by itself.
        env={"PGDATA": "/var/lib/postgresql/data", "PGHOST": "/var/run/postgresql"},
        entrypoint=["/image/entry/first"],
        owners={"/var/lib/postgresql/data": 999},
    )


FIRST_START = """\
#!/bin/sh
# What the official image does before the command, as its documentation says.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    chmod 700 "$PGDATA"
    initdb -D "$PGDATA" -U postgres --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C --no-sync \
        --pwfile="$POSTGRES_PASSWORD_FILE"
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
    echo "unix_socket_directories = '/var/run/postgresql'" >> "$PGDATA/postgresql.conf"
    pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start
    for file in /docker-entrypoint-initdb.d/*.sql; do
        psql -h /var/run/postgresql -U postgres -X -v ON_ERROR_STOP=1 -f "$file"
    done
    pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec "$@"
"""

IMAGES = {
    "interlock": interlock_image,
    "interlock-mcp-proxy": mcp_proxy_image,
    "ghcr.io/berriai/litellm": litellm_image,
    "ghcr.io/open-webui/open-webui": open_webui_image,
    "prom/prometheus": prometheus_image,
    "postgres": postgres_image,
}
"""By the repository of the image, without tag and digest."""


def image(name: str, folder: Path) -> Image:
    """The image of that name with tag and digest. Raises KeyError for one that the tests know nothing of."""
    return IMAGES[name.partition("@")[0].rpartition(":")[0]](folder)
