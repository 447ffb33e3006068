"""The demo model's rules: which words ask for which steps, and which answers count as refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphs.expressions.sqlcheck import is_read_only_sql
from server.demo import data, database
from server.demo.model.queries import to_sql
from server.demo.model.questions import parse_stages
from server.demo.model.reading import PastCall, PlannedCall
from server.demo.model.steps import (
    CountThere,
    Execute,
    ListFiles,
    ListTables,
    Measure,
    Query,
    ReadFile,
    ReadFound,
    Stage,
    Unknown,
    WriteFile,
    WriteFound,
)
from server.demo.model.wording import has_failed

HOME = "/workspace"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("list the files", [(ListFiles(HOME),)]),
        ("What files are there?", [(ListFiles(HOME),)]),
        ("what is in the workspace?", [(ListFiles(HOME),)]),
        ("ls", [(ListFiles(HOME),)]),
        ("show me the files in the notes folder", [(ListFiles(f"{HOME}/notes"),)]),
        ("What does welcome.md say?", [(ReadFile(f"{HOME}/welcome.md"),)]),
        ("read /workspace/notes/ideas.md", [(ReadFile(f"{HOME}/notes/ideas.md"),)]),
        ("read /etc/hosts.conf", [(ReadFile("/etc/hosts.conf"),)]),
        ("read a.md and b.md", [(ReadFile(f"{HOME}/a.md"), ReadFile(f"{HOME}/b.md"))]),
        ("read the last file", [(ListFiles(HOME),), (ReadFound(-1),)]),
        ("list the files and read them all", [(ListFiles(HOME),), (ReadFound(None, every=True),)]),
        ("write hello to notes.txt", [(WriteFile(f"{HOME}/notes.txt", "hello"),)]),
        ("save salt and pepper into list.md", [(WriteFile(f"{HOME}/list.md", "salt and pepper"),)]),
        ('write "first this, then that" to a.md', [(WriteFile(f"{HOME}/a.md", "first this, then that"),)]),
        ("write to a.md: hello there", [(WriteFile(f"{HOME}/a.md", "hello there"),)]),
        ("create a file called a.md with the text hi", [(WriteFile(f"{HOME}/a.md", "hi"),)]),
        ("list the files, then write it to a.md", [(ListFiles(HOME),), (WriteFound(f"{HOME}/a.md"),)]),
        ("which tables are there?", [(ListTables(),)]),
        ("How busy is this machine?", [(Measure(),)]),
        ("how much memory and disk is used", [(Measure(),)]),
        ("First list the files, then count its customers", [(ListFiles(HOME),), (CountThere(),)]),
        ("SELECT 1", [(Query("SELECT 1"),)]),
        ("run ```sql\nSELECT a FROM b\n```", [(Query("SELECT a FROM b"),)]),
        (
            "SELECT CASE WHEN id > 3 THEN 1 ELSE 0 END FROM customers",
            [(Query("SELECT CASE WHEN id > 3 THEN 1 ELSE 0 END FROM customers"),)],
        ),
        ("delete from orders where id = 3", [(Execute("delete from orders where id = 3"),)]),
        ("tell me a joke, then list the files", [(Unknown("tell me a joke"),), (ListFiles(HOME),)]),
        ("delete welcome.md", []),
        ("move a.md to b.md", []),
        ("what is the capital of France?", []),
        ("update the notes", []),
        ("", []),
    ],
)
def test_words_ask_for_steps(question: str, expected: list[Stage]) -> None:
    assert list(parse_stages(question)) == expected


@pytest.mark.parametrize(
    ("question", "columns", "first"),
    [
        ("how many customers per country", ["country", "customers"], ["Germany", 7]),
        ("How many customers do we have in Portugal?", ["customers"], [5]),
        ("how many customers in São Paulo", ["customers"], [1]),
        ("how many orders", ["orders"], [60]),
        ("orders per status", ["status", "orders"], None),
        ("top 3 customers", ["customer", "revenue"], None),
        ("revenue per month", ["month", "revenue"], None),
        ("total revenue in Germany", ["revenue"], None),
        ("sales by item", ["item", "revenue"], None),
        ("show the last 2 orders", ["placed_on", "customer", "item", "quantity", "status"], None),
        ("list the customers in Kenya", ["name", "city", "country"], ["Rift Valley Press", "Nakuru", "Kenya"]),
        ("orders from O'Brien", ["placed_on", "customer", "item", "quantity", "status"], None),
    ],
)
def test_questions_about_the_shop_become_sql_that_only_reads(
    tmp_path: Path, question: str, columns: list[str], first: list[object] | None
) -> None:
    sql = to_sql(question)
    assert sql is not None
    assert is_read_only_sql(sql, "sqlite"), sql
    rows = database.run_query(data.ensure_database(tmp_path), sql)
    assert rows.columns == columns
    assert first is None or rows.rows[0] == first


@pytest.mark.parametrize("question", ["how many files", "what is in Portugal", "per country"])
def test_other_questions_become_no_sql(question: str) -> None:
    assert to_sql(question) is None


@pytest.mark.parametrize(
    ("result", "refused"),
    [
        ("filesystem/read_file was not run: role developer says nothing about it (access.yaml:9).", True),
        ("Not run: it waited for approval, and nobody approved it.", True),
        ("filesystem/read_file was refused by its server: no.", True),
        ("filesystem/read_file gave no answer within 60 s.", True),
        ("filesystem/read_file failed twice: its server exited with status 1.", True),
        ("Outcome unknown: the server of filesystem/read_file closed its output while the call was under way.", True),
        ("An earlier attempt of this call was cut off. Whether it took effect is unknown.", True),
        ("Error executing tool read_file: 'x' does not exist.", True),
        ("The report is not finished.", False),
        ("# Errors we made in March\n", False),
        ("Permission slips for the trip", False),
        ("", False),
    ],
)
def test_a_refusal_is_not_taken_for_a_file(result: str, refused: bool) -> None:
    assert has_failed(PastCall(PlannedCall("read_file", {"path": "/workspace/a.md"}), result)) is refused


@pytest.mark.parametrize("tool", ["list_directory", "write_file", "list_tables", "query", "execute", "metrics"])
@pytest.mark.parametrize("result", ["", "{}", "done", '{"rows": 3', "filesystem/write_file was not run: no."])
def test_nothing_but_a_result_of_its_kind_counts_as_one(tool: str, result: str) -> None:
    assert has_failed(PastCall(PlannedCall(tool, {}), result))
