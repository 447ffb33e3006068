"""Admit requests, or say when: before any work begins, they are held against the limits of the caller's roles."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import get_args

from cachetools import TLRUCache

from graphs.errors import LimitReached
from graphs.policy.limits import Limit, Limits
from graphs.policy.rules import Caller, Policy
from graphs.store.usage import ExhaustedLimit, RequestKind, RoleLimits, RoleUsage, TokenSpend
from graphs.telemetry.metrics import Metrics
from graphs.telemetry.token_count import TokenCount

REFUSAL_SECONDS = 1.0
"""Seconds for which a refusal is given again without asking the store, so that a flood of requests costs it nothing."""
MOST_REFUSALS = 4096
"""Refusals that are remembered; the one that was not used for longest goes first."""


class Admission:
    """Lets requests in under the limits of one snapshot."""

    def __init__(self, policy: Policy, usage: RoleUsage, metrics: Metrics) -> None:
        self._limits = policy.limits
        self._bounds: Mapping[RequestKind, Mapping[str, RoleLimits]] = {
            kind: {
                role: bound
                for role, limits in policy.limits.items()
                if (bound := build_bound(role, limits, kind)) is not None
            }
            for kind in get_args(RequestKind)
        }
        self._usage = usage
        self._metrics = metrics
        self._refusals: TLRUCache[tuple[str, tuple[str, ...], RequestKind], ExhaustedLimit] = TLRUCache(
            MOST_REFUSALS,
            ttu=lambda _, full, now: min(full.until, now + REFUSAL_SECONDS),
            timer=lambda: time.time(),  # not taken once, but looked up each time, as `admit` does
        )

    async def admit(self, caller: Caller, owner: str, kind: RequestKind = "requests_per_minute") -> TokenCount | None:
        """Count a request that will ask a model, under the limit of its kind. Raises LimitReached, and then it is not
        counted. What is returned counts the tokens that the request uses, where a role limits them.

        A caller whose roles have no such limits costs nothing here, and a caller of several is bound by each.
        """
        by_role = self._bounds[kind]
        bounds = [bound for role in caller.roles if (bound := by_role.get(role)) is not None]
        if not bounds:
            return None
        who: tuple[str, tuple[str, ...], RequestKind] = (owner, caller.roles, kind)
        now = time.time()
        full = self._refusals.get(who)
        if full is None and (full := await self._usage.admit(owner, bounds, now)) is not None:
            self._refusals[who] = full
        if full is not None:
            limit = self._find_limit(full)
            self._metrics.count_limited_request(limit.role, full.kind)
            raise build_limit_error(limit, full, time.time())
        counting = tuple(bound.role for bound in bounds if bound.tokens is not None)
        return TokenCount(owner, counting) if counting else None

    def _find_limit(self, full: ExhaustedLimit) -> Limit:
        limits = self._limits[full.role]
        limit: Limit | None = getattr(limits, full.kind)
        assert limit is not None  # noqa: S101  what is full was bound by it
        return limit


def build_bound(role: str, limits: Limits, kind: RequestKind) -> RoleLimits | None:
    """Build what the store must count for a role's requests of one kind; None where nothing."""
    requests: Limit | None = getattr(limits, kind)
    tokens = limits.tokens_per_day
    if requests is None and tokens is None:
        return None
    return RoleLimits(role=role, requests=requests and requests.maximum, tokens=tokens and tokens.maximum, kind=kind)


def build_token_spend(token_count: TokenCount | None) -> TokenSpend | None:
    """Build what a request used, for the store; None where nothing needs to be kept."""
    if token_count is None or not (tokens := token_count.tokens):
        return None
    return TokenSpend(owner=token_count.owner, roles=token_count.roles, tokens=tokens, now=time.time())


def build_limit_error(limit: Limit, full: ExhaustedLimit, now: float) -> LimitReached:
    """Word the refusal, with the time until there is room."""
    seconds = max(1, math.ceil(full.until - now))
    what = {"requests_per_minute": "requests a minute", "tokens_per_day": "tokens a day"}.get(
        full.kind, "requests for embeddings, moderations and rankings a minute"
    )
    return LimitReached(
        f"The limit of {limit.maximum} {what} is reached ({limit}). There is room again in {format_duration(seconds)}.",
        seconds,
    )


def format_duration(seconds: int) -> str:
    """Format seconds as `42 s`, `12 min` or `5 h 12 min`, rounded up."""
    if seconds < 120:
        return f"{seconds} s"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
