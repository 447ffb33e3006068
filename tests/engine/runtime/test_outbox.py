"""What waits for a reader is bounded, and whoever makes it can wait."""

from __future__ import annotations

import asyncio

import pytest

from graphs.errors import GraphUnavailable
from graphs.events import (
    AnnotationsAdded,
    Event,
    Finished,
    LogprobsDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenUsage,
    ToolFinished,
    ToolProgress,
    ToolRefused,
    ToolStarted,
)
from graphs.runtime.event_queue import MOST_WEIGHT, EventQueue


async def test_who_makes_events_waits_until_they_are_taken() -> None:
    outbox = EventQueue()
    made = 0

    async def make() -> None:
        nonlocal made
        while made < 50:
            if outbox.full:
                await outbox.wait_for_room()
            outbox.put(TextDelta("x" * (MOST_WEIGHT // 4)))
            made += 1

    making = asyncio.create_task(make())
    await asyncio.sleep(0)
    assert made <= 5
    taken = 0
    while taken < 50:
        taken += len(await outbox.take(1))
    await making


LONG = "x" * (MOST_WEIGHT // 8)


@pytest.mark.parametrize(
    ("event", "most"),
    [
        (TextDelta(""), 2_100),
        (TextDelta(LONG), 8),
        (ReasoningDelta(LONG), 8),
        (RefusalDelta(LONG), 8),
        (LogprobsDelta({}), 2_100),
        (LogprobsDelta({"content": LONG.encode()}), 8),
        (LogprobsDelta(dict.fromkeys(("content", "refusal"), LONG.encode())), 4),
        (AnnotationsAdded(LONG.encode()), 8),
        (ToolStarted("a", "s/t", {}), 2_100),
        (ToolFinished("a", "s/t", LONG, False, 0.1), 8),
        (ToolFinished("a", "s/t", "", False, 0.1, (LONG, LONG)), 4),
        (ToolRefused("a", "s/t", {}, LONG), 8),
    ],
)
async def test_whatever_an_event_holds_counts(event: Event, most: int) -> None:
    outbox = EventQueue()
    count = 0
    while not outbox.full:
        outbox.put(event)
        count += 1
    assert count <= most


async def test_tools_that_run_at_once_do_not_fill_it_with_how_far_they_are() -> None:
    outbox = EventQueue()
    for number in range(100_000):
        outbox.put(ToolProgress(str(number % 8), "s/t", "half"))
    assert len(await outbox.take(1)) <= 2_100


async def test_how_far_a_tool_is_is_forgotten_where_nobody_reads_and_its_end_is_not() -> None:
    outbox = EventQueue()
    outbox.put(ToolStarted("a", "s/t", {}))
    for number in range(100_000):
        outbox.put(ToolProgress("a", "s/t", str(number)))
    outbox.put(TextDelta("x" * MOST_WEIGHT))
    assert outbox.full
    for number in range(1_000):
        outbox.put(ToolProgress(str(number), "s/t", "x"))
    outbox.put(Finished("stop", TokenUsage()))

    taken = await outbox.take(1)
    assert [type(event).__name__ for event in taken] == ["ToolStarted", "ToolProgress", "TextDelta", "Finished"]
    assert taken[1] == ToolProgress("a", "s/t", "99999")


async def test_an_end_in_an_error_does_not_need_room() -> None:
    outbox = EventQueue()
    outbox.put(TextDelta("x" * MOST_WEIGHT))
    outbox.fail(GraphUnavailable("stopped"))
    assert len(await outbox.take(1)) == 1
    with pytest.raises(GraphUnavailable):
        await outbox.take(1)


async def test_who_waits_for_room_can_be_cancelled() -> None:
    outbox = EventQueue()
    outbox.put(TextDelta("x" * MOST_WEIGHT))
    waiting = asyncio.create_task(outbox.wait_for_room())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
