"""Search of the audit: every filter, pages that miss and repeat nothing, and a bound on what one page looks at."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.store.audit import search as audit_search
from graphs.store.audit.record import AuditEntry
from graphs.store.audit.search import AuditPage, AuditSearch
from graphs.store.store import Store

BEGAN = 1_700_000_000.0


def entry(number: int, **more: Any) -> AuditEntry:
    values: dict[str, Any] = {
        "time": BEGAN + number,
        "kind": "decision",
        "turn": f"t{number}",
        "user": "Ada",
        "owner": "key:ada",
        "key": "webui",
        "tool": "files/read",
        "call_id": f"call{number}",
        "verdict": "allow",
        "rule": "role developer, allow '*' (access.yaml:3)",
    }
    return AuditEntry(**{**values, **more})


RECORDS = [
    entry(1),
    entry(
        2, user="Ben 100%", owner="key:ben", key="ben", verdict="deny", rule="role x, deny 'files/*' (access.yaml:9)"
    ),
    entry(3, kind="call", outcome="failed", tool="files/Write", args={"path": "Grüße/under_score.txt"}),
    entry(4, kind="approval", verdict="rejected", tool="desk/deploy", note="Not TODAY."),
    entry(5, tool="files/write"),
]


async def search(store: Store, *, before: int | None = None, limit: int = 50, **wanted: Any) -> AuditPage:
    return await store.search_audit(AuditSearch(**{"owner": None, **wanted}), before=before, limit=limit)


@pytest.fixture
async def filled(store: Store) -> Store:
    await store.audit.append(RECORDS)
    return store


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"owner": "key:ben"}, [2]),
        ({"owner": "key:nobody"}, []),
        ({"who": "ada"}, [5, 4, 3, 1]),
        ({"who": "BEN"}, [2]),
        ({"who": "0%"}, [2]),
        ({"who": "_"}, []),
        ({"tool": "files/write"}, [5]),
        ({"tool": "files/*"}, [5, 3, 2, 1]),
        ({"tool": "*/deploy"}, [4]),
        ({"kind": "call"}, [3]),
        ({"verdict": "deny"}, [2]),
        ({"kind": "call", "outcome": "failed"}, [3]),
        ({"since": BEGAN + 4}, [5, 4]),
        ({"until": BEGAN + 3}, [2, 1]),
        ({"since": BEGAN + 2, "until": BEGAN + 4}, [3, 2]),
        ({"since": BEGAN + 99}, []),
        ({"until": BEGAN}, []),
        ({"text": "access.yaml:9"}, [2]),
        ({"text": "today"}, [4]),
        ({"text": "Grüße/Under_Score"}, [3]),
        ({"text": "under%score"}, []),
        ({"text": "call4"}, [4]),
        ({"text": "'; DROP TABLE audit; --"}, []),
    ],
)
async def test_each_filter_finds_what_fits_newest_first(
    filled: Store, wanted: dict[str, Any], found: list[int]
) -> None:
    page = await search(filled, **wanted)
    assert [record.seq for record in page.records] == found
    assert page.next is None


async def test_pages_follow_one_another_and_miss_nothing(filled: Store) -> None:
    seen: list[int] = []
    before: int | None = None
    while True:
        page = await search(filled, before=before, limit=2, tool="files/*")
        seen += [record.seq for record in page.records]
        if (before := page.next) is None:
            break
    assert seen == [5, 3, 2, 1]


async def test_one_page_looks_at_a_bounded_number_of_records_and_says_how_far_it_came(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_search, "MOST_LOOKED_AT", 10)
    monkeypatch.setattr(audit_search, "CLOCK_SLACK", 2)
    await store.audit.append([entry(number, note="needle" if number == 3 else None) for number in range(1, 31)])
    first = await search(store, text="needle")
    assert (first.records, first.next, first.reached) == ((), 21, BEGAN + 21)
    second = await search(store, text="needle", before=first.next)
    assert (second.records, second.next) == ((), 11)
    third = await search(store, text="needle", before=second.next)
    assert [record.seq for record in third.records] == [3]
    fourth = await search(store, text="needle", before=third.next) if third.next is not None else third
    assert fourth.next is None
    # A time is jumped to, and not walked to.
    assert [record.seq for record in (await search(store, text="needle", until=BEGAN + 5)).records] == [3]
    assert await search(store, before=1) == AuditPage(records=(), next=None, reached=None)
