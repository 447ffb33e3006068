"""What a node with `cache` asks of the result cache: the key of a result, and whether it may be used again.

It is no `CachePolicy` of LangGraph. That keeps all that a node writes, so the counts and the way on of another turn
would come with a result; its key does not see who asks; and a call is three nodes, of which two decide.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import ToolCall, ToolMessage

from graphs.nodes.base import NodeSite, Services, ToolAccess
from graphs.nodes.state import Context
from graphs.nodes.tools import CachedResult, build_stored_result
from graphs.store.digests import compute_call_digest
from graphs.text import dump_canonical_json

log = logging.getLogger(__name__)


class NodeCache:
    """The results of one node. Built once for each node and snapshot."""

    def __init__(self, site: NodeSite, services: Services, seconds: float) -> None:
        snapshot = services.snapshot
        self._site = site
        self._services = services
        self._seconds = seconds
        # A secret is part of the version: another password may be another account.
        self._place = [snapshot.id, snapshot.secrets_digest, site.plan.id, site.name]

    def build_key(self, context: Context, *parts: object) -> str:
        """Build the key of a result: node, version of the files, who asks, and these parts, which are JSON.

        Two people share nothing, whatever their roles are. Those whom nobody vouches for are told apart by the key that
        was shown and the names that they give.
        """
        caller = context.caller
        who = [context.verified_user, caller.user, caller.email, caller.key, *caller.roles]
        return hashlib.sha256(dump_canonical_json([self._place, who, parts]).encode()).hexdigest()

    def find(self, key: str) -> Mapping[str, Any] | None:
        """Find a result; None: there is none."""
        return self._services.result_cache.find(key)

    def keep(self, key: str, result: Mapping[str, Any]) -> None:
        """Keep a result."""
        self._services.result_cache.keep(key, result, self._seconds)

    def count_hit(self) -> None:
        """Count a result that was used again."""
        self._services.metrics.count_cache_hit(self._site.plan.id, self._site.name)


class CallCache:
    """The results of the calls of one node, whose tool must say that it only reads."""

    def __init__(self, site: NodeSite, services: Services, seconds: float) -> None:
        self._site = site
        self._cache = NodeCache(site, services, seconds)
        self._access = ToolAccess(site.plan.spec, services)
        self._has_warned = False

    async def build_key(self, call: ToolCall, context: Context) -> str | None:
        """Build the key of a call's result; None: it must not be used again, which the log says once."""
        served = (await self._access.open_tools(context)).find(call["name"])
        if served is None:
            return None
        if served.read_only:
            return self._cache.build_key(
                context, served.definition, compute_call_digest(served.people_name, call["args"])
            )
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "graph %s, node %s: %s does not say that it only reads, so its results are not cached",
                self._site.plan.id,
                self._site.name,
                served.people_name,
            )
        return None

    def find(self, key: str, call: ToolCall) -> CachedResult | None:
        """Find the result for this call; None: there is none. Whether the call is allowed is for others to decide."""
        found = self._cache.find(key)
        if found is None:
            return None
        stored = found["result"]
        message = ToolMessage(
            stored["content"],
            tool_call_id=call["id"] or "",
            name=call["name"],
            status=stored["status"],
            artifact=stored["artifact"],
        )
        return CachedResult(message=message, call_id=found["call_id"])

    def keep(self, key: str, message: ToolMessage) -> None:
        """Keep what a call gave that ran now."""
        self._cache.keep(key, {"result": build_stored_result(message), "call_id": message.tool_call_id})

    def count_hit(self) -> None:
        """Count a result that was used again."""
        self._cache.count_hit()
