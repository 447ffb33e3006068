"""No path leads out of the folder that a rule names: made by hypothesis, run by the real filesystem server.

The server is started on a folder that holds the workspace and what must stay secret, so that nothing but our rule
stands between them.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from support.configs import loaded
from support.environments import node, node_environment
from support.mcp_toolbox import ask, opened, spec

from graphs.policy.rules import Caller, CallFacts, Policy, ToolFacts
from graphs.tools.registry import ToolRegistry

ROLES = """\
roles:
  clerk:
    allow:
      - {{tool: filesystem/*, when: 'path_within(args.path, "{root}")'}}
      - {{tool: filesystem/read_multiple_files, when: 'path_within(args.paths, "{root}")'}}
      - {{tool: filesystem/move_file, when: 'path_within([args.source, args.destination], "{root}")'}}
keys: []
"""
INSIDE = re.compile(r"inside-\d+-is-open")
OUTSIDE = "KEPT-OUTSIDE"
"""In what is outside: in each file, and in the name of one entry of each folder. No path that is tried holds it."""
OLD = datetime(1987, 6, 15, 12, tzinfo=UTC)
"""When everything outside was last changed, as `get_file_info` would tell."""
NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
FILES = (
    "notes.txt",
    "Notes.txt",
    "with space.txt",
    "100%.txt",
    "%2e%2e",
    "a%2fb.txt",
    "~",
    "back\\slash.txt",
    "dots...",
    "trailing. ",
    "sub/deep/leaf.txt",
    "sub/deeper/..hidden",
    "Sub/leaf.txt",
    f"{NFC}-c/menu.txt",
    f"{NFD}-d/menu.txt",
    "ﬁle.txt",
)
MARKS = {f"inside-{number}-is-open": name for number, name in enumerate(FILES)}
"""What each file in the workspace holds."""
OUTER = ("outside/secret.txt", "outside/folder/secret.txt", "ws2/secret.txt", "secret.txt")
LINKS = {
    "in_file": "sub/deep/leaf.txt",
    "in_folder": "sub/deep",
    "sub/deep/up": "..",
    "out_file": "../outside/secret.txt",
    "out_folder": "../outside",
    "sub/out_absolute": "{outer}/outside",
    "sub/out_up": "../..",
    "chain_1": "chain_2",
    "chain_2": "sub/chain_3",
    "sub/chain_3": "../out_folder",
    "there_and_back": "../outside/to_ws",
    "loop": "loop",
    "loop_a": "loop_b",
    "loop_b": "loop_a",
    "dangling_in": "nowhere",
    "dangling_out": "../outside/made.txt",
    f"{NFD}-link": "../outside",
    f"{NFD}-d/{NFC}-file": "../../outside/secret.txt",
    "\u212aelvin": "../outside",
    "out_spaced ": "../outside",
    "..%2foutside": "../outside",
}
"""In the workspace, to what they hold; `{outer}` is the folder around it."""
READS = (
    *("read_text_file",) * 6,
    "read_file",
    "read_media_file",
    "list_directory",
    "list_directory_with_sizes",
    "directory_tree",
    "search_files",
    "get_file_info",
)
WRITES = ("write_file", "edit_file", "create_directory")


@dataclass(kw_only=True)
class World:
    """A workspace, what is around it, the rule, and the server that reaches both."""

    outer: Path
    policy: Policy
    toolbox: ToolRegistry
    runner: asyncio.Runner
    calls: int = 0
    seen: set[str] = field(default_factory=set)
    """The marks of files that were read."""

    @property
    def root(self) -> Path:
        return self.outer / "ws"

    def allows(self, tool: str, **args: Any) -> bool:
        facts = CallFacts(
            call_id="call_1",
            tool=ToolFacts("filesystem", tool),
            args=args,
            graph="assistant",
            node="agent",
            rounds=1,
            calls=0,
            now=datetime(2026, 8, 1, tzinfo=UTC),
        )
        return self.policy.decide(Caller(user="ann", role="clerk", key="laptop"), facts).decision == "allow"

    def run(self, tool: str, **args: Any) -> str:
        """What the server answers, errors too. Fails where that holds anything from outside."""
        self.calls += 1
        answer = self.runner.run(ask(self.toolbox, f"filesystem/{tool}", **args))
        text = f"{answer.content} {answer.artifact}"
        assert OUTSIDE not in text, (tool, args, text)
        assert f"{OLD:%a %b %d %Y}" not in text, (tool, args, text)
        for mark in INSIDE.findall(text):
            assert Path(os.path.realpath(self.root / MARKS[mark])).is_relative_to(self.root)
            self.seen.add(mark)
        return text

    def must_have_seen(self, *, of_calls: int, files: int = 0) -> None:
        """Fails where so little was let in that nothing was tried."""
        assert (self.calls >= of_calls, len(self.seen) >= files) == (True, True), (self.calls, self.seen)
        self.calls = 0
        self.seen.clear()

    def placed(self, path: str) -> str:
        return path.replace("{root}", str(self.root)).replace("{outer}", str(self.outer))

    def furnish(self) -> None:
        """Makes the workspace anew."""
        shutil.rmtree(self.root, ignore_errors=True)
        for mark, name in MARKS.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(mark)
        for name, target in LINKS.items():
            (self.root / name).symlink_to(target.format(outer=self.outer))

    def outside(self) -> dict[str, str]:
        """Everything around the workspace, with what it holds."""
        found: dict[str, str] = {}
        for folder, folders, files in os.walk(self.outer):
            if Path(folder) == self.outer:
                folders.remove("ws")
            for name in (*folders, *files):
                path = Path(folder, name)
                if path.is_symlink():
                    found[str(path)] = os.readlink(path)
                else:
                    found[str(path)] = "" if path.is_dir() else path.read_text()
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = Path(os.path.realpath(tmp_path_factory.mktemp("world")))
    outer = folder / "outer"
    for name in OUTER:
        path = outer / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{OUTSIDE}: {name}")
        (path.parent / f"{OUTSIDE}-{len(name)}").touch()
    (outer / "outside" / "to_ws").symlink_to("../ws")
    for path in (outer, *outer.rglob("*")):
        os.utime(path, (OLD.timestamp(), OLD.timestamp()), follow_symlinks=False)
    runtime = node()
    package = node_environment("mcp-proxy", runtime) / "node_modules" / "@modelcontextprotocol" / "server-filesystem"
    server = spec(command=str(runtime.node), args=[str(package / "dist" / "index.js"), str(outer)], timeout=30)
    policy = loaded(folder / "configs", {"access.yaml": ROLES.format(root=outer / "ws")}).policy
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        toolbox = runner.run(stack.enter_async_context(opened({"filesystem": server})))
        made = World(outer=outer, policy=policy, toolbox=toolbox, runner=runner)
        made.furnish()
        yield made
        runner.run(stack.aclose())


def _dressed(text: str, way: str) -> str:
    match way:
        case "encoded":
            return quote(text, safe="")
        case "twice":
            return quote(quote(text, safe=""), safe="")
        case "shouted":
            return text.upper()
        case "spaced":
            return f"{text} "
        case "dotted":
            return f"{text}."
        case "windows":
            return text.replace("/", "\\")
        case "":
            return text
        case form:
            return unicodedata.normalize(form, text)  # type: ignore[arg-type]


_DRESSES = ("encoded", "twice", "shouted", "spaced", "dotted", "windows", "NFC", "NFD", "NFKC", "NFKD")
_ENDS = (
    "/",
    "//",
    "/.",
    "/..",
    " ",
    '"',
    "\0",
    "%00",
    ".txt",
    "/new.txt",
    "/secret.txt",
    "/outside",
    "/../../secret.txt",
)
_BEGINNINGS = (
    "{outer}",
    "{root}2",
    "/",
    "",
    ".",
    "~",
    " {root}",
    '"{root}',
    "//{root}",
    "/proc/self/cwd",
    "/proc/1/root{root}",
)
_STEPS = (
    "..",
    ".",
    "",
    "%2e%2e",
    "%2E.",
    "..%2f..",
    "...",
    "~",
    "\u2024\u2024",
    "..\\..",
    "\0",
    "x\n",
    "ws",
    "outside",
)
_DETOURS = (
    "in_folder/..",
    "sub/..",
    "sub/deep/up/..",
    "out_folder/..",
    "nowhere/..",
    "loop/..",
    "there_and_back",
    "../ws",
)
_FOLDERS = [name for name, target in LINKS.items() if not target.endswith(".txt")]
_THERE = (
    *FILES,
    *LINKS,
    *(f"{folder}/{leaf}" for folder in _FOLDERS for leaf in ("leaf.txt", "secret.txt", "")),
    *(
        "sub",
        "sub/deep",
        "",
        "new.txt",
        "sub/nowhere/new.txt",
        f"{NFC}-link",
        f"{NFC}-link/secret.txt",
        "Kelvin/secret.txt",
    ),
)

Parts = tuple[str, ...]
Change = Callable[[Parts], Parts]


def _put(at: float, pieces: Sequence[str]) -> Change:
    return lambda parts: (*parts[: 1 + int(at * len(parts))], *pieces, *parts[1 + int(at * len(parts)) :])


def _all_in(way: str) -> Change:
    return lambda parts: (parts[0], *(_dressed(part, way) for part in parts[1:]))


_at = st.floats(0, 0.99)
_changes = st.one_of(
    st.builds(_all_in, st.sampled_from(_DRESSES)),
    st.builds(_put, _at, st.sampled_from(_DETOURS).map(lambda path: path.split("/"))),
    st.builds(_put, _at, st.lists(st.sampled_from(_STEPS), min_size=1, max_size=3)),
    st.builds(_put, _at, st.lists(st.text(max_size=4), min_size=1, max_size=1)),
    st.sampled_from(_BEGINNINGS).map(lambda start: lambda parts: (start, *parts[1:])),
    st.sampled_from(_ENDS).map(lambda end: lambda parts: (*parts[:-1], parts[-1] + end)),
)


def _changed(path: str, changes: Sequence[Change]) -> str:
    parts: Parts = ("{root}", *path.split("/"))
    for change in changes:
        parts = change(parts)
    return "/".join(parts)


_grown = st.builds(
    _changed, st.sampled_from(_THERE), st.one_of(st.lists(_changes, max_size=1), st.lists(_changes, max_size=3))
)
_paths = st.one_of(*[_grown] * 7, st.text(max_size=30))
"""With `{root}` and `{outer}` where those folders' own paths go."""

_settings = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


def test_what_is_read_is_in_the_folder(world: World) -> None:
    @settings(_settings, max_examples=900)
    @given(st.sampled_from(READS), _paths)
    @example("read_text_file", f"{{root}}/{NFC}-link/secret.txt")
    @example("list_directory", "{root}/in_folder/../out_folder")
    def attempt(tool: str, path: str) -> None:
        more = {"pattern": "**"} if tool == "search_files" else {}
        args = {"path": world.placed(path), **more}
        if world.allows(tool, **args):
            world.run(tool, **args)

    attempt()
    world.must_have_seen(files=8, of_calls=150)


def test_what_is_read_at_once_is_in_the_folder(world: World) -> None:
    @settings(_settings, max_examples=200)
    @given(st.lists(_paths, min_size=1, max_size=3))
    def attempt(paths: list[str]) -> None:
        args = {"paths": [world.placed(path) for path in paths]}
        if world.allows("read_multiple_files", **args):
            world.run("read_multiple_files", **args)

    attempt()
    world.must_have_seen(files=4, of_calls=30)


def test_what_is_written_is_in_the_folder(world: World) -> None:
    before = world.outside()

    @settings(_settings, max_examples=400)
    @given(st.sampled_from(WRITES), _paths)
    def attempt(tool: str, path: str) -> None:
        more = {
            "write_file": {"content": "written"},
            "edit_file": {"edits": [{"oldText": "e", "newText": "written"}]},
            "create_directory": {},
        }
        args = {"path": world.placed(path), **more[tool]}
        if world.allows(tool, **args):
            world.run(tool, **args)
            assert world.outside() == before, (tool, args)
            world.furnish()

    attempt()
    world.must_have_seen(of_calls=80)


def test_what_is_moved_comes_from_the_folder_and_stays_there(world: World) -> None:
    before = world.outside()

    @settings(_settings, max_examples=400)
    @given(_paths, _paths)
    def attempt(source: str, destination: str) -> None:
        args = {"source": world.placed(source), "destination": world.placed(destination)}
        if world.allows("move_file", **args):
            world.run("move_file", **args)
            assert world.outside() == before, args
            world.furnish()

    attempt()
    world.must_have_seen(of_calls=30)
