"""The graphs being served: the current edition, the swap to the next one when files change, and the end of the last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from graphs.config.environment import Environment
from graphs.config.loader import Snapshot, load
from graphs.config.watcher import saves
from graphs.errors import ConfigError, Problem, StorageError
from graphs.expressions import Evaluator
from graphs.llm.client import ChatModel
from graphs.policy.rules import Caller
from graphs.runtime import approvals as decisions
from graphs.runtime.revision import Edition
from graphs.runtime.runner import Runner
from graphs.store.approval import Approval, ApprovalStatus, Decision
from graphs.store.store import Store
from graphs.telemetry.instrument import Seeing
from graphs.telemetry.metrics import Metrics
from graphs.telemetry.tracing import Tracing
from graphs.tools.registry import Toolbox
from graphs.tools.shared import Connections

log = logging.getLogger(__name__)

SERVERS_PATIENCE = 5.0
"""Seconds that a start, or a reload, waits for MCP servers; the slower ones join when they are up."""

DescribeServer = Callable[[Snapshot, Toolbox, str], Awaitable[Sequence[str]]]
"""What the log says of a server that came up: its lines."""

Attach = Callable[[Snapshot], object]
"""Makes what the facade swaps together with a snapshot. Raises ConfigError where the snapshot cannot be served."""


class Library:
    """What is served. Open it with `opened()`."""

    def __init__(
        self,
        store: Store,
        *,
        storage: str,
        demo: Callable[[], Awaitable[str]],
        attach: Attach,
        tracing: Tracing,
        describe_server: DescribeServer | None,
    ) -> None:
        self.store = store
        self.problems: tuple[Problem, ...] = ()
        """What is wrong with the files as they were last saved, while an older snapshot goes on serving."""
        self._storage = storage
        self._demo = demo
        self._attach = attach
        self._describe_server = describe_server
        self.metrics = Metrics()
        self.evaluator = Evaluator()
        self.tracing = tracing
        self._connections = Connections(changed=self._servers_changed)
        self._current: Edition | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._described: set[str] = set()
        """Servers of the current snapshot of which the log says what each role may do."""
        self._describing: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        self.runner = Runner(
            store,
            lambda name: self.current.served.get(name),
            lambda graph, model, caller: self.current.may_use(graph, model, caller),
            Seeing(self.metrics, tracing),
        )

    @property
    def current(self) -> Edition:
        """The newest edition. A request takes it once, holds its lease, and uses it throughout."""
        if self._current is None:
            raise RuntimeError("the library is used before its first snapshot")
        return self._current

    async def serve(self, snapshot: Snapshot) -> None:
        """Makes `snapshot` the current one as a whole. Turns under way end on the edition on which they began.

        Raises ConfigError where it cannot take the place of the one before; then nothing has changed.
        """
        before = self._current
        self._refuse_other_storage(snapshot)
        attached = self._attach(snapshot)
        models = snapshot.gateway.models
        base_url = models.base_url or await self._demo()
        async with AsyncExitStack() as stack:
            model = ChatModel(
                base_url,
                models.api_key,
                silence=models.timeout,
                longest=models.max_answer,
                redaction=snapshot.redaction,
            )
            stack.push_async_callback(model.close)
            toolbox = Toolbox(snapshot.servers, snapshot.fillings, connections=self._connections)
            stack.push_async_callback(toolbox.close)
            await toolbox.start()
            await toolbox.ready(SERVERS_PATIENCE)
            # Compiling takes milliseconds for each graph: not on the loop that turns are streaming on.
            edition = await asyncio.to_thread(
                Edition, snapshot, toolbox, model, self.store, self.metrics, self.evaluator, attached
            )
            stack.pop_all()
        self._current = edition
        self._described = set()
        self._servers_changed()
        if before is not None:
            task = asyncio.create_task(retire(before), name=f"retire snapshot {before.snapshot.id}")
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def reload(self, env: Mapping[str, str]) -> None:
        """Serves the files as they are now if all is well with them; else nothing changes and `problems` says why."""
        async with self._reloading:
            folder = self.current.snapshot.folder
            try:
                snapshot = await asyncio.to_thread(load, folder, env)
                before = self.current.snapshot
                if (snapshot.id, snapshot.secrets) != (before.id, before.secrets):
                    await self.serve(snapshot)
                    self.metrics.reloaded("ok")
                    what = "configs" if snapshot.id != before.id else "secrets"
                    log.info("%s changed: snapshot %s is served now", what, snapshot.id)
                elif self.problems:
                    log.info("configs are sound again: snapshot %s stays", snapshot.id)
                self.problems = ()
            except ConfigError as error:
                self.problems = tuple(error.problems)
                self.metrics.reloaded("failed")
                log.error(  # noqa: TRY400  the traceback would only hide the lines that the person must mend
                    "configs changed, but cannot be served; snapshot %s goes on:\n%s", self.current.snapshot.id, error
                )

    async def reload_forever(self, env: Mapping[str, str]) -> None:
        """Reloads whenever a config file, or that of a secret, was saved. The outermost layer of its own task."""
        snapshot = self.current.snapshot
        secrets = env.opened if isinstance(env, Environment) else None
        async for _ in saves(snapshot.folder, snapshot.signature, secrets):
            try:
                await self.reload(env)
            except Exception:
                self.metrics.reloaded("failed")
                log.exception("configs changed, but the reload failed; snapshot %s goes on", self.current.snapshot.id)

    async def close(self) -> None:
        """Ends turns under way, then every edition with its servers."""
        await self.runner.close()
        if self._describing:
            await asyncio.wait(self._describing)
        if self._retiring:
            await asyncio.wait(self._retiring)
        if self._current is not None:
            await shut(self._current)
        await self.evaluator.close()

    async def approvals(self, caller: Caller, owner: str, status: ApprovalStatus | None) -> tuple[Approval, ...]:
        """What this caller asked for, and what waits for its role; newest first."""
        role = caller.role if caller.is_a(caller.role) else None
        return await self.store.approvals.list(status, owner=owner, approver=role)

    async def approval(self, approval_id: str, caller: Caller, owner: str) -> Approval:
        """One of them. Raises NotFound, or NotAllowed where it is somebody else's."""
        return await decisions.known(self.store, approval_id, caller, owner)

    async def decide(self, approval_id: str, decision: Decision, caller: Caller, owner: str, note: str) -> Approval:
        """Decides one. Raises NotFound, NotAllowed, AlreadyDecided or Expired."""
        return await decisions.by_api(self.store, approval_id, decision, caller, owner, note)

    async def readiness(self) -> dict[str, Any]:
        """The state of everything, as `GET /ready` shows it (DESIGN, READY)."""
        trouble, state = await asyncio.gather(self.store.trouble(), self.current.readiness())
        if trouble is not None:
            state["status"] = "failed"
        elif self.problems and state["status"] == "ok":
            state["status"] = "degraded"
        state["storage"] = {"status": "ok" if trouble is None else "failed", "reason": trouble}
        return {**state, "problems": [str(problem) for problem in self.problems]}

    async def scraped(self, accept: str) -> tuple[bytes, str]:
        """The metrics page and its content type, in the form that the `Accept` header asks for."""
        try:
            approvals: Mapping[str, int] = {**await self.store.approvals.counts()}
        except StorageError as error:  # what else is known is wanted all the more
            log.warning("approvals are left out of /metrics: %s", error)
            approvals = {}
        return self.metrics.page(accept, approvals)

    async def prune_forever(self) -> None:
        """Deletes what is older than the retention, once an hour."""
        while True:
            kept = self.current.snapshot.gateway.retention
            try:
                await self.store.prune(conversations=kept.conversations, audit=kept.audit)
            except StorageError as error:
                log.warning("what is old could not be deleted, which is tried again in an hour: %s", error)
            await asyncio.sleep(3600)

    def _servers_changed(self) -> None:
        if self._current is not None:
            status = self._current.toolbox.status()
            self.metrics.servers({name: entry.status == "up" for name, entry in status.items()})
            for name, entry in status.items():
                if entry.status == "up" and entry.tools and name not in self._described:
                    self._described.add(name)
                    task = asyncio.create_task(self._describe(self._current, name), name=f"describe {name}")
                    self._describing.add(task)
                    task.add_done_callback(self._describing.discard)

    async def _describe(self, edition: Edition, server: str) -> None:
        """Says in the log what each role may do with the tools of a server that came up."""
        if self._describe_server is not None:
            for line in await self._describe_server(edition.snapshot, edition.toolbox, server):
                log.info("%s", line)

    def _refuse_other_storage(self, snapshot: Snapshot) -> None:
        wanted = self._storage or snapshot.gateway.storage
        if self._current is not None and wanted != (self._storage or self._current.snapshot.gateway.storage):
            file, line, column = snapshot.places["storage"].rsplit(":", 2)
            message = "the storage of a running Interlock cannot be changed; restart it to use this one"
            raise ConfigError([Problem(file, int(line), int(column), message)])


