"""Lets requests in, or says when: before any work begins, a caller's requests and tokens are held against its roles."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from graphs.errors import LimitReached
from graphs.policy.limits import Limit, Limits
from graphs.policy.rules import Caller, Policy
from graphs.store.usage import Bound, Full, Spent, Usage
from graphs.telemetry.metrics import Metrics
from graphs.telemetry.token_count import Tally

REMEMBERED = 1.0
"""Seconds for which a refusal is given again without asking the store, so that a flood of requests costs it nothing."""
MOST_REMEMBERED = 4096


class Admission:
    """Lets requests in under the limits of one snapshot."""

    def __init__(self, policy: Policy, usage: Usage, metrics: Metrics) -> None:
        self._limits = policy.limits
        self._bounds: Mapping[str, Bound] = {
            role: bound for role, limits in policy.limits.items() if (bound := bound_of(role, limits)) is not None
        }
        self._usage = usage
        self._metrics = metrics
        self._refused: dict[tuple[str, tuple[str, ...]], tuple[float, Full]] = {}

    async def admit(self, caller: Caller, owner: str) -> Tally | None:
        """Counts a request that will ask a model. Raises LimitReached, and then it is not counted. What is returned
        counts the tokens that the request uses, where a role limits them.

        A caller whose roles have no such limits costs nothing here, and a caller of several is bound by each.
        """
        bounds = [bound for role in caller.roles if (bound := self._bounds.get(role)) is not None]
        if not bounds:
            return None
        who, now = (owner, caller.roles), time.time()
        full = self._known(who, now)
        if full is None and (full := await self._usage.admit(owner, bounds, now)) is not None:
            if len(self._refused) >= MOST_REMEMBERED:
                self._refused.clear()
            self._refused[who] = (min(full.until, now + REMEMBERED), full)
        if full is not None:
            limit = self._limit(full)
            self._metrics.limited(limit.role, full.kind)
            raise refusal(limit, full, time.time())
        counting = tuple(bound.role for bound in bounds if bound.tokens is not None)
        return Tally(owner, counting) if counting else None

    def _known(self, who: tuple[str, tuple[str, ...]], now: float) -> Full | None:
        until, full = self._refused.get(who, (0.0, None))
        if full is not None and now >= until:
            del self._refused[who]
            return None
        return full

    def _limit(self, full: Full) -> Limit:
        limits = self._limits[full.role]
        limit = limits.requests_per_minute if full.kind == "requests_per_minute" else limits.tokens_per_day
        assert limit is not None  # noqa: S101  what is full was bound by it
        return limit


def bound_of(role: str, limits: Limits) -> Bound | None:
    """What the store must count for a role; None where nothing."""
    requests, tokens = limits.requests_per_minute, limits.tokens_per_day
    if requests is None and tokens is None:
        return None
    return Bound(role=role, requests=requests and requests.most, tokens=tokens and tokens.most)


def spent(tally: Tally | None) -> Spent | None:
    """What a request used, for the store; None where nothing needs to be kept."""
    if tally is None or not (tokens := tally.tokens):
        return None
    return Spent(owner=tally.owner, roles=tally.roles, tokens=tokens, now=time.time())


def refusal(limit: Limit, full: Full, now: float) -> LimitReached:
    """The refusal in words, with the time until there is room."""
    seconds = max(1, math.ceil(full.until - now))
    what = "requests a minute" if full.kind == "requests_per_minute" else "tokens a day"
    return LimitReached(
        f"The limit of {limit.most} {what} is reached ({limit}). There is room again in {in_words(seconds)}.", seconds
    )


def in_words(seconds: int) -> str:
    """`42 s`, `12 min` or `5 h 12 min`, rounded up."""
    if seconds < 120:
        return f"{seconds} s"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
