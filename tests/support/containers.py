"""compose.yaml brought up without a container engine: each service a process in a machine and a file system of its own.

What Compose would give it, it gets, by the same words: its networks as bridges (tests/support/netns.py), the names that
resolve there, its user, no capability but those it adds, a read-only root with tmpfs and volumes where the file says,
its secrets under /run/secrets, its variables and no others, its command, and its health check run in the same place.
Limits of memory and CPU are not applied. PostgreSQL and the images of others are imitated, see tests/support/images.py.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from support.composefile import Compose, Service
from support.environments import program
from support.images import Image, image
from support.netns import Machine, Relay, Wiring
from support.processes import Process, running

HOST = "192.0.2.1"
"""The address of the machine that runs the containers, as people know it."""
PERSON = "192.0.2.2"
SYSTEM = ("/bin", "/lib", "/lib64", "/sbin")


@dataclass
class Container:
    """A service and where it runs."""

    service: Service
    machine: Machine
    image: Image
    addresses: dict[str, str]
    """Network → address."""
    env: dict[str, str] = field(default_factory=dict)
    process: Process | None = None
    started: bool = False

    def inside(self, command: list[str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a command in the container, as its user and with its variables, as `docker exec` does."""
        assert self.process is not None
        pid = innermost(self.process.popen.pid)
        places = [f"--target={pid}", "--mount", "--net", "--pid", "--root", "--wd"]
        whole = ["nsenter", *places, *as_user(self.service), *command]
        # What a command writes may be no text; nobody here reads that.
        return subprocess.run(
            whole, env=self.env, capture_output=True, encoding="utf-8", errors="replace", timeout=timeout, check=False
        )

    def complaint(self) -> str | None:
        """What the health check says now; None if it is content."""
        try:
            said = self.inside(self.service.healthcheck)
        except psutil.NoSuchProcess:
            return "it is not there"
        return None if said.returncode == 0 else said.stderr or said.stdout or str(said.returncode)


