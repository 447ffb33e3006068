"""The Kubernetes manifests: valid by Kubernetes' own schemas, closed as its restricted standard wants, isolated too."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.composefile import Service, read
from support.environments import python_environment
from support.images import DEPLOY

Manifest = dict[str, Any]
KUSTOMIZATION: Manifest = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
PORTS = {
    "open-webui": 8080,
    "interlock": 8080,
    "litellm": 4000,
    "mcp-proxy": 8585,
    "postgres": 5432,
    "prometheus": 9090,
}
REACHES = {
    ("open-webui", "interlock"),
    ("prometheus", "interlock"),
    ("interlock", "litellm"),
    ("interlock", "mcp-proxy"),
    ("interlock", "postgres"),
    ("mcp-proxy", "postgres"),
    ("mcp-proxy", "prometheus"),
    ("backup", "postgres"),
}


def manifests() -> Iterator[Manifest]:
    for name in KUSTOMIZATION["resources"]:
        yield from yaml.safe_load_all((DEPLOY / name).read_text())


def of_kind(*kinds: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in manifests() if one["kind"] in kinds}


WORKLOADS = of_kind("Deployment", "StatefulSet", "CronJob")


def pod_of(name: str) -> Manifest:
    spec = WORKLOADS[name]["spec"]
    return (spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec)["template"]["spec"]


def container(name: str) -> Manifest:
    [one] = pod_of(name)["containers"]
    return one


def test_every_manifest_is_valid_by_kubernetes_own_schemas(tmp_path: Path) -> None:
    validate = python_environment("deploy-checks") / "bin" / "kubernetes-validate"
    files = [DEPLOY / name for name in KUSTOMIZATION["resources"]]
    said = subprocess.run([validate, "--strict", *files], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr

    broken = tmp_path / "broken.yaml"
    broken.write_text((DEPLOY / "kubernetes" / "interlock.yaml").read_text().replace("replicas:", "replica:"))
    assert subprocess.run([validate, "--strict", broken], capture_output=True, check=False).returncode != 0


def test_every_file_is_used_and_every_file_that_is_named_is_there() -> None:
    assert set(KUSTOMIZATION["resources"]) == {f"kubernetes/{file.name}" for file in (DEPLOY / "kubernetes").iterdir()}
    made = {one["name"]: one["files"] for one in KUSTOMIZATION["configMapGenerator"]}
    for files in made.values():
        for file in files:
            assert (DEPLOY / file).is_file(), file
    graphs = {f"configs/graphs/{file.name}" for file in (DEPLOY / "configs" / "graphs").iterdir()}
    assert set(made["interlock-graphs"]) == graphs
    secrets = {file.removeprefix("secrets/") for file in KUSTOMIZATION["secretGenerator"][0]["files"]}
    assert secrets == read(DEPLOY / "compose.yaml", {}).raw["secrets"].keys()


def test_what_pods_mount_and_read_is_made() -> None:
    maps = {one["name"]: {Path(file).name for file in one["files"]} for one in KUSTOMIZATION["configMapGenerator"]}
    keys = {Path(file).name for file in KUSTOMIZATION["secretGenerator"][0]["files"]}
    claims = of_kind("PersistentVolumeClaim")
    for name, workload in WORKLOADS.items():
        pod = pod_of(name)
        mine = {one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", [])}
        for volume in pod["volumes"]:
            mine.add(volume["name"])
            for source in volume.get("projected", {}).get("sources", [volume]):
                if "configMap" in source:
                    items = {item["key"] for item in source["configMap"].get("items", [])}
                    assert items <= maps[source["configMap"]["name"]], name
            if "items" in volume.get("secret", {}):
                assert {item["key"] for item in volume["secret"]["items"]} <= keys, name
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims, name
        assert {mount["name"] for mount in container(name)["volumeMounts"]} == mine, name
        for variable in container(name).get("env", []):
            if "valueFrom" in variable:
                assert variable["valueFrom"]["secretKeyRef"]["key"] in keys, name


def test_every_pod_keeps_the_restricted_standard_and_more() -> None:
    [namespace] = of_kind("Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, workload in WORKLOADS.items():
        pod = pod_of(name)
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        own = container(name)
        assert own["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert own["resources"].keys() == {"requests", "limits"}, name
        assert ("readinessProbe" in own) == (workload["kind"] != "CronJob"), name


def test_interlock_is_asked_whether_it_lives_and_whether_it_is_ready_and_one_is_always_there() -> None:
    own = container("interlock")
    assert own["livenessProbe"]["httpGet"]["path"] == "/health"
    assert own["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert WORKLOADS["interlock"]["spec"]["replicas"] == 2
    assert of_kind("PodDisruptionBudget")["interlock"]["spec"]["minAvailable"] == 1


def test_the_policies_let_through_what_compose_lets_through() -> None:
    policies = of_kind("NetworkPolicy")
    assert policies["nothing-by-default"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    found = {
        (asking, asked)
        for asking in (*PORTS, "backup")
        for asked, port in PORTS.items()
        if asking != asked
        and allowed(policies, asking, asked, port, "egress")
        and allowed(policies, asked, asking, port, "ingress")
    }
    assert found == REACHES
    # From outside the namespace, by whatever your Ingress is: the two that compose publishes.
    assert {name for name, port in PORTS.items() if allowed(policies, name, None, port, "ingress")} == {
        "open-webui",
        "interlock",
    }
    out = {name for name, policy in policies.items() if "ipBlock" in str(policy["spec"].get("egress"))}
    assert out == {"litellm"}


def allowed(policies: dict[str, Manifest], pod: str, other: str | None, port: int, direction: str) -> bool:
    """Whether a policy for `pod` lets it talk with `other` (None: somebody outside) at that port, in that direction."""
    other_side = "from" if direction == "ingress" else "to"
    for policy in policies.values():
        selected = policy["spec"]["podSelector"].get("matchLabels", {})
        if selected not in ({}, {"app": pod}):
            continue
        for rule in policy["spec"].get(direction, []):
            if port not in [one["port"] for one in rule["ports"]]:
                continue
            peers = rule.get(other_side)
            if peers is None or {"podSelector": {"matchLabels": {"app": other}}} in peers:
                return True
    return False


@pytest.mark.parametrize("name", sorted(PORTS))
def test_a_pod_runs_what_the_composed_service_runs(name: str) -> None:
    service = read(DEPLOY / "compose.yaml", {}).services[name]
    own = container(name)
    image = service.image.partition("@")[0]
    assert own["image"].partition("@")[0] == (image.partition(":")[0] if "build" in service.spec else image)
    command = [*own.get("command", []), *own.get("args", [])]
    assert command == [word.replace("tools.mcp-proxy", "0.0.0.0") for word in service.spec["command"]]
    context = pod_of(name)["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == service.user
    assert given(own) == wanted(service)
    [port] = own["ports"]
    assert port["containerPort"] == PORTS[name]
    assert of_kind("Service")[name]["spec"]["ports"][0]["port"] == PORTS[name]
    folders = {mount["mountPath"] for mount in own["volumeMounts"]} - {"/dev/shm", "/run/secrets"}
    listed = {target for _, target, _ in service.volumes} | {one.split(":")[0] for one in service.spec["tmpfs"]}
    assert folders == {target.removesuffix("/servers.json") for target in listed}


def test_the_nightly_job_makes_the_backup_that_compose_makes() -> None:
    service = read(DEPLOY / "compose.yaml", {}).services["backup"]
    job, own = WORKLOADS["backup"]["spec"], container("backup")
    script = (DEPLOY / "backup" / "nightly.sh").read_text()
    [command] = re.findall(r"until run (interlock backup .*); do", script)
    values = {'"$folder"': "/var/backups/interlock", '"$INTERLOCK_CONFIGS"': "/etc/interlock", '"$BACKUP_KEEP"': "14"}
    assert own["args"] == [values.get(word, word) for word in command.split()]
    assert given(own).items() <= wanted(service).items()
    assert service.spec["environment"]["BACKUP_KEEP"] == values['"$BACKUP_KEEP"']
    assert (job["schedule"], job["timeZone"]) == ("30 2 * * *", "Etc/UTC")
    assert service.spec["environment"]["BACKUP_AT"] == "02:30"
    assert job["concurrencyPolicy"] == "Forbid"
    assert own["image"] == "interlock"
    [secrets] = [volume for volume in pod_of("backup")["volumes"] if volume["name"] == "secrets"]
    assert "items" not in secrets["secret"], "all of them are backed up"
    assert service.secrets.keys() == read(DEPLOY / "compose.yaml", {}).raw["secrets"].keys()
    # The configs are mounted as Interlock's own pod has them.
    configs = [
        next(each for each in pod_of(name)["volumes"] if each["name"] == "configs") for name in ("backup", "interlock")
    ]
    assert configs[0] == configs[1]


def given(own: Manifest) -> dict[str, str]:
    """Variables of a pod; a secret's by its key."""
    values = {
        one["name"]: str(one["value"]) if "value" in one else one["valueFrom"]["secretKeyRef"]["key"]
        for one in own.get("env", [])
    }
    values.pop("PGDATA", None)  # says where on the disk; compose's volume needs no folder of its own
    return values


def wanted(service: Service) -> dict[str, str]:
    values = {name: str(value) for name, value in service.spec.get("environment", {}).items()}
    return values | {target: secret for target, secret in service.secrets.items() if target.isupper()}
