"""Limits of roles: their own, and those of the roles that they include."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One number of one role, and where it stands."""

    maximum: int
    role: str
    """The role that sets it, which may be one that the caller's role includes."""
    where: str
    """`access.yaml:12`."""

    def __str__(self) -> str:
        return f"role {self.role}, {self.where}"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a role; None: there is none."""

    requests_per_minute: Limit | None = None
    endpoint_requests_per_minute: Limit | None = None
    tool_calls: Limit | None = None
    tokens_per_day: Limit | None = None


NO_LIMITS = Limits()


def combine_limits(several: Iterable[Limits]) -> Limits:
    """Combine limits, the lowest of each kind: a role is bound by its own and by those of every role it includes."""
    each = tuple(several)
    return Limits(
        requests_per_minute=find_lowest(limits.requests_per_minute for limits in each),
        endpoint_requests_per_minute=find_lowest(limits.endpoint_requests_per_minute for limits in each),
        tool_calls=find_lowest(limits.tool_calls for limits in each),
        tokens_per_day=find_lowest(limits.tokens_per_day for limits in each),
    )


def find_lowest(limits: Iterable[Limit | None]) -> Limit | None:
    """Return the lowest of several limits, the first of equals; None where there is none."""
    return min((limit for limit in limits if limit is not None), key=lambda limit: limit.maximum, default=None)


def limit_turn_calls(graph: int, role: Limit | None) -> tuple[int, str]:
    """Return how many tool calls a turn may run where its graph allows `graph` of them, and which role allows fewer.

    The latter is for people, and empty where the graph's own limit holds.
    """
    return (graph, "") if role is None or graph <= role.maximum else (role.maximum, f" ({role})")
