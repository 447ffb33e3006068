"""compose.yaml, its second file, the Dockerfiles as texts: valid by their specifications, as closed as can be."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from support.composefile import Compose, Loader, dotenv, read
from support.dockerfile import stages
from support.environments import node, node_environment, python_environment
from support.images import DEPLOY, IMAGES, ROOT

FILES = ("compose.yaml", "compose.replicas.yaml")
TAG = re.compile(r":v?\d+\.\d+(\.\d+)?(-[\w.-]+)?(@sha256:[0-9a-f]{64})?$")
DOCKERFILES = ("Dockerfile", "mcp-proxy/Dockerfile")


@pytest.fixture(scope="module")
def compose() -> Compose:
    return read(DEPLOY / "compose.yaml", dotenv(DEPLOY / ".env.example"))


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    """The compose specification's own, as the package dclint carries it."""
    home = node_environment("dclint", node()) / "node_modules" / "dclint"
    return Draft7Validator(json.loads((home / "schemas" / "compose.schema.json").read_text()))


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_valid_by_the_compose_specification(schema: Draft7Validator, name: str) -> None:
    content = yaml.load((DEPLOY / name).read_text(), Loader)
    assert [f"{error.json_path}: {error.message}" for error in schema.iter_errors(content)] == []


def test_the_schema_would_refuse_a_typo(schema: Draft7Validator) -> None:
    content = yaml.load((DEPLOY / "compose.yaml").read_text(), Loader)
    content["services"]["interlock"]["read_onlyy"] = True
    assert list(schema.iter_errors(content))


def test_only_the_chat_page_and_interlock_publish_a_port(compose: Compose) -> None:
    assert {name: service.ports for name, service in compose.services.items() if service.ports} == {
        "open-webui": {3000: 8080},
        "interlock": {8080: 8080},
    }
    assert not any(service.spec.get("network_mode") == "host" for service in compose.services.values())


def test_the_network_to_the_proxy_is_internal_and_holds_two(compose: Compose) -> None:
    members = {network: set[str]() for network in compose.raw["networks"]}
    for name, service in compose.services.items():
        for network in service.networks:
            members[network].add(name)
    assert members["tools"] == {"interlock", "mcp-proxy"}
    open_ones = {network for network in members if not compose.internal(network)}
    assert open_ones == {"front", "egress"}
    assert members["egress"] == {"litellm"}
    assert members["front"] == {"open-webui", "interlock"}


def test_every_service_is_named_closed_limited_and_watched(compose: Compose) -> None:
    names = [service.spec["container_name"] for service in compose.services.values()]
    assert len(set(names)) == len(names)
    for name, service in compose.services.items():
        spec = service.spec
        assert spec["container_name"].startswith("interlock"), name
        assert spec["read_only"] is True, name
        assert spec["cap_drop"] == ["ALL"], name
        assert spec["security_opt"] == ["no-new-privileges:true"], name
        assert spec["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert spec["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}, name
        assert "privileged" not in spec
        if name != "open-webui-volume":
            assert 0 not in service.user, name
            assert "cap_add" not in spec, name
            assert service.healthcheck, name
            assert spec["restart"] == "unless-stopped", name


def test_what_a_service_needs_is_well_before_it_starts(compose: Compose) -> None:
    for name, service in compose.services.items():
        for needed, condition in service.needs.items():
            watched = bool(compose.services[needed].healthcheck)
            wanted = "service_healthy" if watched else "service_completed_successfully"
            assert condition == wanted, f"{name} needs {needed}"
    assert compose.services["interlock"].needs.keys() == {"litellm", "mcp-proxy", "postgres"}


def test_every_image_is_pinned_and_known_to_the_tests(compose: Compose) -> None:
    for name, service in compose.services.items():
        assert TAG.search(service.image), f"{name}: {service.image}"
        assert service.image.partition("@")[0].rpartition(":")[0] in IMAGES
    for file in DOCKERFILES:
        for stage in stages(DEPLOY / file):
            assert re.search(r":[\d.]+-[\w-]+@sha256:[0-9a-f]{64}$", stage.image), stage.image


def list_images() -> set[str]:
    """Every image that a file of deploy/ names, of others and ours, and those that its README asks about."""
    files = [*DEPLOY.glob("compose*.yaml"), *(DEPLOY / "kubernetes").iterdir(), *map(DEPLOY.joinpath, DOCKERFILES)]
    text = "\n".join(file.read_text() for file in files)
    named = {*re.findall(r"(?m)^\s*(?:- )?image: (?:&\w+ )?([^\s*]+)$|^FROM (\S+)", text)}
    return {one or other for one, other in named} - {"interlock", "interlock-mcp-proxy"}


