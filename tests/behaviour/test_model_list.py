"""Which of LiteLLM's models clients see and may ask for: wildcards too, but none that cannot chat or leads back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, ADMIN, DEVELOPER, Facade, serving, write_configs
from support.scripted_model import Answer, ScriptedModel

from graphs.config.loader import load
from graphs.diagnostics.doctor import examine_models


def entry(name: str, mode: str | None = None, address: str | None = None) -> dict[str, Any]:
    """An entry of LiteLLM's list."""
    return {
        "model_name": name,
        "litellm_params": {"model": name, "api_base": address},
        "model_info": {"id": name, "mode": mode},
    }


@asynccontextmanager
async def listing(
    folder: Path, models: Sequence[str], entries: Sequence[Mapping[str, Any]] = (), **settings: Any
) -> AsyncGenerator[tuple[Facade, ScriptedModel]]:
    """A facade before an endpoint with these models."""
    async with ScriptedModel(models, entries) as model:
        model.respond(lambda body: f"I am {body['model']}.")
        access = {**ACCESS, "roles": {**ACCESS["roles"], "developer": {"models": ["scripted", "openai/gpt-*"]}}}
        configs = write_configs(folder / "configs", model.url, {}, access=access, **settings)
        async with serving(configs, folder / "data") as facade:
            yield facade, model


async def list_ids(facade: Facade, key: str = ADMIN) -> list[str]:
    response = await facade.http.get(f"{facade.url}/models", headers={"authorization": f"Bearer {key}"})
    return [one["id"] for one in response.json()["data"]]


async def get_status(facade: Facade, name: str, key: str = ADMIN) -> int:
    """The status of GET /v1/models/NAME."""
    response = await facade.http.get(f"{facade.url}/models/{name}", headers={"authorization": f"Bearer {key}"})
    return response.status_code


@pytest.mark.parametrize(
    ("models", "entries"),
    [
        pytest.param(["scripted", "openai/*"], (), id="in the list of an endpoint that says no more"),
        pytest.param(["scripted", "openai/*"], [entry("scripted")], id="in LiteLLM's list"),
        pytest.param(["scripted"], [entry("scripted"), entry("openai/*")], id="among LiteLLM's entries alone"),
    ],
)
async def test_a_model_that_a_wildcard_stands_for_is_used_without_being_listed(
    tmp_path: Path, keys: None, models: Sequence[str], entries: Sequence[Mapping[str, Any]]
) -> None:
    async with listing(tmp_path, models, entries) as (facade, model):
        assert await list_ids(facade) == ["assistant", "scripted"]
        assert await facade.say("who?", model="openai/gpt-x") == "I am openai/gpt-x."
        assert await get_status(facade, "openai/gpt-x") == 200
        asked = len(model.requests)
        for name in ("gpt-x", "openai", "anthropic/gpt-x", "openai/*", "openai/gpt-x,scripted", "openai/../x"):
            response = await facade.ask("who?", model=name)
            assert (response.status_code, await get_status(facade, name)) == (404, 404), name
            assert response.json()["error"]["message"] == (
                f"There is no model {name!r}. GET /v1/models lists what there is."
            )
        assert len(model.requests) == asked


async def test_a_wildcard_gives_nobody_more_models_than_the_files_do(tmp_path: Path, keys: None) -> None:
    async with listing(tmp_path, ["scripted", "*"], offer=["scripted", "openai/*"]) as (facade, model):
        assert await facade.say("who?", model="openai/gpt-x", key=DEVELOPER) == "I am openai/gpt-x."
        assert (await facade.ask("who?", model="openai/o9", key=DEVELOPER)).status_code == 403
        assert (await facade.ask("who?", model="openai/o9", key=ADMIN)).status_code == 200
        assert await get_status(facade, "openai/o9", DEVELOPER) == 404
        assert (await facade.ask("who?", model="anthropic/x", key=ADMIN)).status_code == 404
        response = await facade.ask("who?", key=DEVELOPER, fallbacks=["openai/o9"])
        assert response.status_code == 403
        assert await facade.say("who?", key=DEVELOPER, fallbacks=["openai/gpt-y"]) == "I am scripted."
    assert [request.body["model"] for request in model.requests] == ["openai/gpt-x", "openai/o9", "scripted"]


