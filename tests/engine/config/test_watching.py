"""A save is noticed from the moment on at which the files were read; a start alone is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from graphs.config.watcher import compute_signature, watch_saves


async def awaited(noticed: AsyncIterator[None]) -> None:
    await anext(noticed)


async def test_a_file_saved_before_the_watch_began_is_noticed_at_once(tmp_path: Path) -> None:
    (tmp_path / "access.yaml").write_text("roles: {}\n")
    seen = compute_signature(tmp_path)
    (tmp_path / "access.yaml").write_text("roles: {admin: {}}\n")
    await asyncio.wait_for(awaited(watch_saves(tmp_path, seen)), 20)


async def test_files_that_are_as_they_were_read_are_no_save_and_the_next_save_is(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    file.write_text("roles: {}\n")
    noticed = asyncio.create_task(awaited(watch_saves(tmp_path, compute_signature(tmp_path))))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(noticed), 0.5)
    file.write_text("roles: {admin: {}}\n")
    await asyncio.wait_for(noticed, 30)


async def test_the_files_of_the_folder_python_are_noticed_and_other_programs_are_not(tmp_path: Path) -> None:
    for folder in ("python", "servers"):
        (tmp_path / folder).mkdir()
    noticed = asyncio.create_task(awaited(watch_saves(tmp_path, compute_signature(tmp_path))))
    await asyncio.sleep(0.2)
    (tmp_path / "servers" / "own.py").write_text("print(1)\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(noticed), 1)
    (tmp_path / "python" / "reports.py").write_text("def week(): ...\n")
    await asyncio.wait_for(noticed, 30)


async def test_schema_files_are_noticed_wherever_they_lie_and_other_json_is_not(tmp_path: Path) -> None:
    for folder in ("graphs/parts", "schemas", "data"):
        (tmp_path / folder).mkdir(parents=True)
    noticed = asyncio.create_task(awaited(watch_saves(tmp_path, compute_signature(tmp_path))))
    await asyncio.sleep(0.2)
    (tmp_path / "data" / "rows.json").write_text("[]")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(noticed), 1)
    (tmp_path / "schemas" / "order.schema.json").write_text("{}")
    await asyncio.wait_for(noticed, 30)
    for name in ("graphs/line.schema.json", "graphs/parts/address.schema.yaml"):
        (tmp_path / name).write_text("{}")
    assert {Path(path).name for path in compute_signature(tmp_path)} == {
        "address.schema.yaml",
        "line.schema.json",
        "order.schema.json",
    }
