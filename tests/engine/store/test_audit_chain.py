"""The chain of records: what is changed, removed, added or moved in the database or an export is found and named."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from graphs.diagnostics.audit_reader import parse_moment, read_export, read_records
from graphs.store.approvals import Approval
from graphs.store.audit.chain import ChainHead, check_export
from graphs.store.audit.log import AuditFilter
from graphs.store.audit.record import RECORD_NAMES, AuditEntry, AuditRecord, compute_record_hash, to_line
from graphs.store.digests import compute_call_digest
from graphs.store.store import Store
from graphs.store.tool_journal import Claim
from server.cli.main import app

DAY = 86_400.0
COUNT = 9


def entry(number: int, **more: Any) -> AuditEntry:
    values: dict[str, Any] = {
        "time": 1_700_000_000.0 + number,
        "kind": "call",
        "turn": f"t{number % 3}",
        "thread": "thread",
        "user": "ada",
        "owner": "key:ada",
        "key": "webui",
        "role": "developer",
        "graph": "assistant",
        "snapshot": "s1",
        "node": "agent",
        "tool": f"files/tool{number}",
        "call_id": f"call{number}",
        "args_digest": "d" * 64,
        "args": {"number": number, "text": "Grüße \x00 \ud800 \x1b[2J", "deep": [{"a": 0.1}]},
        "verdict": "allow",
        "rule": "role developer, allow '*' (access.yaml:3)",
        "approval": "aaaaaaaa",
        "note": "fine",
        "outcome": "ok",
        "seconds": 0.123456789,
    }
    return AuditEntry(**{**values, **more})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store with nine records."""
    store = await Store.open("", tmp_path)
    for number in range(1, COUNT + 1):
        await store.audit.append([entry(number)])
    yield store
    await store.close()


