"""The models of the endpoint that clients may ask for, cached between questions."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from graphs.errors import ModelError
from graphs.llm.client import ChatModel
from graphs.llm.model_info import EMBEDDING_MODE, ModelEntry
from graphs.llm.own_address import OwnAddress
from graphs.policy.patterns import matches, matches_any

log = logging.getLogger(__name__)

FRESH_SECONDS = 30.0
"""Seconds for which the list is taken as it is."""
RETRY_SECONDS = 2.0
"""Seconds between two questions for the list after a failure, or for a name it did not hold."""
INFO_SECONDS = 300.0
"""Seconds for which what LiteLLM says of its models is taken as it is, while the names stay the same: it is long."""
MOST_WILDCARDS = 100
"""Wildcards of one list: LiteLLM has some for each provider."""
LEADS_BACK = "LiteLLM sends it back to Interlock"
_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._:/@+~=-]{0,255}", re.ASCII)
"""What may stand for a wildcard. LiteLLM takes a comma for a list of models, whatever the rest is called."""


@dataclass(frozen=True)
class Catalog:
    """What an endpoint serves, by what it said last."""

    names: Mapping[str, None]
    wildcards: Sequence[str]
    """Patterns of further names; the first that matches a name is the one that LiteLLM takes for it."""
    entries: Mapping[str, Sequence[ModelEntry]]
    """What LiteLLM says of a model, by its name; several entries share the requests for it."""
    wildcard_entries: Mapping[str, Sequence[ModelEntry]]
    """The entries that a wildcard stands for: of the wildcard itself LiteLLM says nothing."""
    own_addresses: frozenset[str] = frozenset()
    """Addresses that lead back to Interlock."""

    def has(self, name: str) -> bool:
        """Whether a model is there and can be chatted with, as far as is known."""
        return self.is_there(name) and self.find_fault(name) is None

    def find_wildcard(self, name: str) -> str | None:
        """Find the wildcard that a name falls under."""
        if _NAME.fullmatch(name) is None:
            return None
        return next((wildcard for wildcard in self.wildcards if matches(wildcard, name)), None)

    def find_entries(self, name: str) -> Sequence[ModelEntry]:
        """Find what LiteLLM says of a model, or of the others of its wildcard."""
        entries = self.entries.get(name)
        return self.wildcard_entries.get(self.find_wildcard(name) or "", ()) if entries is None else entries

    def find_fault(self, name: str) -> str | None:
        """Explain why a model cannot be chatted with; None where it can, as far as is known."""
        faults = [self._find_fault(entry) for entry in self.find_entries(name)]
        return faults[0] if faults and all(faults) else None

    def is_there(self, name: str) -> bool:
        """Whether LiteLLM has a model, whatever it is for."""
        return name in self.names or self.find_wildcard(name) is not None

    def find_modes(self, name: str, *, by_wildcard: bool = True) -> frozenset[str | None]:
        """Find what a model is for, by each of the entries that share its name; empty or None: it is not known.

        `by_wildcard`: where it has no entry of its own, those of the others of its wildcard tell.
        """
        entries = self.find_entries(name) if by_wildcard else self.entries.get(name, ())
        return frozenset(entry.mode for entry in entries)

    def leads_back(self, name: str) -> bool:
        """Whether every request for a model comes back to Interlock."""
        entries = self.find_entries(name)
        return bool(entries) and all(entry.address in self.own_addresses for entry in entries)

    def find_embedding_fault(self, name: str) -> str | None:
        """Explain why a model cannot embed texts; None where it can, as far as is known."""
        if not self.is_there(name):
            return "LiteLLM has no such model"
        modes = [entry.mode for entry in self.find_entries(name)]
        if not modes or any(mode in (None, EMBEDDING_MODE) for mode in modes):
            return None
        return (
            f"LiteLLM says that its mode is {modes[0]!r}, not {EMBEDDING_MODE} (model_info.mode in LiteLLM's"
            " configuration)"
        )

    def _find_fault(self, entry: ModelEntry) -> str | None:
        if entry.address in self.own_addresses:
            return LEADS_BACK
        if not entry.may_chat:
            return (
                f"LiteLLM says that its mode is {entry.mode!r}, not chat (model_info.mode in LiteLLM's configuration)"
            )
        return None


class ModelList:
    """The cached list of one endpoint's models; `patterns` say which of them the gateway file offers."""

    def __init__(self, model: ChatModel, patterns: Sequence[str], own_address: OwnAddress) -> None:
        self._model = model
        self._patterns = patterns
        self._own_address = own_address
        self._listed: Sequence[str] = ()
        self._entries: Sequence[ModelEntry] = ()
        self.catalog = Catalog({}, (), {}, {})
        """What the endpoint serves, offered or not."""
        self._names: Sequence[str] = ()
        self._known_loops: object = None
        """What was known, when the catalog was made, of where requests lead round."""
        self._loaded_at = float("-inf")
        self._entries_loaded_at = float("-inf")
        self._lock = asyncio.Lock()
        self.problem: str | None = None
        """Why the list is not known, or could not be refreshed."""

    async def list_names(self) -> Sequence[str]:
        """List what is offered; while LiteLLM does not answer, what was offered last."""
        await self._load(FRESH_SECONDS)
        return self._names

    async def list_names_of(self, mode: str | None) -> Sequence[str]:
        """List what is offered of one mode, as LiteLLM says it, or of every mode."""
        await self._load(FRESH_SECONDS)
        catalog = self.catalog
        return [
            name
            for name in catalog.names
            if matches_any(self._patterns, name)
            and not catalog.leads_back(name)
            and (mode is None or mode in catalog.find_modes(name))
        ]

    async def find_modes(self, name: str, *, by_wildcard: bool = True) -> frozenset[str | None] | None:
        """Find what a model that is offered is for, as `Catalog.find_modes` does; None where there is no such model.
        The list is refreshed for a name that it does not hold."""
        for seconds in (FRESH_SECONDS, RETRY_SECONDS):
            await self._load(seconds)
            if self.catalog.is_there(name) and not self.catalog.leads_back(name):
                is_offered = matches_any(self._patterns, name)
                return self.catalog.find_modes(name, by_wildcard=by_wildcard) if is_offered else None
        return None

    async def has(self, name: str) -> bool:
        """Whether a model is offered for chats. The list is refreshed for a name that it does not hold."""
        for seconds in (FRESH_SECONDS, RETRY_SECONDS):
            await self._load(seconds)
            if self.catalog.has(name):
                return matches_any(self._patterns, name)
        return False

    def find_fault(self, name: str) -> str | None:
        """Explain why a model is not offered though the endpoint has it and the gateway file would; else None."""
        return self.catalog.find_fault(name) if matches_any(self._patterns, name) else None

    async def _load(self, seconds: float) -> None:
        seconds = RETRY_SECONDS if self.problem else seconds
        if self._is_fresh(seconds):
            return
        async with self._lock:
            if self._is_fresh(seconds):
                return
            self._known_loops = self._read_loops()
            try:
                await self._load_models()
                self.problem = None
            except ModelError as error:
                log.warning("%s", error)
                self.problem = str(error)
            self._loaded_at = time.monotonic()

    def _is_fresh(self, seconds: float) -> bool:
        return time.monotonic() - self._loaded_at < seconds and self._known_loops == self._read_loops()

    def _read_loops(self) -> object:
        return self._own_address.ports, frozenset(self._model.litellm.loops)

    async def _load_models(self) -> None:
        await self._model.find_address()
        # The entries first: they show whether the endpoint is LiteLLM, which is asked for its wildcards too.
        is_due = time.monotonic() - self._entries_loaded_at >= INFO_SECONDS
        if is_due:
            await self._load_entries()
        listed = await self._model.list_models()
        if listed != self._listed and not is_due:
            await self._load_entries()
        self._listed = listed
        addresses = {entry.address for entry in self._entries if entry.address is not None}
        own = await self._own_address.find_own(addresses, self._model.base_url)
        self.catalog = build_catalog(listed, self._entries, own, self._model.litellm.loops)
        offered = (name for name in self.catalog.names if matches_any(self._patterns, name))
        self._names = [name for name in offered if self.catalog.find_fault(name) is None]

    async def _load_entries(self) -> None:
        entries = await self._model.litellm.list_entries()
        if entries is not None:
            self._entries, self._entries_loaded_at = entries, time.monotonic()


