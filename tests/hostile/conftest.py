"""A gateway as people start it, for those who try to bring it down.

These tests run by themselves (`make hostile`), one at a time: they measure memory and how long `/health` takes, which
others beside them would disturb.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.facade import write_configs
from support.gateway import Gateway, gateway
from support.scripted_model import ScriptedModel
from support.tool_server import Tools

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.hostile)


@pytest.fixture
def endpoint() -> Iterator[ScriptedModel]:
    """The scripted model, in a thread of its own: the gateway is another process."""
    with ScriptedModel() as model:
        yield model


@pytest.fixture
def attacked(tmp_path: Path, endpoint: ScriptedModel, tools: Tools) -> Iterator[Gateway]:
    """`interlock serve` with the scripted model and one MCP server, `files`."""
    folder = write_configs(tmp_path / "configs", endpoint.url, {"files": {"url": tools.url}})
    with gateway(folder, tmp_path / "data") as running:
        yield running
