"""`interlock doctor`: trials of everything that the config folder names, with what is missing and its cure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from graphs.config.environment import SecretUnreadable
from graphs.config.loader import Snapshot
from graphs.config.spec.access import KeySpec
from graphs.diagnostics.coverage import describe_coverage
from graphs.diagnostics.notification_check import probe_destinations
from graphs.diagnostics.probe import probe_servers
from graphs.diagnostics.tool_check import check_tools
from graphs.diagnostics.tool_sizes import describe_sizes
from graphs.diagnostics.waiting import Waiting
from graphs.errors import InterlockError, Problem
from graphs.llm.client import ChatModel
from graphs.llm.model_list import Catalog, ModelList
from graphs.llm.own_address import OwnAddress
from graphs.store.store import Store

PATIENCE = 45.0
"""Seconds that a server gets to come up: npx may have to download it first."""
STORE_PATIENCE = 5.0
"""Seconds that PostgreSQL gets to answer."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one trial."""

    where: str
    """`FILE:LINE:COL`, relative to the config folder."""
    subject: str
    sound: bool
    message: str
    is_remark: bool = False
    """Whether somebody should read it though nothing failed."""

    def __str__(self) -> str:
        label = "note" if self.is_remark else "ok  " if self.sound else "FAIL"
        return f"{label} {self.where}: {self.subject}: {self.message}"


async def examine(
    snapshot: Snapshot,
    env: Mapping[str, str],
    *,
    storage: str,
    data: Path,
    patience: float = PATIENCE,
    waiting: Waiting | None = None,
) -> list[Finding]:
    """Start every server, ask for the models, open the store, connect to the destinations of notifications and look at
    the keys. Nothing is left running, and nothing is sent.

    `waiting` is told what is still waited for.
    """
    waiting = waiting or Waiting()

    async def wait_for(name: str, findings: Awaitable[Sequence[Finding]]) -> Sequence[Finding]:
        with waiting.wait_for(name):
            return await findings

    parts = await asyncio.gather(
        examine_servers(snapshot, patience, waiting),
        wait_for("the list of models", examine_models(snapshot)),
        wait_for("the storage", examine_store(snapshot, storage, data)),
        wait_for("the destinations of notifications", examine_destinations(snapshot)),
    )
    return [finding for part in (*parts, examine_keys(snapshot, env)) for finding in part]


async def check_servers(
    snapshot: Snapshot, patience: float = PATIENCE, waiting: Waiting | None = None
) -> tuple[list[Problem], list[str]]:
    """Find what is wrong once the servers are up: those that are not, what the files say of tools that is not so, and
    destinations of notifications that cannot be reached.

    And notes for a person: how each server is, what each role may do with its tools, and what could not be judged.
    """
    seen, destinations = await asyncio.gather(probe_servers(snapshot, patience, waiting), probe_destinations(snapshot))
    found = check_tools(snapshot, seen)
    down = [one for one in seen if not one.up and not one.per_user]
    problems = [snapshot.build_problem(one.position, f"{one.name}: {one.message}") for one in down]
    problems += [
        snapshot.build_problem(one.position, f"{one.name}: {one.message}") for one in destinations if not one.sound
    ]
    notes = [f"{one.name}: {one.message}" for one in seen if one not in down]
    notes += [f"{one.name}: {one.message}" for one in destinations if one.sound]
    notes += [line for one in seen if one.up for line in describe_coverage(snapshot.policy, one.name, one.tool_facts)]
    notes += [
        f"{server}: {_explain_unchecked(snapshot, server)}, so what is said of its tools was not judged: "
        f"{', '.join(places)}"
        for server, places in found.unchecked.items()
    ]
    return sorted([*problems, *found.problems]), notes


async def examine_servers(snapshot: Snapshot, patience: float, waiting: Waiting | None = None) -> Sequence[Finding]:
    """Build one finding a server: how many tools it offers and how long it took, or why it does not come up.

    And one for what each role may do with them, for what its models are shown of them, for every pattern that matches
    no tool, and every rule about an argument that its tools do not take.
    """
    seen = await probe_servers(snapshot, patience, waiting)
    found = check_tools(snapshot, seen)
    about = {one.name: found.unchecked.get(one.name, ()) for one in seen}
    return [
        *(
            Finding(
                where=str(one.position),
                subject=one.name,
                sound=one.up or one.per_user,
                message=f"{one.message.rstrip('.')}; not judged without it: {', '.join(about[one.name])}"
                if about[one.name]
                else one.message,
            )
            for one in seen
        ),
        *(
            Finding(where=str(one.position), subject="roles", sound=True, message=line)
            for one in seen
            if one.up
            for line in describe_coverage(snapshot.policy, one.name, one.tool_facts)
        ),
        *(
            Finding(
                where=str(line.position),
                subject=line.subject,
                sound=True,
                message=line.message,
                is_remark=line.is_remark,
            )
            for line in describe_sizes(snapshot, seen)
        ),
        *(
            Finding(
                where=str(problem.position),
                subject="tools",
                sound=False,
                message=problem.message,
            )
            for problem in found.problems
        ),
    ]


