"""The way that one turn took through its graph, put together from all its rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from graphs.errors import InterlockError
from graphs.store.store import Store
from graphs.store.turns import TurnRow
from graphs.telemetry.path import PathRecord, join_paths

MOST_PAUSES = 20
"""How often a turn is followed back to the one that waited before it."""


class NoTurn(InterlockError):
    """There is no turn of this id; the text says where ids are found."""


@dataclass(frozen=True, kw_only=True)
class TurnPath:
    """The way of one turn. Times are seconds since the epoch."""

    turn: str
    graph: str
    status: str
    """As in its row, or `interrupted` where its process died."""
    began: float | None
    ended: float | None
    """None while it runs, and where nobody saw its end."""
    path: PathRecord | None
    """None where it was not recorded: the graph did not run, or an older version ran it."""


async def load_turn_path(store: Store, turn: str | None) -> TurnPath:
    """Load the way of a turn; None: the newest. Raises NoTurn and StorageError."""
    turn = turn or await store.turns.find_newest()
    if turn is None:
        raise NoTurn("there are no turns in this database yet")
    rows = await find_turn_rows(store, turn)
    last, story = rows[-1], rows[0].story
    is_dead = last.worker is not None and last.status == "running" and not await store.workers.is_alive(last.worker)
    return TurnPath(
        turn=last.id,
        graph=last.graph,
        status=resolve_status(last, [last.worker] if is_dead and last.worker else []),
        began=story["began"] if story else None,
        ended=None if last.status == "running" else last.created,
        path=join_row_paths(rows),
    )


async def find_turn_rows(store: Store, turn: str) -> list[TurnRow]:
    """Find the rows of one turn, the first one first: those before the last waited. Raises NoTurn and StorageError."""
    row = await store.turns.get(turn)
    if row is None:
        where = "`interlock audit show --format json` and GET /console/api/turns have their ids"
        raise NoTurn(f"there is no turn {turn!r} in this database; {where}")
    rows = [row]
    for _ in range(MOST_PAUSES):
        before = rows[0].story["continues"] if rows[0].story is not None else None
        earlier = await store.turns.get(before) if before is not None else None
        if earlier is None:
            break
        rows.insert(0, earlier)
    return rows


def resolve_status(row: TurnRow, dead: Collection[str]) -> str:
    """Find a turn's status; one whose process died could not write that down."""
    return "interrupted" if row.status == "running" and row.worker in dead else row.status


def join_row_paths(rows: Sequence[TurnRow]) -> PathRecord | None:
    """Join the ways of the rows of one turn, the first one first; None where there are none."""
    paths = [row.story["path"] for row in rows if row.story is not None and "path" in row.story]
    return join_paths(paths) if paths else None