class Composed:
    """Everything of one compose.yaml. Use it in a `with`."""

    def __init__(
        self, compose: Compose, folder: Path, work: Path, wiring: Wiring, extra: Mapping[str, Mapping[str, str]]
    ) -> None:
        """`folder` holds compose.yaml and what it names; `extra`: variables for a service beside its own."""
        self.compose, self.folder, self.work, self.extra = compose, folder, work, extra
        self.host = wiring.machine("host")
        self.person = wiring.machine("person")
        self.internet = wiring.machine("internet")
        self.containers: dict[str, Container] = {}
        self._stack = ExitStack()
        self._wire(wiring)

    def __enter__(self) -> Composed:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _wire(self, wiring: Wiring) -> None:
        wiring.bridge(self.host, "people", f"{HOST}/24")
        wiring.plug(self.person, "eth0", f"{PERSON}/24", self.host, "people")
        # The worst case: the person sends to the host whatever might be behind it.
        wiring.route(self.person, HOST)
        self.subnets = {name: f"10.85.{number}" for number, name in enumerate(self.compose.raw["networks"])}
        bridges = {name: f"net{number}" for number, name in enumerate(self.subnets)}
        for name, subnet in self.subnets.items():
            wiring.bridge(self.host, bridges[name], f"{subnet}.1/24")
        wiring.plug(self.internet, "eth0", f"{self.subnets['egress']}.250/24", self.host, bridges["egress"])
        images: dict[str, Image] = {}
        for number, service in enumerate(self.compose.services.values(), 2):
            machine = wiring.machine(service.name)
            addresses: dict[str, str] = {}
            for device, network in enumerate(service.networks):
                addresses[network] = f"{self.subnets[network]}.{number}"
                wiring.plug(machine, f"eth{device}", f"{addresses[network]}/24", self.host, bridges[network])
            ways_out = [network for network in service.networks if not self.compose.internal(network)]
            if ways_out:
                wiring.route(machine, f"{self.subnets[ways_out[0]]}.1")
            if service.image not in images:
                images[service.image] = image(service.image, self.work)
            self.containers[service.name] = Container(service, machine, images[service.image], addresses)

    def start(self, name: str) -> Container:
        """Starts a service and returns at once."""
        container = self.containers[name]
        container.started = True
        self.tell_names()
        command = [*container.machine.enter, *self._sandbox(container), *as_user(container.service)]
        spec = container.service.spec
        entrypoint = spec.get("entrypoint", container.image.entrypoint)
        own = spec.get("command", [] if "entrypoint" in spec else container.image.command)
        command += [*entrypoint, *own]
        log = self.work / f"{name}.log"
        # Ended by force: nothing in there is wanted afterwards, and a polite end takes some of them ten seconds.
        container.process = self._stack.enter_context(running(name, command, log, cwd=self.folder, stop=signal.SIGKILL))
        return container

    def start_without_waiting(self, name: str, timeout: float) -> Container:
        """Starts a service before what must be well for it; what must have ended before it has."""
        for needed, condition in self.containers[name].service.needs.items():
            if condition == "service_completed_successfully":
                self.start_and_finish(needed, timeout)
        return self.start(name)

    def start_and_finish(self, name: str, timeout: float) -> None:
        """Runs a service to its end, which must be a good one."""
        container = self.containers[name] if self.containers[name].process else self.start(name)
        assert container.process is not None
        assert container.process.popen.wait(timeout) == 0, container.process.tail()

    def start_when_needed(self, name: str, timeout: float) -> Container:
        """Starts a service as `depends_on` says: what it needs first, and that well or at its end."""
        container = self.containers[name]
        if container.process is not None:
            return container
        for needed, condition in container.service.needs.items():
            if condition == "service_completed_successfully":
                self.start_and_finish(needed, timeout)
            else:
                self.wait_until_well(self.start_when_needed(needed, timeout), timeout)
        return self.start(name)

    def wait_until_well(self, container: Container, timeout: float) -> None:
        """Returns once the health check is content."""
        assert container.process is not None
        deadline = time.monotonic() + timeout
        while (complaint := container.complaint()) is not None:
            ended = container.process.popen.poll()
            late = time.monotonic() > deadline
            assert ended is None, f"{container.service.name} ended with {ended}:\n{container.process.tail()}"
            name, tail = container.service.name, container.process.tail()
            assert not late, f"{name} is not well after {timeout:g} s: {complaint}\n{tail}"
            time.sleep(0.3)

    def publish(self, name: str) -> None:
        """Opens the service's published ports on the host's every address."""
        container = self.containers[name]
        for outer, inner in container.service.ports.items():
            to = (next(iter(container.addresses.values())), inner)
            self._stack.enter_context(Relay(self.host, ("0.0.0.0", outer), self.host, to))

    def stop(self, name: str) -> None:
        """Ends a service at once, as a machine ends that loses its power."""
        container = self.containers[name]
        assert container.process is not None
        container.process.stop(signal.SIGKILL)
        container.process, container.started = None, False
        self.tell_names()

    def tell_names(self) -> None:
        """Writes what resolves anew for every container, as the engine's name server does when one starts or ends."""
        for container in self.containers.values():
            etc = self.work / f"{container.service.name}-etc"
            etc.mkdir(exist_ok=True)
            # In place: the containers see this very file.
            (etc / "hosts").write_text(self.names(container.service))

    def names(self, asking: Service) -> str:
        """/etc/hosts of a container: who runs on a network of its own, by every name that is known there."""
        lines = ["127.0.0.1 localhost", f"{self.subnets['egress']}.250 api.openai.com"]
        for other in self.containers.values():
            for network, names in other.service.networks.items():
                if network in asking.networks and (other.started or other.service == asking):
                    lines.append(f"{other.addresses[network]} {' '.join(names)}")
        return "\n".join(lines) + "\n"

    def _sandbox(self, container: Container) -> list[str]:
        service, built = container.service, container.image
        etc = self.work / f"{service.name}-etc"
        # Several lines for a name are several addresses, as they are from a name server.
        (etc / "host.conf").write_text("multi on\n")
        (etc / "resolv.conf").write_text("")
        (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
        (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\nsomebody:x:{}:{}::/tmp:/bin/sh\n".format(*service.user))
        (etc / "group").write_text(f"root:x:0:\nsomebody:x:{service.user[1]}:\n")
        words = [str(program("bwrap", "install Debian's package bubblewrap")), "--die-with-parent", "--unshare-pid"]
        words += ["--unshare-ipc", "--cap-add", "ALL", "--clearenv", "--ro-bind", "/usr", "/usr"]
        for name in SYSTEM:
            words += ["--symlink", f"usr{name}", name]
        # First, because what a program is made of may lie below /tmp on this computer.
        for one in service.spec.get("tmpfs", []):
            target, _, options = one.partition(":")
            [mode] = [option[5:] for option in options.split(",") if option.startswith("mode=")]
            words += ["--perms", mode, "--tmpfs", target]
        targets = [*built.binds.values(), *(volume[1] for volume in service.volumes), "/etc/ssl", "/run/secrets/one"]
        for parent in sorted({str(parent) for target in targets for parent in Path(target).parents} - {"/", "/usr"}):
            words += ["--perms", "0755", "--dir", parent]
        words += ["--proc", "/proc", "--dev", "/dev", "--ro-bind", "/etc/ssl", "/etc/ssl"]
        for file in etc.iterdir():
            words += ["--ro-bind", str(file), f"/etc/{file.name}"]
        for place in built.binds.items():
            words += ["--ro-bind", *map(str, place)]
        for source, target, read_only in service.volumes:
            words += ["--ro-bind" if read_only else "--bind", str(self._volume(source, target, built)), target]
        for target, secret in service.secrets.items():
            file = self.folder / self.compose.raw["secrets"][secret]["file"]
            words += ["--ro-bind", str(file), f"/run/secrets/{target}"]
        words += ["--dir", built.workdir, "--chdir", built.workdir]
        if service.spec["read_only"]:
            words += ["--remount-ro", "/"]
        path = ":".join([*built.path, "/usr/local/bin", "/usr/bin", "/bin"])
        given = {str(name): str(value) for name, value in service.spec.get("environment", {}).items()}
        container.env = {**built.env, **given, **self.extra.get(service.name, {}), "PATH": path}
        for name, value in container.env.items():
            words += ["--setenv", name, value]
        return words

    def _volume(self, source: str, target: str, built: Image) -> Path:
        """The folder of a path or of a named volume; a new volume has the owner of the image's folder."""
        if "/" in source:
            return (self.folder / source).resolve()
        place = self.work / "volumes" / source
        if not place.exists():
            place.mkdir(parents=True)
            owner = built.owners.get(target, 0)
            subprocess.run(["chown", f"{owner}:{owner}", place], check=True)
        return place


def as_user(service: Service) -> list[str]:
    """The command that becomes the service's user, with no capability but those that it adds."""
    user, group = service.user
    assert service.spec["cap_drop"] == ["ALL"]
    kept = ",".join(["-all", *(f"+{name.lower()}" for name in service.spec.get("cap_add", []))])
    identity = [f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
    return ["setpriv", *identity, f"--bounding-set={kept}", "--inh-caps=-all", "--"]


def innermost(pid: int) -> int:
    """The first process of the container: what the chain of launchers ended in."""
    process = psutil.Process(pid)
    while process.name() in ("nsenter", "bwrap", "setpriv"):
        children = process.children()
        if not children:
            break
        process = children[0]
    return process.pid
