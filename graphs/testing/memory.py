"""What is remembered before a case, and after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphs.config.graph_plan import GraphPlan
from graphs.config.spec.graph import MemorySpec
from graphs.expressions import ANY
from graphs.nodes.memory import find_place
from graphs.nodes.state import Context
from graphs.store.memories import MemoryPlace
from graphs.store.store import Store


@dataclass(frozen=True, kw_only=True)
class CaseMemory:
    """The memory that the graph of a case uses."""

    store: Store
    place: MemoryPlace
    ttl: float

    async def list(self) -> Mapping[str, Any]:
        """List what is remembered, by key."""
        return {entry.key: entry.value for entry in await self.store.memories.list(self.place, self.ttl)}


async def open_case_memory(plan: GraphPlan, context: Context, store: Store, before: Mapping[str, Any]) -> CaseMemory:
    """Forget what earlier cases have left, and remember what this one begins with. Raises MemoryLimit and
    TypeMismatch."""
    memory = CaseMemory(
        store=store, place=await find_place(plan, context, store), ttl=(plan.spec.memory or MemorySpec()).ttl
    )
    await store.memories.forget_all(memory.place)
    if before:
        values = {key: ANY.fit(value) for key, value in before.items()}
        await store.memories.remember(memory.place, values, memory.ttl)
    return memory
