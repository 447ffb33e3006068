"""The real parts, each started once for all tests: LiteLLM, PostgreSQL, Prometheus and the MCP servers before them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.facade import ACCESS, ADMIN, ASSISTANT, write_configs
from support.gateway import ADMIN_KEY, Gateway, gateway
from support.litellm import LOOPS, LiteLLM, build_entry, litellm_proxy
from support.mcp_servers import CallsSince, RealServer, behind_mcp_proxy, dbhub, filesystem, prometheus_mcp_server
from support.official_clients import OfficialClient, PythonClient, node_client
from support.postgres import Postgres, postgres
from support.processes import free_port
from support.prometheus import prometheus
from support.scripted_model import ScriptedModel
from support.tool_server import Tools
from support.vendors import VENDORS, Vendors

HERE = Path(__file__).parent
MODELS = ("scripted", "scripted-large")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)
            # The first one on a machine installs what the tests run.
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def parts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="session")
def upstream() -> Iterator[ScriptedModel]:
    """The scripted endpoint behind LiteLLM."""
    with ScriptedModel(MODELS) as model:
        yield model


@pytest.fixture
def model(upstream: ScriptedModel) -> ScriptedModel:
    """The scripted endpoint behind LiteLLM, with no script and no memory."""
    upstream.reset()
    return upstream


@pytest.fixture(scope="session")
def vendors() -> Iterator[Vendors]:
    """The vendors behind LiteLLM."""
    with Vendors() as played:
        yield played


@pytest.fixture(scope="session")
def round_port() -> int:
    """The port to which LiteLLM's models `round-…` lead."""
    return free_port()


@pytest.fixture(scope="session")
def front_port() -> int:
    """The port to which LiteLLM's models `front-…` lead."""
    return free_port()


@pytest.fixture(scope="session")
def litellm_starting(
    upstream: ScriptedModel, vendors: Vendors, round_port: int, front_port: int, parts_folder: Path
) -> Iterator[LiteLLM]:
    """LiteLLM on its way up, which takes a while: ask for this first, then for the others, then for `litellm`. Only to
    its models `front-…` it hands on the headers of its clients."""
    here, front = (f"http://127.0.0.1:{port}/v1" for port in (round_port, front_port))
    fronts = {"front-assistant": "assistant", "front-circle": "circle", "front-round": "circle"}
    entries = [
        *(build_entry(name, model, f"{vendors.url}{path}") for name, (model, path) in VENDORS.items()),
        *(build_entry(f"round-{name}", f"{name}/circle-{name}", here, api_key=ADMIN_KEY) for name in LOOPS),
        *(build_entry(name, f"openai/{graph}", front, api_key=ADMIN) for name, graph in fronts.items()),
        build_entry("broken", "openai/broken", f"http://127.0.0.1:{free_port()}/v1"),
        build_entry("own-headers", "openai/scripted", upstream.url, extra_headers={"x-team": "a"}),
        build_entry("openai/*", "openai/*", upstream.url),
        build_entry("here/*", "openai/*", here, api_key=ADMIN_KEY),
        {**build_entry("embedder", "openai/embedder", upstream.url), "model_info": {"mode": "embedding"}},
        {"model_name": "vectors", "litellm_params": {"model": "openai/text-embedding-3-small", "api_key": "none"}},
    ]
    with litellm_proxy(upstream.url, MODELS, parts_folder, entries=entries, forwards=list(fronts)) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def litellm(litellm_starting: LiteLLM) -> LiteLLM:
    litellm_starting.wait()
    return litellm_starting


@pytest.fixture(scope="session")
def database(parts_folder: Path) -> Iterator[Postgres]:
    """A real PostgreSQL with a table of customers."""
    with postgres(parts_folder / "postgres.log") as server:
        server.query("CREATE TABLE customers (id int PRIMARY KEY, name text, country text)")
        server.query("INSERT INTO customers SELECT n, 'c' || n, 'Norway' FROM generate_series(1, 1307) n")
        yield server


@pytest.fixture(scope="session")
def metrics(parts_folder: Path) -> Iterator[str]:
    """The address of a real Prometheus that knows `harbour_load`."""
    with prometheus(parts_folder, {"harbour_load": 62.375}) as address:
        yield address


@pytest.fixture(scope="session")
def filesystem_server(parts_folder: Path) -> RealServer:
    return filesystem(parts_folder)


@pytest.fixture(scope="session")
def monitoring_server(metrics: str, parts_folder: Path) -> RealServer:
    return prometheus_mcp_server(parts_folder, metrics)


@pytest.fixture(scope="session")
def postgres_server(database: Postgres, parts_folder: Path) -> Iterator[RealServer]:
    """Behind mcp-proxy, over HTTP."""
    with behind_mcp_proxy("postgres", dbhub(parts_folder, database.url), parts_folder) as server:
        yield server


@pytest.fixture(scope="session")
def servers(
    litellm_starting: LiteLLM,
    filesystem_server: RealServer,
    postgres_server: RealServer,
    monitoring_server: RealServer,
) -> dict[str, RealServer]:
    """By the names that servers.yaml gives them; LiteLLM starts meanwhile."""
    return {"filesystem": filesystem_server, "postgres": postgres_server, "monitoring": monitoring_server}


@pytest.fixture(scope="session")
def interlock(servers: dict[str, RealServer], litellm: LiteLLM, parts_folder: Path) -> Iterator[Gateway]:
    """`interlock serve` with tests/integration/configs, between the real LiteLLM and the three real servers."""
    configs = parts_folder / "configs"
    shutil.copytree(HERE / "configs", configs)
    entries = {name: dict(server.entry) for name, server in servers.items()}
    (configs / "servers.yaml").write_text(json.dumps({"mcpServers": entries}, indent=2))  # JSON is YAML
    env = {
        "LITELLM_BASE_URL": litellm.url,
        "LITELLM_API_KEY": litellm.key,
        "INTERLOCK_MODEL": MODELS[0],
        "HARBOUR_WORKSPACE": servers["filesystem"].facts["workspace"],
    }
    with gateway(configs, parts_folder / "data", env) as served:
        yield served


@pytest.fixture
def calls(servers: dict[str, RealServer]) -> CallsSince:
    """What reached the servers since the test began."""
    return CallsSince(servers)


@pytest.fixture(scope="session")
def direct(upstream: ScriptedModel, tools_process: Tools, parts_folder: Path) -> Iterator[Gateway]:
    """`interlock serve` right before the scripted endpoint, with the tests' own MCP server as `files`.

    The developer may not use the graph `private`.
    """
    access = {**ACCESS, "roles": {**ACCESS["roles"]}}
    access["roles"]["developer"] = {**access["roles"]["developer"], "graphs": ["assistant"]}
    configs = write_configs(
        parts_folder / "direct-configs",
        upstream.url,
        {"files": {"url": tools_process.url}},
        access=access,
        graphs={"assistant": ASSISTANT, "private": ASSISTANT},
    )
    with gateway(configs, parts_folder / "direct-data") as served:
        yield served


@pytest.fixture(scope="session", params=["python", "node"])
def client(
    request: pytest.FixtureRequest, direct: Gateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OfficialClient]:
    """Each official client in turn, at `direct`."""
    if request.param == "python":
        yield PythonClient(direct.url)
    else:
        with node_client(direct.url, tmp_path_factory.mktemp("openai-node")) as connected:
            yield connected
