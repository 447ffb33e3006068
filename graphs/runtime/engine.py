"""Serve graphs: the current revision, the swap to the next when files change, and the end of the last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic

from graphs.config.environment import Environment
from graphs.config.loader import Snapshot, load
from graphs.config.watcher import watch_saves
from graphs.errors import ConfigError, Problem, StorageError
from graphs.expressions import Evaluator
from graphs.llm.client import ChatModel
from graphs.llm.own_address import OwnAddress
from graphs.nodes.result_cache import ResultCache
from graphs.notifications.worker import NotificationWorker
from graphs.policy.rules import Caller
from graphs.runtime import approvals as decisions
from graphs.runtime.questions import NodeQuestion, QuestionStatus
from graphs.runtime.revision import Attachment, Revision
from graphs.runtime.runner import Runner
from graphs.store.approvals import Approval, ApprovalDecision, ApprovalStatus
from graphs.store.store import Store
from graphs.telemetry.instrument import Instrumentation
from graphs.telemetry.metrics import Metrics
from graphs.telemetry.store_figures import StoreFigures
from graphs.telemetry.tracing import Tracing
from graphs.tools.registry import ToolRegistry
from graphs.tools.shared import SharedConnections

log = logging.getLogger(__name__)

SERVERS_PATIENCE = 5.0
"""Seconds that a start, or a reload, waits for MCP servers; the slower ones join when they are up."""

DescribeServer = Callable[[Snapshot, ToolRegistry, str], Awaitable[Sequence[str]]]
"""What the log says of a server that came up: its lines."""


class Engine(Generic[Attachment]):
    """Everything that is served. Open it with `open_engine()`."""

    def __init__(
        self,
        store: Store,
        *,
        storage: str,
        demo: Callable[[], Awaitable[str]],
        attach: Callable[[Snapshot], Attachment],
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
        self.own_address = OwnAddress()
        self._result_cache = ResultCache()
        self.tracing = tracing
        self._connections = SharedConnections(on_change=self._update_servers)
        self._current_revision: Revision[Attachment] | None = None
        self._retire_tasks: set[asyncio.Task[None]] = set()
        self._described_servers: set[str] = set()
        """Servers of the current snapshot of which the log says what each role may do."""
        self._describe_tasks: set[asyncio.Task[None]] = set()
        self._reload_lock = asyncio.Lock()
        self.runner = Runner(
            store,
            lambda name: self.current_revision.served_graphs.get(name),
            lambda graph, model, caller: self.current_revision.may_use(graph, model, caller),
            Instrumentation(self.metrics, tracing),
        )

    @property
    def current_revision(self) -> Revision[Attachment]:
        """The newest revision. A request takes it once, holds it while it lasts, and uses it throughout."""
        if self._current_revision is None:
            raise RuntimeError("the engine is used before its first snapshot")
        return self._current_revision

    async def serve(self, snapshot: Snapshot) -> None:
        """Make `snapshot` the current one as a whole. Turns under way end on the revision on which they began.

        Raises ConfigError where it cannot take the place of the one before; then nothing has changed.
        """
        before = self._current_revision
        self._refuse_other_storage(snapshot)
        attachment = self._attach(snapshot)
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
            tool_registry = ToolRegistry(snapshot.servers, snapshot.server_templates, connections=self._connections)
            stack.push_async_callback(tool_registry.close)
            await tool_registry.start()
            await asyncio.gather(tool_registry.wait_ready(SERVERS_PATIENCE), model.find_address())
            # Compiling takes milliseconds for each graph: not on the loop that turns are streaming on.
            revision = await asyncio.to_thread(
                Revision,
                snapshot,
                tool_registry,
                model,
                self.store,
                self.metrics,
                self.evaluator,
                attachment,
                self.own_address,
                result_cache=self._result_cache,
            )
            stack.pop_all()
        self._current_revision = revision
        self._described_servers = set()
        self._update_servers()
        if before is not None:
            task = asyncio.create_task(retire(before), name=f"retire snapshot {before.snapshot.id}")
            self._retire_tasks.add(task)
            task.add_done_callback(self._retire_tasks.discard)

    async def reload(self, env: Mapping[str, str]) -> None:
        """Serve the files as they are now if all is well with them; else nothing changes and `problems` says why."""
        async with self._reload_lock:
            folder = self.current_revision.snapshot.folder
            try:
                snapshot = await asyncio.to_thread(load, folder, env)
                before = self.current_revision.snapshot
                if (snapshot.id, snapshot.secrets_digest) != (before.id, before.secrets_digest):
                    await self.serve(snapshot)
                    self.metrics.count_reload("ok")
                    what = "configs" if snapshot.id != before.id else "secrets"
                    log.info("%s changed: snapshot %s is served now", what, snapshot.id)
                elif self.problems:
                    log.info("configs are sound again: snapshot %s stays", snapshot.id)
                self.problems = ()
            except ConfigError as error:
                self.problems = tuple(error.problems)
                self.metrics.count_reload("failed")
                log.error(  # noqa: TRY400  the traceback would only hide the lines that the person must mend
                    "configs changed, but cannot be served; snapshot %s goes on:\n%s",
                    self.current_revision.snapshot.id,
                    error,
                )

    async def reload_forever(self, env: Mapping[str, str]) -> None:
        """Reload whenever a config file, or that of a secret, was saved. The outermost layer of its own task."""
        snapshot = self.current_revision.snapshot
        secrets = env.secret_files if isinstance(env, Environment) else None
        async for _ in watch_saves(snapshot.folder, snapshot.signature, secrets):
            try:
                await self.reload(env)
            except Exception:
                self.metrics.count_reload("failed")
                log.exception(
                    "configs changed, but the reload failed; snapshot %s goes on", self.current_revision.snapshot.id
                )

    async def close(self) -> None:
        """End turns under way, then every revision with its servers."""
        await self.runner.close()
        if self._describe_tasks:
            await asyncio.wait(self._describe_tasks)
        if self._retire_tasks:
            await asyncio.wait(self._retire_tasks)
        if self._current_revision is not None:
            await close_revision(self._current_revision)
        await self.evaluator.close()

    async def list_approvals(self, caller: Caller, owner: str, status: ApprovalStatus | None) -> tuple[Approval, ...]:
        """List what this caller asked for, and what waits for its role; newest first."""
        role = caller.role if caller.has_role(caller.role) else None
        return await self.store.approvals.list(status, owner=owner, approver=role)

    async def find_approval(self, approval_id: str, caller: Caller, owner: str) -> Approval:
        """Find an approval. Raises NotFound, or NotAllowed where it is somebody else's."""
        return await decisions.find_approval(self.store, approval_id, caller, owner)

    async def decide(
        self, approval_id: str, decision: ApprovalDecision, caller: Caller, owner: str, note: str
    ) -> Approval:
        """Decide an approval. Raises NotFound, NotAllowed, AlreadyDecided or Expired."""
        return await decisions.decide_by_api(self.store, approval_id, decision, caller, owner, note)

    async def list_questions(
        self, caller: Caller, owner: str, status: QuestionStatus | None
    ) -> tuple[NodeQuestion, ...]:
        """List the questions of this caller's turns, and those for its role; newest first."""
        role = caller.role if caller.has_role(caller.role) else None
        return await self.store.questions.list(status, owner, role=role)

    async def check_readiness(self) -> dict[str, Any]:
        """Return the state of everything, as `GET /ready` shows it (docs/ARCHITECTURE.md, "Readiness")."""
        trouble, state = await asyncio.gather(self.store.find_trouble(), self.current_revision.check_readiness())
        if trouble is not None:
            state["status"] = "failed"
        elif self.problems and state["status"] == "ok":
            state["status"] = "degraded"
        state["storage"] = {"status": "ok" if trouble is None else "failed", "reason": trouble}
        return {**state, "problems": [str(problem) for problem in self.problems]}

    async def render_metrics(self, accept: str) -> tuple[bytes, str]:
        """Render the metrics page in the form that the `Accept` header asks for, with its content type."""
        return self.metrics.render_page(accept, await self._read_store_figures())

    async def _read_store_figures(self) -> StoreFigures:
        figures = StoreFigures(is_up=await self.store.find_trouble() is None, free_bytes=self.store.count_free_bytes())
        try:
            counts, oldest = await self.store.approvals.count_by_status(), await self.store.approvals.find_oldest_wait()
        except StorageError as error:  # what else is known is wanted all the more
            log.warning("approvals are left out of /metrics: %s", error)
            return figures
        return replace(figures, approvals={**counts}, oldest_approval=oldest)

    async def prune_forever(self) -> None:
        """Delete what is older than the retention, once an hour."""
        while True:
            snapshot = self.current_revision.snapshot
            kept = snapshot.gateway.retention
            memories = {name: plan.spec.memory.ttl for name, plan in snapshot.graphs.items() if plan.spec.memory}
            try:
                await self.store.prune(conversations=kept.conversations, audit=kept.audit, memories=memories)
            except StorageError as error:
                log.warning("what is old could not be deleted, which is tried again in an hour: %s", error)
            await asyncio.sleep(3600)

    async def notify_forever(self) -> None:
        """Send what people are to hear of, by the newest snapshot."""
        await NotificationWorker(self.store, self.metrics, lambda: self.current_revision.snapshot).run()

    def _update_servers(self) -> None:
        if self._current_revision is not None:
            status = self._current_revision.tool_registry.get_status()
            self.metrics.set_servers_up({name: entry.status == "up" for name, entry in status.items()})
            for name, entry in status.items():
                if entry.status == "up" and entry.tools and name not in self._described_servers:
                    self._described_servers.add(name)
                    task = asyncio.create_task(
                        self._log_coverage(self._current_revision, name), name=f"describe {name}"
                    )
                    self._describe_tasks.add(task)
                    task.add_done_callback(self._describe_tasks.discard)

    async def _log_coverage(self, revision: Revision[Attachment], server: str) -> None:
        """Say in the log what each role may do with the tools of a server that came up."""
        if self._describe_server is not None:
            for line in await self._describe_server(revision.snapshot, revision.tool_registry, server):
                log.info("%s", line)

    def _refuse_other_storage(self, snapshot: Snapshot) -> None:
        wanted = self._storage or snapshot.gateway.storage
        if self._current_revision is not None and wanted != (
            self._storage or self._current_revision.snapshot.gateway.storage
        ):
            position = snapshot.storage_position
            message = "the storage of a running Interlock cannot be changed; restart it to use this one"
            raise ConfigError([Problem(position.file, position.line, position.column, message)])