def build_catalog(
    listed: Sequence[str], entries: Sequence[ModelEntry], own_addresses: frozenset[str], loops: Collection[str]
) -> Catalog:
    """Build the catalog of a list of names and of what LiteLLM says of them. `loops`: models of which a request came
    back to Interlock."""
    names = dict.fromkeys(name for name in listed if "*" not in name)
    patterns = {name for name in (*listed, *(entry.name for entry in entries)) if "*" in name and "?" not in name}
    # LiteLLM takes the longest that matches.
    wildcards = sorted(patterns, key=lambda pattern: (-len(pattern), pattern))[:MOST_WILDCARDS]
    by_name: dict[str, list[ModelEntry]] = {}
    by_wildcard: dict[str, list[ModelEntry]] = {}
    catalog = Catalog(names, wildcards, by_name, by_wildcard)
    for entry in entries:
        by_name.setdefault(entry.name, []).append(entry)
        wildcard = entry.name if "*" in entry.name else catalog.find_wildcard(entry.name)
        if wildcard is not None:
            by_wildcard.setdefault(wildcard, []).append(entry)
    found = ({entry.address for entry in catalog.find_entries(name)} for name in loops)
    # Of several addresses nobody knows which it was.
    seen = {address for addresses in found if len(addresses) == 1 for address in addresses if address is not None}
    return replace(catalog, own_addresses=own_addresses | seen)