def test_every_image_of_deploy_has_an_exact_version_and_no_digest_was_lost() -> None:
    images = list_images()
    assert len(images) == 9
    for image in images:
        assert TAG.search(image), image
    ours = {image for image in images if image.startswith("interlock")}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert ours == {f"interlock:{version}", f"interlock-mcp-proxy:{version}"}
    without = {image.rpartition(":")[0] for image in images - ours if "@sha256:" not in image}
    assert without == {"ghcr.io/open-webui/open-webui", "ghcr.io/berriai/litellm", "grafana/grafana"}
    for image in re.findall(r"imagetools inspect (\S+)", (DEPLOY / "README.md").read_text()):
        assert image in images


def test_our_images_are_built_here_and_asked_of_no_registry(compose: Compose) -> None:
    ours = {name: service.spec for name, service in compose.services.items() if service.image.startswith("interlock")}
    built = {spec["image"] for spec in ours.values() if "build" in spec}
    for name, spec in ours.items():
        assert spec["image"] in built, name
        assert ("build" in spec) != (spec.get("pull_policy") == "never"), name


def test_each_image_has_one_version_everywhere() -> None:
    names = [image.partition("@")[0].rpartition(":")[0] for image in list_images()]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_the_images_of_others_have_the_versions_that_the_tests_run(compose: Compose) -> None:
    for service, distribution in (("open-webui", "open-webui"), ("litellm", "litellm")):
        locked = (ROOT / "tests" / "peers" / f"{distribution}.txt").read_text()
        version = re.search(rf"(?m)^{distribution}(?:\[\w+\])?==(\S+)", locked)
        assert version is not None
        assert compose.services[service].image.endswith(f":v{version[1]}")


def test_no_secret_stands_in_a_variable_or_in_the_repository(compose: Compose) -> None:
    unlikely = re.compile(r"(?i)(key|secret|password|token)s?$")
    for name, service in compose.services.items():
        named = [variable for variable in service.spec.get("environment", {}) if unlikely.search(variable)]
        assert named == [], f"{name}: give it as a file"
    ignored = subprocess.run(["git", "check-ignore", "deploy/secrets/admin_key", "deploy/.env"], cwd=ROOT, check=False)
    assert ignored.returncode == 0


def test_the_second_interlock_differs_in_name_port_and_volume_alone(compose: Compose) -> None:
    both = read(DEPLOY / "compose.yaml", {}, DEPLOY / "compose.replicas.yaml").services
    first, second = dict(both["interlock"].spec), dict(both["interlock-2"].spec)
    differing = {key for key in first | second if first.get(key) != second.get(key)}
    assert differing == {"container_name", "networks", "ports", "volumes"}
    assert both["interlock"].networks.keys() == both["interlock-2"].networks.keys()
    assert both["interlock-2"].networks["front"] == ["interlock-2", "interlock"]
    assert compose.services.keys() | {"interlock-2"} == both.keys()


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_dockerfiles_pass_hadolint(name: str) -> None:
    hadolint = python_environment("deploy-checks") / "bin" / "hadolint"
    said = subprocess.run([hadolint, DEPLOY / name], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_dockerfiles_copy_only_what_is_there_and_not_ignored(name: str) -> None:
    file = DEPLOY / name
    context = ROOT if name == "Dockerfile" else file.parent
    ignore = file.with_name("Dockerfile.dockerignore") if name == "Dockerfile" else context / ".dockerignore"
    let_in = {line[1:] for line in ignore.read_text().splitlines() if line.startswith("!")}
    assert "*" in ignore.read_text().splitlines()
    for stage in stages(file):
        for kind, text in stage.instructions:
            sources = text.split()[:-1]
            if kind != "COPY" or sources[0].startswith("--from"):
                continue
            for source in sources:
                assert (context / source).exists(), source
                assert source in let_in, f"{source} is not let in by {ignore.name}"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_images_run_as_somebody_who_is_not_root_and_are_watched(name: str) -> None:
    final = stages(DEPLOY / name)[-1]
    assert all(int(one) >= 1000 for one in final.last("USER").split(":"))
    check: list[Any] = final.command("HEALTHCHECK")
    assert check[0] == "python3"


def test_the_composed_system_runs_what_the_images_say(compose: Compose) -> None:
    for service, file in (("interlock", DOCKERFILES[0]), ("mcp-proxy", DOCKERFILES[1])):
        final = stages(DEPLOY / file)[-1]
        spec = compose.services[service].spec
        same = [word.replace("tools.mcp-proxy", "0.0.0.0") for word in spec["command"]]
        assert same == final.command("CMD"), service
        assert Path(final.last("WORKDIR")).is_absolute()
    assert compose.services["interlock"].user == tuple(
        map(int, stages(DEPLOY / "Dockerfile")[-1].last("USER").split(":"))
    )