async def test_models_that_do_not_chat_are_not_offered(tmp_path: Path, keys: None) -> None:
    modes = ["embedding", "audio_speech", "audio_transcription", "image_generation", "rerank", "moderation", "ocr"]
    chatting = [entry("scripted", None), entry("talk", "chat"), entry("old", "completion"), entry("new", "responses")]
    # Two entries share the requests for a name, and LiteLLM takes the longest wildcard.
    mixed = [entry("mixed", "embedding"), entry("mixed", "chat"), entry("emb/known", "embedding"), entry("x/y", "chat")]
    others = [entry(mode, mode) for mode in modes]
    names = ["scripted", "talk", *modes, "old", "new", "mixed", "emb/known", "unknown", "emb/*", "*"]
    async with listing(tmp_path, names, [*others, *chatting, *mixed]) as (facade, model):
        assert await list_ids(facade) == ["assistant", "scripted", "talk", "old", "new", "mixed", "unknown"]
        for name in (*modes, "emb/known", "emb/other"):
            response = await facade.ask("who?", model=name)
            assert response.status_code == 404
            assert f"{name!r} is not offered: LiteLLM says that its mode is" in response.json()["error"]["message"]
        assert model.requests == []
        assert await facade.say("who?", model="x/other") == "I am x/other."


async def test_models_that_lead_back_are_not_listed(tmp_path: Path, keys: None) -> None:
    async with listing(tmp_path, ["scripted"]) as (facade, model):
        port = facade.url.split(":")[-1].removesuffix("/v1")
        elsewhere = {"same-port": f"http://192.0.2.1:{port}/v1", "next-port": "http://127.0.0.1:9/v1", "none": None}
        here = {
            "round": f"http://127.0.0.1:{port}/v1",
            "named": f"http://localhost:{port}/v1/",
            "any/model": f"http://[::1]:{port}",
        }
        model.entries = tuple(entry(name, "chat", address) for name, address in {**elsewhere, **here}.items())
        model.models = ("scripted", *elsewhere, *here, "any/*")
        assert await list_ids(facade) == ["assistant", "scripted", *elsewhere]
        for name in (*here, "any/other"):
            response = await facade.ask("who?", model=name)
            assert response.status_code == 404
            assert "LiteLLM sends it back to Interlock" in response.json()["error"]["message"]
        assert model.requests == []


async def test_a_model_that_was_seen_to_lead_back_is_not_listed_any_more(tmp_path: Path, keys: None) -> None:
    away = "http://interlock.example.com/v1"  # a name that is known where LiteLLM runs
    entries = [entry("scripted"), entry("one", "chat", away), entry("two", "chat", away), entry("three", "chat")]
    async with listing(tmp_path, ["scripted", "one", "two", "three"], entries) as (facade, model):
        assert await list_ids(facade) == ["assistant", "scripted", "one", "two", "three"]
        model.script(Answer(status=508, error="This request came back to Interlock"))
        assert (await facade.ask("who?", model="one")).status_code == 508
        assert await list_ids(facade) == ["assistant", "scripted", "three"]


async def test_doctor_knows_wildcards_and_modes(tmp_path: Path, keys: None) -> None:
    entries = [entry("scripted", "chat"), entry("emb", "embedding")]
    async with ScriptedModel(["scripted", "emb", "openai/*"], entries) as model:
        found: dict[str, list[str]] = {}
        for default in ("scripted", "openai/gpt-x", "emb", "nothing"):
            configs = write_configs(tmp_path / default.replace("/", "-"), model.url, {}, default=default)
            found[default] = [str(finding) for finding in await examine_models(load(configs, {}))]
    assert [len(lines) for lines in found.values()] == [1, 1, 2, 2]
    assert found["scripted"][0].endswith("has 2, of which 1 are offered, and whatever matches openai/*")
    assert "the model 'emb' cannot be used: LiteLLM says that its mode is 'embedding'" in found["emb"][1]
    assert "there is no model 'nothing' at LiteLLM; set INTERLOCK_MODEL to one of: scripted" in found["nothing"][1]
