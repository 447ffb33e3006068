"""The tables of `docs/bench` in Markdown, each from what its JSON holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.growth import steepness
from bench.scale import DIRECT, LEAN
from bench.table import rows_of


def measured(kept: Mapping[str, Any]) -> str:
    """Where and when."""
    made = kept["machine"]
    return f"Measured on {made['cores']} cores of {made['processor']}, Python {made['python']}, {made['date']}."


def growth(kept: Mapping[str, Any]) -> str:
    """What a request costs at the first, a middle and the last point of each line, and how steep its end is."""
    rows: list[list[str]] = []
    for one in kept["growth"]:
        for name, line in one["series"].items():
            at = [line[0], line[len(line) // 2], line[-1]]
            points = [f"{y:.2f} at {x:,}" for x, y in at]
            label = f"{one['of']}, {name}" if len(one["series"]) > 1 else one["of"]
            rows.append([f"{label} ({one['unit']})", *points, f"{steepness([tuple(point) for point in line])}"])
    head = ["more of", "first", "between", "last", "power of the last step"]
    plot = "![What a request costs as there is more of something](growth.svg)"
    return f"{plot}\n\n{rows_of(head, rows)}\n\n{measured(kept)}"


def scale(kept: Mapping[str, Any]) -> str:
    """What each target adds to the model's own p95, and the memory of one more."""
    paces = kept["paces"]
    rows: list[list[str]] = []
    for one in paces:
        direct, lean = (
            next(each for each in paces if each["streams"] == one["streams"] and each["target"] == name)
            for name in (DIRECT, LEAN)
        )
        if one is direct:
            continue
        added = [f"{one[name] - direct[name]:+.0f} ms" for name in ("whole", "first", "pause")]
        times = (one["whole"] - direct["whole"]) / max(1.0, lean["whole"] - direct["whole"])
        rows.append([f"{one['streams']} at once, {one['target']}", *added, f"{times:.2f}", f"{one['cpu_ms']:.2f}"])
    head = [
        "streams",
        "whole answer, p95",
        "first token, p95",
        "longest pause, p95",
        "whole, times lean",
        "CPU ms a stream",
    ]
    words = [
        f"{item['target']}: {item['idle_stream'] / 1e3:.0f} kB of memory for a stream that waits, "
        f"{item['conversation'] / 1e3:.1f} kB for a conversation that is over"
        + (f" ({item['stored'] / 1e3:.1f} kB on disk)" if item["stored"] is not None else "")
        for item in kept["memory"]
    ]
    return f"{rows_of(head, rows)}\n\n{'; '.join(words)}. {measured(kept)}"


def soak(kept: Mapping[str, Any]) -> str:
    """How things stood at each look."""
    rows = [
        [
            f"{look['turns']:,}",
            f"{look['resident'] / 1e6:.1f}",
            f"{look['stored'] / 1e6:.1f}",
            str(look["files"]),
            str(look["threads"]),
            f"{look['cpu_ms']:.2f}",
            str(look["errors"]),
        ]
        for look in kept["looks"]
    ]
    head = ["turns", "MB of memory", "MB stored", "open files", "threads", "CPU ms a turn", "errors"]
    return f"{rows_of(head, rows)}\n\n{measured(kept)}"
