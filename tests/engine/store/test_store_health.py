"""What `GET /ready` says of the storage: whether it can be read and written for real, not whether it answers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.environments import program

from graphs.errors import StorageError
from graphs.store.backends import health as pulse_module
from graphs.store.store import Store
from graphs.store.turns import TurnRow


def turn(id: str) -> TurnRow:
    return TurnRow(id=id, owner="ada", graph="assistant", created=time.time(), status="ended", base="", thread=None)


@pytest.fixture(autouse=True)
def ask_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse_module, "ANSWER_LIFETIME", 0.0)


async def test_a_sound_store_is_in_no_trouble_and_keeps_nothing_of_the_probe(store: Store) -> None:
    for _ in range(3):
        assert await store.find_trouble() is None
    assert await store.journal.prune(time.time()) == 0


@pytest.mark.parametrize("damage", ["header", "everything", "cut"])
async def test_a_file_that_was_damaged_meanwhile_is_trouble(tmp_path: Path, damage: str) -> None:
    store = await Store.open("", tmp_path)
    await store.turns.add(turn("t1"))
    assert await store.find_trouble() is None
    file = tmp_path / "interlock.db"
    os.truncate(tmp_path / "interlock.db-wal", 0)
    size = file.stat().st_size
    match damage:
        case "header":
            with file.open("r+b") as handle:
                handle.write(b"\0" * 100)
        case "everything":
            file.write_bytes(os.urandom(size))
        case _:
            os.truncate(file, size // 3)
    assert "interlock.db" in (await store.find_trouble() or "")
    await store.close()


async def test_a_page_that_turns_out_damaged_stays_trouble(tmp_path: Path) -> None:
    store = await Store.open("", tmp_path)
    for number in range(200):
        await store.turns.add(turn(f"t{number}"))
    await store.close()
    file = tmp_path / "interlock.db"
    size = file.stat().st_size
    store = await Store.open("", tmp_path)
    with file.open("r+b") as handle:
        for page in range(8, size // 4096):
            handle.seek(page * 4096)
            handle.write(b"\xff" * 4096)
    with pytest.raises(StorageError, match="malformed"):
        await asyncio.gather(*(store.turns.get(f"t{number}") for number in range(200)))
    assert "malformed" in (await store.find_trouble() or "")
    await store.close()


async def test_a_disk_without_room_is_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await Store.open("", tmp_path)
    monkeypatch.setattr("graphs.store.backends.sqlite.count_free_bytes", lambda _: 12)
    assert "its disk is full (12 bytes free)" in (await store.find_trouble() or "")
    monkeypatch.undo()
    monkeypatch.setattr(pulse_module, "ANSWER_LIFETIME", 0.0)
    assert await store.find_trouble() is None
    await store.close()


FULL = """
import asyncio, sys
from pathlib import Path
from graphs.store.backends import health
from graphs.store.store import Store
health.ANSWER_LIFETIME = 0.0

async def main() -> None:
    folder = Path(sys.argv[1])
    store = await Store.open("", folder)
    print(await store.find_trouble())
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as handle:
        try:
            while True:
                handle.write(bytes(4096))
        except OSError:
            pass
    print(await store.find_trouble())
    filler.unlink()
    print(await store.find_trouble())
    await store.close()

asyncio.run(main())
"""


async def test_a_full_disk_is_trouble_until_there_is_room_again(tmp_path: Path) -> None:
    bwrap = program("bwrap", "install bubblewrap")
    small = ["--dev-bind", "/", "/", "--size", str(8 * 2**20), "--tmpfs", str(tmp_path)]
    command = [str(bwrap), *small, sys.executable, "-c", FULL, str(tmp_path)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=50)
    before, full, after = done.stdout.splitlines() or [done.stderr, "", ""]
    assert (before, after) == ("None", "None"), done.stderr
    assert "full" in full