@pytest.fixture
async def any_store(storage: str, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store of each kind."""
    store = await Store.open(storage, tmp_path)
    yield store
    await store.close()


def run(folder: Path, *words: str, stdin: str | None = None) -> Result:
    env = {"INTERLOCK_DATA": str(folder), "INTERLOCK_STORAGE": str(folder / "interlock.db")}
    return CliRunner().invoke(app, ["audit", *words], env=env, input=stdin)


def sql(folder: Path, *statements: str) -> None:
    """What somebody does who may write the database."""
    with sqlite3.connect(folder / "interlock.db", timeout=30) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def rehash(folder: Path, seq: int, **changed: Any) -> None:
    """Changes a record and makes its own hash right again, as somebody would who has read this file."""
    with sqlite3.connect(folder / "interlock.db", timeout=30) as connection:
        names = ", ".join(f'"{name}"' for name in RECORD_NAMES)
        row = connection.execute(f"SELECT {names} FROM audit WHERE seq = ?", (seq,)).fetchone()
        values = {**dict(zip(RECORD_NAMES, row, strict=True)), **changed}
        values["args"] = json.loads(values["args"])
        parts = ", ".join(f'"{name}" = ?' for name in changed)
        connection.execute(
            f"UPDATE audit SET {parts}, hash = ? WHERE seq = ?", (*changed.values(), compute_record_hash(values), seq)
        )
    connection.close()


async def verified(folder: Path, *words: str, stdin: str | None = None) -> Result:
    """`interlock audit verify`, beside this event loop."""
    return await asyncio.to_thread(run, folder, "verify", *words, stdin=stdin)


async def flaw(store: Store) -> str | None:
    """What is wrong with the chain first."""
    found = (await store.audit.verify()).flaw
    return None if found is None else found.description


async def test_an_untouched_chain_is_whole_and_shows_its_head(store: Store, tmp_path: Path) -> None:
    result = await verified(tmp_path)
    head = await store.audit.read_head()
    assert (result.exit_code, result.output) == (0, f"the store: 9 records, 1 to 9, whole\nhead 9:{head.hash}\n")
    assert (await verified(tmp_path, "--head", str(head))).exit_code == 0


CHANGES: dict[str, str] = {
    "time": "time + 0.000001", "kind": "'decision'", "turn": "'t9'", "thread": "''", "user": "'eve'", "owner": "'eve'",
    "key": "'admin'", "role": "'admin'", "graph": "'g'", "snapshot": "'s2'", "node": "'n'", "tool": "'files/other'",
    "call_id": "'call1'", "args_digest": "upper(args_digest)", "args": "replace(args, '0.1', '0.2')",
    "verdict": "'deny'", "rule": "rule || ' '", "approval": "NULL", "note": "'Fine'", "outcome": "'failed'",
    "seconds": "0.1234", "previous": "hash", "hash": "previous",
}  # fmt: skip


@pytest.mark.parametrize("column", CHANGES)
async def test_a_changed_column_is_found(column: str, store: Store, tmp_path: Path) -> None:
    assert set(CHANGES) == set(RECORD_NAMES) - {"seq"}
    sql(tmp_path, f'UPDATE audit SET "{column}" = {CHANGES[column]} WHERE seq = 5')
    assert await flaw(store) == "record 5 is not what was written: changed"


FORGED = """INSERT INTO audit SELECT 10, time, kind, turn, thread, user, owner, key, role, graph, snapshot, node, tool,
call_id, args_digest, args, verdict, rule, approval, note, outcome, seconds, previous, hash FROM audit WHERE seq = 9"""
MOVED_UP = ("DELETE FROM audit WHERE seq = 5", "UPDATE audit SET seq = seq - 1 WHERE seq > 5")
CHANGED = "record 4 is not what was written: changed"
SWAP = (
    "UPDATE audit SET seq = 100 WHERE seq = 3",
    "UPDATE audit SET seq = 3 WHERE seq = 6",
    "UPDATE audit SET seq = 6 WHERE seq = 100",
)


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["DELETE FROM audit WHERE seq = 1"], "record 1 is missing, and no pruning accounts for it: removed"),
        (["DELETE FROM audit WHERE seq <= 4"], "records 1 to 4 are missing, and no pruning accounts for it: removed"),
        (["DELETE FROM audit WHERE seq = 5"], "record 5 is missing: removed"),
        (["DELETE FROM audit WHERE seq IN (3, 5, 6)"], "record 3 is missing: removed"),
        (["DELETE FROM audit WHERE seq IN (5, 6)"], "records 5 to 6 are missing: removed"),
        (["DELETE FROM audit WHERE seq = 9"], "record 9 is missing at the end: removed"),
        (["DELETE FROM audit WHERE seq > 5"], "records 6 to 9 are missing at the end: removed"),
        (["DELETE FROM audit"], "records 1 to 9 are missing at the end: removed"),
        (["DELETE FROM audit_head"], "the head is missing: removed"),
        (["UPDATE audit_head SET hash = 'x'"], "record 9 does not match the head: one of them was replaced"),
        (["UPDATE audit_head SET seq = 8"], "record 9 is beyond the head, record 8: added from outside"),
        (["UPDATE audit_head SET seq = 12"], "records 10 to 12 are missing at the end: removed"),
        (SWAP, "record 3 was written as record 6: reordered"),
        (MOVED_UP, "record 5 was written as record 6: reordered"),
        ([FORGED], "record 10 was written as record 9: reordered"),
        (["UPDATE audit SET args = replace(args, ':', ': ') WHERE seq = 4"], CHANGED),
        (["UPDATE audit SET args = '{\"a\":1,' || substr(args, 2) WHERE seq = 4"], CHANGED),
        (["UPDATE audit SET args = 'no JSON' WHERE seq = 4"], CHANGED),
        (["UPDATE audit SET args = '[1]' WHERE seq = 4"], CHANGED),
        (["UPDATE audit SET args = NULL WHERE seq = 4"], CHANGED),
        (["UPDATE audit SET args = x'ff00' WHERE seq = 4"], CHANGED),
        (["UPDATE audit SET time = 'yesterday' WHERE seq = 4"], CHANGED),
        (["UPDATE audit SET user = x'ff00' WHERE seq = 4"], CHANGED),
    ],
)  # fmt: skip
async def test_what_is_removed_added_or_moved_is_found(
    statements: list[str], words: str, store: Store, tmp_path: Path
) -> None:
    sql(tmp_path, *statements)
    assert await flaw(store) == words


async def test_the_command_says_what_is_wrong_and_fails(store: Store, tmp_path: Path) -> None:
    sql(tmp_path, "DELETE FROM audit WHERE seq = 5")
    result = await verified(tmp_path)
    assert (result.exit_code, result.output) == (1, "the store: record 5 is missing: removed\n")


@pytest.mark.parametrize("seq", [1, 5, 8])
async def test_a_record_that_is_changed_with_its_own_hash_is_found_by_the_next(
    seq: int, store: Store, tmp_path: Path
) -> None:
    rehash(tmp_path, seq, user="eve")
    assert f"record {seq} was replaced, and its hash with it" in (await flaw(store) or "")


async def test_the_newest_one_that_is_changed_with_its_own_hash_is_found_by_the_head(
    store: Store, tmp_path: Path
) -> None:
    rehash(tmp_path, 9, user="eve")
    assert "record 9 does not match the head" in (await verified(tmp_path)).output


async def test_a_whole_new_chain_is_found_only_by_what_was_kept_elsewhere(store: Store, tmp_path: Path) -> None:
    kept = str(await store.audit.read_head())
    export = (await asyncio.to_thread(run, tmp_path, "show", "--format", "json")).output
    await store.audit.append([entry(10)])
    assert (await verified(tmp_path, "--head", kept)).exit_code == 0
    sql(tmp_path, "DELETE FROM audit", "UPDATE audit_head SET seq = 0, hash = '" + "0" * 64 + "'")
    for number in range(1, 13):
        await store.audit.append([entry(number, user="eve")])
    assert (await verified(tmp_path)).exit_code == 0
    result = await verified(tmp_path, "--head", kept)
    assert result.exit_code == 1
    assert "record 9 is another one than was there before" in result.output
    result = await verified(tmp_path, "-", stdin=export)
    assert result.exit_code == 1
    assert "record 1 is another one than was there before" in result.output


async def test_a_chain_that_was_set_back_is_found_by_a_head_or_an_export(store: Store, tmp_path: Path) -> None:
    kept = str(await store.audit.read_head())
    export = (await asyncio.to_thread(run, tmp_path, "show", "--format", "json")).output
    set_back = "UPDATE audit_head SET seq = 7, hash = (SELECT hash FROM audit WHERE seq = 7)"
    sql(tmp_path, "DELETE FROM audit WHERE seq > 7", set_back)
    assert (await verified(tmp_path)).exit_code == 0
    for words, stdin in ((["--head", kept], None), (["-"], export)):
        result = await verified(tmp_path, *words, stdin=stdin)
        assert result.exit_code == 1
        assert "records 8 to 9 are missing at the end, though there before: removed" in result.output


Edit = Callable[[list[str]], list[str]]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda lines: [lines[0].replace('"ada"', '"eve"'), *lines[1:]], "record 1 is not what was written: changed"),
        (lambda lines: [*lines[:4], *lines[5:]], "record 5 is missing: removed"),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], "4 is not in its place, before 5: reordered"),
        (lambda lines: [*lines[1:], lines[0]], "record 1 stands after record 9: reordered"),
        (lambda lines: lines[::-1], "record 8 stands after record 9: reordered"),
        (lambda lines: [*lines, lines[-1]], "record 9 stands after record 9: reordered"),
        (lambda lines: [*lines[:8], lines[8][:-20]], "export.jsonl:9: the line is not JSON"),
        (lambda lines: [lines[0].replace('{"seq"', '{"seq": 1, "seq"'), *lines[1:]], "the line has a name twice"),
        (lambda lines: [lines[0].replace('"user"', '"who"'), *lines[1:]], "export.jsonl:1: the line has other fields"),
        (lambda lines: ["[" * 100_000, *lines], "export.jsonl:1: the line is not JSON"),
        (lambda lines: [lines[0].replace('"seconds": 0.123457', '"seconds": NaN'), *lines[1:]], "NaN, which is no"),
        (lambda lines: [lines[0].replace('"seq": 1', '"seq": true'), *lines[1:]], "has a 'seq' of another kind"),
    ],
)  # fmt: skip
async def test_a_changed_export_is_found(edit: Edit, words: str, store: Store, tmp_path: Path) -> None:
    lines = (await asyncio.to_thread(run, tmp_path, "show", "--format", "json")).output.splitlines()
    file = tmp_path / "export.jsonl"
    file.write_text("\n".join(edit(lines)) + "\n")
    result = await verified(tmp_path, str(file))
    assert result.exit_code == 1
    assert words in result.output


async def test_an_export_is_checked_alone_where_there_is_no_database(store: Store, tmp_path: Path) -> None:
    part = (await asyncio.to_thread(run, tmp_path, "show", "--format", "json", "--after", "2", "--limit", "4")).output
    elsewhere = tmp_path / "elsewhere"
    result = await verified(elsewhere, "-", stdin=part)
    assert result.output == "-: 4 records, 3 to 6, whole\nnot compared with a store: there is none here\n"
    assert result.exit_code == 0
    assert (await verified(elsewhere)).exit_code == 1
    assert not elsewhere.exists()
    result = await verified(tmp_path, "-", stdin=part)
    assert "-: 4 records, 3 to 6, whole\nthe store: 9 records, 1 to 9, whole\n" in result.output
    assert (await verified(tmp_path, "nothing.jsonl")).exit_code == 1
    assert (await verified(tmp_path, "--head", "nine")).exit_code == 2


async def test_every_kind_of_text_and_number_is_the_same_when_it_is_read_again(any_store: Store) -> None:
    """What a database changes on the way would look like a forgery."""
    store = any_store
    odd = [
        "", "\0", "a\0b", "\ud800", "\udfff\ud800", "\U0001f600", "\r\n\t\x1b", "x" * 5000, "'\"\\",
        "e\u0301", "\u2028",
    ]  # fmt: skip
    numbers = [0, -1, 2**63, -(2**70), 0.1, 1e-9, 1e300, -0.0, 1.0, True, None]
    for text in odd:
        await store.audit.append(
            [entry(1, user=text, tool=text, note=text, call_id=text, args={text: [text], "n": numbers})]
        )
    for number in (0.0, 1e-7, 0.1 + 0.2, 1_795_365_599.9554867, 12345.678901234):
        await store.audit.append([entry(2, call_id=str(number), time=number, seconds=number)])
    await store.audit.append([entry(3, args=None, approval=None, note=None, outcome=None, seconds=None)])
    found = await store.audit.verify()
    assert (found.records, found.flaw) == (len(odd) + 6, None)
    text = "\n".join([to_line(record) async for record in read_records(store.audit, AuditFilter(limit=None))])
    export = read_export(text.splitlines(), "x")
    assert check_export(export).flaw is None
    assert (await store.audit.verify({record.seq: record.hash for record in export})).flaw is None

    assert (await store.prune(conversations=DAY, audit=DAY, now=1_700_000_000 + 2 * DAY)).records == len(odd) + 3
    found = await store.audit.verify()
    assert (found.first, found.records, found.flaw) == (len(odd) + 4, 4, None)


async def test_what_retention_forgets_leaves_a_chain_that_holds(store: Store, tmp_path: Path) -> None:
    kept = str(await store.audit.read_head())
    third = ChainHead(seq=3, hash=(await store.audit.find(AuditFilter(after=2, limit=None)))[-1].hash)
    assert (await store.prune(conversations=DAY, audit=DAY, now=1_700_000_000 + DAY + 4.5)).records == 4
    result = await verified(tmp_path, "--head", kept)
    assert "the store: 6 records, 5 to 10, whole" in result.output
    assert (await store.prune(conversations=DAY, audit=DAY, now=1_700_000_000 + DAY + 4.5)).records == 0
    (marker,) = await store.audit.find(AuditFilter(kind="pruned"))
    assert marker.args is not None
    assert (marker.seq, marker.args["records"], marker.args["through"]) == (10, 4, 4)
    result = await verified(tmp_path, "--head", str(third))
    assert result.exit_code == 1
    assert "cannot be compared: its record has been pruned; keep a newer one" in result.output
    assert (await verified(tmp_path, "--head", f"4:{marker.args['hash']}")).exit_code == 0
    assert "record 4 was pruned, but was another one" in (await verified(tmp_path, "--head", f"4:{'a' * 64}")).output

    sql(tmp_path, "DELETE FROM audit WHERE seq = 5")
    assert "records 1 to 5 are missing, and no pruning accounts for it" in (await verified(tmp_path)).output


async def test_everything_may_be_forgotten_but_that_it_was(store: Store, tmp_path: Path) -> None:
    export = (await asyncio.to_thread(run, tmp_path, "show", "--format", "json")).output
    assert (await store.prune(conversations=DAY, audit=DAY, now=1_700_000_000 + 9 * DAY)).records == 9
    assert "the store: 1 record, 10, whole" in (await verified(tmp_path)).output
    result = await verified(tmp_path, "-", stdin=export)
    assert result.exit_code == 0
    assert "8 records of - have been pruned from the store since" in result.output
    await store.audit.append([entry(11)])
    assert "the store: 2 records, 10 to 11, whole" in (await verified(tmp_path)).output


async def test_forgetting_everything_at_once_ends_and_is_not_done_again(store: Store, tmp_path: Path) -> None:
    now = 1_700_000_000 + 9.0
    assert (await store.prune(conversations=DAY, audit=-DAY, now=now)).records == 9
    assert "the store: 1 record, 10, whole" in (await verified(tmp_path)).output
    for later in (now, now + 3600):
        assert (await store.prune(conversations=DAY, audit=0, now=later)).records == 0
    await store.audit.append([entry(11)])
    assert (await store.prune(conversations=DAY, audit=0, now=now + 7200)).records == 2
    assert "the store: 1 record, 12, whole" in (await verified(tmp_path)).output


async def test_a_record_from_a_slow_clock_does_not_cut_the_chain(store: Store, tmp_path: Path) -> None:
    await store.audit.append([entry(10, time=1.0)])
    assert (await store.prune(conversations=DAY, audit=DAY, now=1_700_000_000 + DAY + 4.5)).records == 4
    assert "the store: 7 records, 5 to 11, whole" in (await verified(tmp_path)).output


async def test_what_is_said_twice_of_a_call_is_recorded_once(store: Store) -> None:
    said = entry(20, kind="decision", verdict="deny", outcome=None, rule="r" * 5000)
    await store.audit.append([said, replace(said, call_id="other")])
    await store.audit.append([said, replace(said, rule="another")])
    assert [record.call_id for record in await store.audit.find(AuditFilter(verdict="deny"))] == [
        "call20",
        "other",
        "call20",
    ]


async def test_a_failed_transaction_leaves_no_record_and_no_gap(store: Store, tmp_path: Path) -> None:
    def claim(record: AuditEntry) -> Claim:
        digest = compute_call_digest("a/b", {})
        return Claim(call_id="c", thread="t", tool="a/b", digest=digest, needs_approval=False, now=1.0, record=record)

    with pytest.raises(ValueError, match="Out of range float"):
        await store.journal.claim([claim(entry(10, args={"x": float("nan")}))])
    assert (await store.journal.claim([claim(entry(10))]))["c"].state == "claimed"
    assert (await store.journal.claim([claim(entry(10))]))["c"].state == "running"
    await store.journal.finish("c", {}, failed=False, record=entry(11))
    assert "the store: 11 records, 1 to 11, whole" in (await verified(tmp_path)).output


async def test_an_approval_from_before_there_was_an_audit_is_recorded_when_it_is_decided(store: Store) -> None:
    wanted = Approval(
        id="aaaaaaaa", turn="t", thread="t", call_id="c", graph="g", snapshot="s", tool="files/write", args={"a": 1},
        digest="d", rule="role x with password=hunter22", caller_owner="key:ada", caller="ada", created=1.0,
    )  # fmt: skip
    await store.approvals.request([wanted])
    await store.approvals.decide("aaaaaaaa", "approve", by="grace", key="admin", role="admin")
    (record,) = await store.audit.find(AuditFilter(kind="approval"))
    assert (record.user, record.owner, record.args, record.rule) == (
        "grace",
        "key:ada",
        None,
        "role x with password=[redacted]",
    )


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (AuditFilter(limit=3), [9, 8, 7]),
        (AuditFilter(limit=None), [9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (AuditFilter(turns=["t1", "t2"], limit=2), [8, 7]),
        (AuditFilter(owners=["key:ada"], after=7), [9, 8]),
        (AuditFilter(owners=["key:eve"]), []),
        (AuditFilter(owners=[]), []),
        (AuditFilter(tool="files/tool?", limit=1), [9]),
        (AuditFilter(tool="*tool4"), [4]),
        (AuditFilter(tool="files/TOOL4"), []),
        (AuditFilter(tool="files/tool4"), [4]),
        (AuditFilter(since=1_700_000_008.0), [9, 8]),
        (AuditFilter(until=1_700_000_003.0), [2, 1]),
        (AuditFilter(key="webui", role="developer", user="ada", kind="call", limit=1), [9]),
        (AuditFilter(graph="assistant", verdict="allow", limit=1), [9]),
        (AuditFilter(key="admin"), []),
        (AuditFilter(role="dev%"), []),
    ],
)  # fmt: skip
async def test_filters(wanted: AuditFilter, numbers: list[int], store: Store) -> None:
    assert [record.seq for record in await store.audit.find(wanted)] == numbers


async def test_show_prints_tables_json_and_csv_that_obey_nobody(store: Store, tmp_path: Path) -> None:
    await store.audit.append(
        [entry(10, user="=cmd|' /C calc'!A0", tool="a/\x1b[31mb", note="two\nlines", args={"sql": "x" * 500})]
    )
    table = (await asyncio.to_thread(run, tmp_path, "show", "--limit", "2")).output
    assert len(table.splitlines()) == 2
    assert "\x1b" not in table
    assert "files/tool9" in table.splitlines()[0]
    assert "call     ok 0.12s" in table.splitlines()[1]
    assert "x" * 500 not in table
    csv = (await asyncio.to_thread(run, tmp_path, "show", "--format", "csv", "--limit", "1")).output
    assert csv.splitlines()[0].startswith("time,kind,turn")
    assert ",'=cmd|' /C calc'!A0," in csv
    lines = (await asyncio.to_thread(run, tmp_path, "show", "--format", "json", "--limit", "0")).output.splitlines()
    assert [json.loads(text)["seq"] for text in lines] == list(range(1, 11))
    assert all(text.isascii() for text in lines)
    for words in (
        ["--since", "90s"],
        ["--until", "2001-01-01"],
        ["--tool", "a/c*"],
        ["--turn", "t7"],
        ["--kind", "pruned"],
    ):
        assert (await asyncio.to_thread(run, tmp_path, "show", *words)).output == ""
    assert (await asyncio.to_thread(run, tmp_path, "show", "--since", "soon")).exit_code == 2
    nothing = await asyncio.to_thread(run, tmp_path / "none", "show")
    assert nothing.exit_code == 1
    assert "there is no database" in nothing.output


async def test_pages_and_following_leave_nothing_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphs.diagnostics.audit_reader.PAGE", 2)
    monkeypatch.setattr("graphs.diagnostics.audit_reader.POLL", 0.01)
    assert [record.seq async for record in read_records(store.audit, AuditFilter(limit=None))] == list(range(1, 10))
    assert [record.seq async for record in read_records(store.audit, AuditFilter(after=3, limit=3))] == [4, 5, 6]
    assert [record.seq async for record in read_records(store.audit, AuditFilter(limit=3))] == [7, 8, 9]
    seen: list[int] = []
    async for record in read_records(store.audit, AuditFilter(limit=2), follow=True):
        seen.append(record.seq)
        if len(seen) == 2:
            await store.audit.append([entry(number) for number in range(10, 15)])
        if record.seq == 14:
            break
    assert seen == [8, 9, 10, 11, 12, 13, 14]


def test_a_time_is_a_while_ago_or_a_date() -> None:
    assert parse_moment("2026-01-31T12:00:00+00:00") == 1769860800.0
    assert 0 < parse_moment("1h") < parse_moment("1m")
    with pytest.raises(ValueError, match="no time"):
        parse_moment("last week")


def test_a_line_is_a_record() -> None:
    values = {**{name: getattr(entry(1), name) for name in RECORD_NAMES[1:-2]}, "seq": 1, "previous": "", "hash": ""}
    assert json.loads(to_line(AuditRecord(**values)))["seq"] == 1
