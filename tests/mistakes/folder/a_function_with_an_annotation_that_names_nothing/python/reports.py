from __future__ import annotations


def week(rows: Sequence[int]) -> int:  # noqa: F821
    return 1
