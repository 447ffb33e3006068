"""What a case runs with: the model and the MCP servers, scripted or real."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from graphs.config.graph_plan import GraphPlan
from graphs.config.loader import Snapshot
from graphs.config.spec.base import Spec
from graphs.config.spec.node import RetrySpec
from graphs.llm.client import ChatModel
from graphs.testing.live import LiveServices
from graphs.testing.model import ScriptedModel
from graphs.testing.recorder import CaseRecorder, RecordedModel
from graphs.testing.script import ServiceScript
from graphs.testing.servers import build_server_specs, build_tool_registry
from graphs.tools.registry import ToolRegistry
from graphs.tools.result_log import listen_to_results

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class CaseServices:
    """The services of one case."""

    snapshot: Snapshot
    tool_registry: ToolRegistry
    model: ChatModel


@asynccontextmanager
async def open_scripted_services(script: ServiceScript, snapshot: Snapshot) -> AsyncGenerator[CaseServices]:
    """Open a model and servers that say what the script says. Nothing leaves the process."""
    servers = build_server_specs(script, snapshot)
    registry = build_tool_registry(script, servers)
    model = ScriptedModel(script)
    try:
        await registry.start()
        await registry.wait_ready()
        yield CaseServices(
            snapshot=replace(
                snapshot,
                servers={**snapshot.servers, **servers},
                server_templates={},
                graphs={name: drop_plan_waits(plan) for name, plan in snapshot.graphs.items()},
            ),
            tool_registry=registry,
            model=model,
        )
    finally:
        await registry.close()
        await model.close()


def drop_plan_waits(plan: GraphPlan) -> GraphPlan:
    """Copy a graph, and those that it runs, without the times that they wait between two attempts: what a script says
    does not recover in the meantime."""
    subgraphs = {name: drop_plan_waits(each) for name, each in plan.subgraphs.items()}
    return replace(plan, spec=drop_waits(plan.spec), subgraphs=subgraphs)


def drop_waits(value: Value) -> Value:
    """Copy a part of a graph file without these times."""
    match value:
        case RetrySpec():
            return cast("Value", value.model_copy(update={"wait": 0.0}))
        case Spec():
            return cast("Value", value.model_copy(update={name: drop_waits(each) for name, each in value}))
        case dict():
            items = cast("dict[str, object]", value).items()
            return cast("Value", {key: drop_waits(each) for key, each in items})
        case _:
            return value


@asynccontextmanager
async def open_live_services(
    live: LiveServices, snapshot: Snapshot, recorder: CaseRecorder
) -> AsyncGenerator[CaseServices]:
    """Open the real model for one case, beside the servers that all cases share, and note what both say."""
    model = RecordedModel(snapshot, live.base_url, recorder)
    try:
        with listen_to_results(recorder.add_result):
            yield CaseServices(snapshot=snapshot, tool_registry=live.tool_registry, model=model)
    finally:
        await model.close()
