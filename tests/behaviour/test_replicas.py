"""Two `interlock serve` on one PostgreSQL: whichever answers, a conversation goes on, and nothing happens twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import ACCESS, said, write_configs
from support.gateway import ADMIN_KEY, Gateway, gateway
from support.postgres import Postgres
from support.processes import ProcessFailed
from support.scripted_model import Answer, Body, Call, ScriptedModel, text_of
from support.tool_server import Tools

pytestmark = pytest.mark.timeout(180)  # whole programs start here, on machines that may be busy

HEADERS = {"authorization": f"Bearer {ADMIN_KEY}"}


@pytest.fixture
def scripted() -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        yield model


@pytest.fixture
def replicas(scripted: ScriptedModel, tools: Tools, postgres_empty: str, tmp_path: Path) -> Iterator[list[Gateway]]:
    """Both start at once, on a database with nothing in it, and share nothing else."""
    configs = write_configs(tmp_path / "configs", scripted.url, {"files": {"url": tools.url}}, access=ACCESS)
    env = {"INTERLOCK_STORAGE": postgres_empty}
    starts = [gateway(configs, tmp_path / name, env) for name in ("one", "two")]
    with ThreadPoolExecutor(2) as starters, ExitStack() as stack:
        starting = [starters.submit(start.__enter__) for start in starts]
        for start in starts:
            stack.push(start)
        yield [started.result() for started in starting]


def say(at: Gateway, *messages: Any) -> str:
    """The answer to a conversation whose last message is the user's."""
    history = [{"role": "user", "content": text} if isinstance(text, str) else text for text in messages]
    body = {"model": "assistant", "messages": history}
    response = httpx.post(f"{at.url}/chat/completions", json=body, headers=HEADERS, timeout=60, trust_env=False)
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


def test_a_conversation_goes_on_at_the_other_replica_across_a_restart_of_postgresql(
    replicas: list[Gateway], scripted: ScriptedModel, tools: Tools, postgres_shared: Postgres
) -> None:
    one, two = replicas

    odd = "the code is 4711, \x00 and Zoë \U0001f600"
    scripted.script(Answer(calls=[Call("files__echo", {"text": odd})]), "Noted.")
    noted = say(one, "Read the code.")
    scripted.script(Answer(calls=[Call("files__write", {"text": "4711"})]))
    asked = say(two, "Read the code.", said(noted), "Write it down.")
    assert odd in scripted.requests[-1].tool_results, "what a tool said at one replica is known at the other"
    found = re.search(r"approve ([a-z2-7]{8})\b", asked)
    assert found, asked

    postgres_shared.stop()
    with ThreadPoolExecutor(1) as person:
        deciding = person.submit(
            httpx.post,
            f"{one.url}/approvals/{found[1]}",
            json={"decision": "approve"},
            headers=HEADERS,
            timeout=60,
            trust_env=False,
        )
        postgres_shared.start()
        assert deciding.result().status_code == 200, deciding.result().text
    listed = httpx.get(f"{two.url}/approvals/{found[1]}", headers=HEADERS, trust_env=False).json()
    assert listed["status"] == "approved"

    # Whoever comes after the call ran knows its result too; each answer differs, so that each leads to its own turn.
    numbers = count(1)
    scripted.respond(lambda body: f"Written {next(numbers)}." if has_written(body) else "I did?")
    history = ["Read the code.", said(noted), "Write it down.", said(asked), "Go on."]
    with ThreadPoolExecutor(10) as people:
        answers = list(people.map(lambda n: say(replicas[n % 2], *history), range(10)))
    assert [line for line in tools.ran() if line.startswith("write")] == ["write 4711"]

    known: list[list[str]] = []
    for answer in (answer for answer in answers if "Written" in answer):
        say(one, *history, said(answer), "Thank you.")
        known.append([result for result in scripted.requests[-1].tool_results if result in (odd, "written")])
    assert [odd, "written"] in known


def has_written(body: Body) -> bool:
    """Whether the model is shown that the call ran."""
    return any(message["role"] == "tool" and text_of(message["content"]) == "written" for message in body["messages"])


def test_the_password_of_the_store_is_in_no_word_of_a_start_that_fails(
    tmp_path: Path, postgres_shared: Postgres
) -> None:
    configs = write_configs(tmp_path / "configs", "http://127.0.0.1:9/v1", {})
    url = f"postgresql://ada:s3cret@127.0.0.1:{postgres_shared.port}/nowhere"
    with pytest.raises(ProcessFailed) as caught, gateway(configs, tmp_path / "data", {"INTERLOCK_STORAGE": url}):
        pass
    assert 'role "ada" does not exist' in str(caught.value)
    assert "s3cret" not in (tmp_path / "data" / "serve.log").read_text()