async def retire(revision: Revision[object]) -> None:
    """Close a revision once its last turn has ended."""
    await revision.in_flight.wait_drained()
    await close_revision(revision)


async def close_revision(revision: Revision[object]) -> None:
    """Close a revision's servers and its way to the model."""
    await revision.tool_registry.close()
    await revision.model.close()


async def provide_no_demo() -> str:
    """Return no endpoint: there is no demo model."""
    return ""


@asynccontextmanager
async def open_engine(
    snapshot: Snapshot,
    *,
    storage: str,
    data: Path,
    demo: Callable[[], Awaitable[str]] = provide_no_demo,
    attach: Callable[[Snapshot], Attachment],
    reload_with: Mapping[str, str] | None = None,
    tracing: Tracing | None = None,
    describe_server: DescribeServer | None = None,
    may_block: bool = True,
    notifies: bool = True,
) -> AsyncGenerator[Engine[Attachment]]:
    """Open an engine with its MCP servers, store and model endpoint; all are closed at the end.

    `attach` makes what is swapped together with each snapshot; it raises ConfigError where that cannot be served.
    `demo` gives the endpoint to use where the gateway file names none (the demo model). With `reload_with`, the
    environment that config files read, the folder is watched and reloaded. `describe_server` makes lines for the log
    of each server that comes up. `may_block` is the store's. `notifies`: notifications are sent from here. Raises
    InterlockError when the store cannot be opened.
    """
    async with AsyncExitStack() as stack:
        store = await Store.open(storage or snapshot.gateway.storage, data, may_block=may_block)
        stack.push_async_callback(store.close)
        await store.learn_cuts()
        engine = Engine(
            store,
            storage=storage,
            demo=demo,
            attach=attach,
            tracing=tracing or Tracing(),
            describe_server=describe_server,
        )
        stack.push_async_callback(engine.close)
        await engine.serve(snapshot)
        tasks = [asyncio.create_task(engine.prune_forever(), name="prune")]
        if notifies:
            tasks.append(asyncio.create_task(engine.notify_forever(), name="notify"))
        if reload_with is not None:
            tasks.append(asyncio.create_task(engine.reload_forever(reload_with), name="reload"))
        for task in tasks:
            stack.push_async_callback(cancel_and_wait, task)
        yield engine


async def cancel_and_wait(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.wait([task])