def _explain_unchecked(snapshot: Snapshot, server: str) -> str:
    if server not in snapshot.servers:
        return "is disabled"
    return "is per user" if snapshot.servers[server].per_user else "is down"


async def examine_models(snapshot: Snapshot) -> Sequence[Finding]:
    """Examine whether LiteLLM answers, and whether it has the models that the graphs name."""
    gateway = snapshot.gateway.models
    where = str(snapshot.models_position)
    if not gateway.base_url:
        words = "the built-in demo model (LITELLM_BASE_URL is not set)"
        own = Finding(where=where, subject="models", sound=True, message=words)
        return [own, *examine_embedding_models(snapshot, None)]
    model = ChatModel(gateway.base_url, gateway.api_key, silence=gateway.timeout)
    try:
        models = ModelList(model, gateway.offer, OwnAddress())
        offered = await models.list_names()
    finally:
        await model.close()
    if models.problem is not None:
        return [Finding(where=where, subject="models", sound=False, message=models.problem)]
    words = "" if model.base_url == gateway.base_url else f"{gateway.base_url} does not answer as an API, but "
    words += f"{model.base_url} has {len(models.catalog.names)}, of which {len(offered)} are offered"
    if models.catalog.wildcards:
        words += f", and whatever matches {', '.join(models.catalog.wildcards[:8])}"
    found = [Finding(where=where, subject="models", sound=True, message=words)]
    if not models.catalog.has(gateway.default):
        fault = models.catalog.find_fault(gateway.default)
        listed = ", ".join(offered[:8]) or "none"
        what = (
            f"the model {gateway.default!r} cannot be used: {fault}"
            if fault
            else f"there is no model {gateway.default!r} at LiteLLM"
        )
        found.append(
            Finding(
                where=where,
                subject="models.default",
                sound=False,
                message=f"{what}; set INTERLOCK_MODEL to one of: {listed}",
            )
        )
    return [*found, *examine_embedding_models(snapshot, models.catalog)]


def examine_embedding_models(snapshot: Snapshot, catalog: Catalog | None) -> Iterator[Finding]:
    """Examine whether LiteLLM has the models that embed the memory of graphs. `catalog`: what it has; None: the demo
    model is there instead."""
    for graph, position in snapshot.embedding_positions.items():
        memory = snapshot.graphs[graph].spec.memory
        model = memory.embed if memory is not None else None
        if model is None:
            continue
        fault = catalog.find_embedding_fault(model) if catalog is not None else "the demo model has no embeddings"
        message = "its mode is right, or not known" if fault is None else f"{fault}; searches go by words until it has"
        yield Finding(where=str(position), subject=f"embedding model {model}", sound=fault is None, message=message)


async def examine_store(snapshot: Snapshot, storage: str, data: Path) -> Sequence[Finding]:
    """Examine whether the store opens and can be written."""
    where = str(snapshot.storage_position)
    try:
        opened = await Store.open(storage or snapshot.gateway.storage, data, patience=STORE_PATIENCE)
    except InterlockError as error:
        return [Finding(where=where, subject="storage", sound=False, message=str(error))]
    await opened.close()
    return [Finding(where=where, subject="storage", sound=True, message=opened.place)]


async def examine_destinations(snapshot: Snapshot) -> Sequence[Finding]:
    """Examine whether each destination of notifications can be reached."""
    return [
        Finding(where=str(one.position), subject=f"notifications {one.name}", sound=one.sound, message=one.message)
        for one in await probe_destinations(snapshot)
    ]


def examine_keys(snapshot: Snapshot, env: Mapping[str, str]) -> Sequence[Finding]:
    """Examine which keys are on. Where none is, keys are generated at the start, and that is sound."""
    unreadable: dict[str, str] = {}

    def is_on(key: KeySpec) -> bool:
        try:
            return bool(key.sha256 or (key.env and env.get(key.env)))
        except SecretUnreadable as error:
            unreadable[key.name] = str(error)
            return True

    on = [key for key in snapshot.keys if is_on(key)]
    found: list[Finding] = []
    for key in snapshot.keys:
        where = str(snapshot.key_positions[key.name])
        subject = f"key {key.name}"
        if key.name in unreadable:
            found.append(Finding(where=where, subject=subject, sound=False, message=unreadable[key.name]))
        elif key in on:
            found.append(Finding(where=where, subject=subject, sound=True, message=f"on, role {key.role}"))
        elif on:
            words = f"off: set {key.env} (or {key.env}_FILE), or remove the key"
            found.append(Finding(where=where, subject=subject, sound=False, message=words))
        else:
            words = f"{key.env} is not set; no key is, so one is generated at the start"
            found.append(Finding(where=where, subject=subject, sound=True, message=words))
    return found