async def retire(edition: Edition) -> None:
    """Closes an edition once its last turn has ended."""
    await edition.lease.ended()
    await shut(edition)


async def shut(edition: Edition) -> None:
    """Closes an edition's servers and its way to the model."""
    await edition.toolbox.close()
    await edition.model.close()


async def nothing_to_demonstrate() -> str:
    """The endpoint of a demo model that is not there."""
    return ""


@asynccontextmanager
async def opened(
    snapshot: Snapshot,
    *,
    storage: str,
    data: Path,
    demo: Callable[[], Awaitable[str]] = nothing_to_demonstrate,
    attach: Attach = lambda _: None,
    reload_with: Mapping[str, str] | None = None,
    tracing: Tracing | None = None,
    describe_server: DescribeServer | None = None,
    may_block: bool = True,
) -> AsyncGenerator[Library]:
    """A library with its MCP servers, store and model endpoint; all are closed at the end.

    `demo` gives the endpoint to use where the gateway file names none (the demo model). With `reload_with`, the
    environment that config files read, the folder is watched and reloaded. `describe_server` makes lines for the log
    of each server that comes up. `may_block` is the store's. Raises InterlockError when the store cannot be opened.
    """
    async with AsyncExitStack() as stack:
        store = await Store.open(storage or snapshot.gateway.storage, data, may_block=may_block)
        stack.push_async_callback(store.close)
        library = Library(
            store,
            storage=storage,
            demo=demo,
            attach=attach,
            tracing=tracing or Tracing(),
            describe_server=describe_server,
        )
        stack.push_async_callback(library.close)
        await library.serve(snapshot)
        tasks = [asyncio.create_task(library.prune_forever(), name="prune")]
        if reload_with is not None:
            tasks.append(asyncio.create_task(library.reload_forever(reload_with), name="reload"))
        for task in tasks:
            stack.push_async_callback(ended, task)
        yield library


async def ended(task: asyncio.Task[None]) -> None:
    """Cancels a task and waits for its end."""
    task.cancel()
    await asyncio.wait([task])


def settled_environment(env: Mapping[str, str], data: Path) -> Environment:
    """The environment that config files read: secrets may be in files (`NAME_FILE`), and the data folder is absolute,
    because servers run elsewhere."""
    return Environment({**env, "INTERLOCK_DATA": str(data.resolve())})
