"""Prometheus' alerts and Grafana's dashboard: their metrics and labels exist, and each alert fires where it should."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from jsonschema import Draft7Validator
from support.environments import node, node_environment, program, python_environment
from support.facade import write_configs
from support.gateway import ADMIN_KEY, gateway
from support.images import DEPLOY, ROOT
from support.processes import direct_opener, free_port, running
from support.scripted_model import Answer, Body, Call, ScriptedModel
from support.tool_server import Tools

from scripts.reference.metrics import find_metrics

HERE = Path(__file__).parent
RULES = DEPLOY / "prometheus" / "alerts.yml"
ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "interlock.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
PROMETHEUS_OWN = {"job", "instance", "le", "alertname", "alertstate"}
"""Labels that Prometheus adds."""
VARIABLES = {"$__rate_interval": "1m", "$graph": ".*"}


def list_queries() -> Iterator[tuple[str, str]]:
    """Who asks, and what: alerts, panels, annotations and variables."""
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in PANELS:
        for target in panel.get("targets", []):
            yield panel["title"], fill_in(target["expr"])
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def fill_in(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


QUERIES = [pytest.param(query, id=f"{number}-{name}") for number, (name, query) in enumerate(list_queries())]


def find_series() -> Mapping[str, set[str]]:
    """The labels of every series that /metrics can have, from the program itself."""
    found: dict[str, set[str]] = {}
    for name, kind, _, labels in find_metrics():
        ends = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        found |= {name + end: {*labels} for end in ends}
    return found


SERIES = find_series()


@pytest.mark.parametrize("query", QUERIES)
def test_every_metric_and_label_of_a_query_is_one_of_interlock(query: str) -> None:
    labels = set[str]()
    for name, matchers in re.findall(r"\b((?:interlock_|up\b|ALERTS\b)\w*)(?:\{([^}]*)\})?", query):
        own = SERIES[name] if name.startswith("interlock_") else set[str]()
        labels |= own
        assert {*re.findall(r"(\w+)\s*(?:=|!)", matchers)} <= own | PROMETHEUS_OWN, name
    for names in re.findall(r"\bby \(([^)]*)\)", query):
        assert {*names.split(", ")} <= labels | PROMETHEUS_OWN


def test_the_names_and_labels_would_be_missed() -> None:
    with pytest.raises(KeyError):
        test_every_metric_and_label_of_a_query_is_one_of_interlock("rate(interlock_turns[5m])")
    with pytest.raises(AssertionError):
        test_every_metric_and_label_of_a_query_is_one_of_interlock('interlock_turns_total{state="failed"}')
    with pytest.raises(AssertionError):
        test_every_metric_and_label_of_a_query_is_one_of_interlock("sum by (grahp) (interlock_turns_total)")


def test_every_metric_is_on_the_dashboard() -> None:
    asked = " ".join(query for _, query in list_queries())
    # How many tasks a node sends out says something of one graph only.
    assert {name for name in SERIES if name not in asked and not name.endswith(("_sum", "_count", "_bucket"))} == set()
    assert {name for name in SERIES if name.endswith("_bucket") and name not in asked} == {
        "interlock_group_tasks_bucket",
        "interlock_http_request_seconds_bucket",
    }


def test_labels_in_legends_and_summaries_are_those_of_their_query() -> None:
    for panel in PANELS:
        for target in panel.get("targets", []):
            known = {name for names in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for name in names.split(", ")}
            assert {*re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])} <= known, panel["title"]
    for alert in ALERTS:
        known = {name for names in re.findall(r"\bby \(([^)]*)\)", alert["expr"]) for name in names.split(", ")}
        assert {*re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"])} <= known, alert["alert"]


def run_promtool(*words: str | Path) -> str:
    done = subprocess.run(
        [program("promtool", "install Debian's package prometheus"), *words],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_its_configuration_with_the_rules() -> None:
    assert f"{len(ALERTS)} rules found" in run_promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")


def test_every_alert_fires_where_it_should_and_only_there() -> None:
    run_promtool("test", "rules", HERE / "alerts.test.yaml")
    cases = [
        case
        for test in yaml.safe_load((HERE / "alerts.test.yaml").read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    names = {alert["alert"] for alert in ALERTS}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == names


def test_every_alert_has_a_severity_a_sentence_and_a_line_for_who_is_called() -> None:
    page = (ROOT / "docs" / "guide" / "operations.md").read_text()
    lines = re.findall(r"(?m)^\| `(Interlock\w+)` \| .+ \|$", page)
    assert lines == [alert["alert"] for alert in ALERTS]
    for alert in ALERTS:
        assert alert["labels"]["severity"] in ("critical", "warning"), alert["alert"]
        assert len(alert["annotations"]["summary"]) > 20, alert["alert"]


def ask_prometheus(address: str, path: str) -> Any:
    with direct_opener().open(urllib.request.Request(f"{address}/api/v1/{path}"), timeout=10) as response:
        return json.load(response)["data"]


def call_once(body: Body) -> Answer | str:
    return "Done." if body["messages"][-1]["role"] == "tool" else Answer(calls=[Call("files__echo", {"text": "x"})])


def test_a_real_prometheus_evaluates_every_query_on_a_real_interlock(tools: Tools, tmp_path: Path) -> None:
    with ScriptedModel() as model:
        model.respond(call_once)
        configs = write_configs(tmp_path / "configs", model.url, {"files": {"url": tools.url}})
        with gateway(configs, tmp_path / "data") as served, served.client(ADMIN_KEY) as client:
            port = free_port()
            config = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
            config = config.replace("interlock:8080", served.root.removeprefix("http://")).replace("15s", "1s")
            (tmp_path / "prometheus.yml").write_text(config.replace("127.0.0.1:9090", f"127.0.0.1:{port}"))
            (tmp_path / "alerts.yml").write_text(RULES.read_text())
            words = [
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=tsdb",
                f"--web.listen-address=127.0.0.1:{port}",
            ]
            command = [program("prometheus", "install Debian's package prometheus"), *words]
            address = f"http://127.0.0.1:{port}"
            with running("Prometheus", command, tmp_path / "prometheus.log", cwd=tmp_path) as process:
                process.wait_for_url(f"{address}/-/ready")
                process.wait_for_json(f"{address}/api/v1/query?query=interlock_store_up", has_result)
                message: Any = {"role": "user", "content": "go"}
                client.chat.completions.create(model="assistant", messages=[message])
                # Only what comes after a counter's first sample is a rate.
                process.wait_for_json(f"{address}/api/v1/query?query=interlock_turns_total", has_result)
                client.chat.completions.create(model="assistant", messages=[message])
                late = quote('rate(interlock_turns_total{status="finished"}[1m]) > 0')
                process.wait_for_json(f"{address}/api/v1/query?query={late}", has_result)
                results = {
                    (name, query): ask_prometheus(address, f"query?query={quote(query)}")["result"]
                    for name, query in list_queries()
                }
                [group] = ask_prometheus(address, "rules")["groups"]
    empty = {name for (name, _), result in results.items() if not result}
    # What has not happened: failures, notifications, refusals; and where all is well, alerts.
    alerts = {alert["alert"] for alert in ALERTS}
    assert empty == {
        *alerts,
        "Mended by a graph",
        "Passed on to the model endpoint",
        "Notifications an hour",
        "Refused requests a minute",
        "Reloads",
        "Requests that fail",
        "Alerts that fire",
    }
    assert [(rule["name"], rule["health"], rule["state"]) for rule in group["rules"]] == [
        (alert["alert"], "ok", "inactive") for alert in ALERTS
    ]


def has_result(answer: dict[str, Any]) -> bool:
    return bool(answer["data"]["result"])


ROUND_TRIP = """
import json, sys
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
register_default_plugins()
print(JSONEncoder().encode(Dashboard.from_json(json.load(sys.stdin))))
"""


def find_lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """What Grafana's own model of a dashboard does not know, or reads as something else."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if value is not None:
                yield from find_lost(value, after.get(key), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from find_lost(one, other, f"{path}[{number}]")
    elif before != after and before not in ({}, []):
        yield f"{path}: {before!r} is read as {after!r}"


def pass_through_model(dashboard: Any) -> Any:
    python = python_environment("deploy-checks") / "bin" / "python"
    done = subprocess.run(
        [python, "-c", ROUND_TRIP], input=json.dumps(dashboard), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_grafanas_own_model_reads_all_of_the_dashboard() -> None:
    assert [*find_lost(DASHBOARD, pass_through_model(DASHBOARD))] == []
    broken = json.loads(json.dumps(DASHBOARD))
    broken["panels"][0]["targts"] = []
    broken["panels"][0]["options"]["colourMode"] = "value"
    broken["panels"][0]["targts"] = [1]
    lost = [*find_lost(broken, pass_through_model(broken))]
    assert [line.partition(":")[0] for line in lost] == [".panels[0].options.colourMode", ".panels[0].targts"]


def test_panels_have_numbers_of_their_own_a_place_and_a_description() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"], panel["title"]
        for target in panel.get("targets", []):
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel.get("targets", [])}) == len(panel.get("targets", []))


def test_grafana_finds_what_compose_gives_it() -> None:
    content = yaml.safe_load((DEPLOY / "compose.grafana.yaml").read_text())
    home = node_environment("dclint", node()) / "node_modules" / "dclint"
    schema = Draft7Validator(json.loads((home / "schemas" / "compose.schema.json").read_text()))
    assert [error.message for error in schema.iter_errors(content)] == []
    spec = content["services"]["grafana"]
    main = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for key in ("restart", "init", "read_only", "cap_drop", "security_opt", "logging"):
        assert spec[key] == main["x-service"][key], key
    assert {*spec["networks"]} <= main["networks"].keys()
    assert spec["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert spec["healthcheck"]["test"][0] == "CMD"
    mounts = dict(reversed(volume.removesuffix(":ro").split(":")) for volume in spec["volumes"])
    provisioning = DEPLOY / mounts["/etc/grafana/provisioning"]
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "sources" in main["services"]["prometheus"]["networks"]
    assert source["isDefault"], "the dashboard's variable begins with it"
    [provider] = yaml.safe_load((provisioning / "dashboards" / "interlock.yaml").read_text())["providers"]
    assert (DEPLOY / mounts[provider["options"]["path"]] / "interlock.json").is_file()
    [alert_list] = [panel for panel in PANELS if panel["type"] == "alertlist"]
    assert alert_list["options"]["datasource"] == source["name"]
