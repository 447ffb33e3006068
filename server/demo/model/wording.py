"""Results in sentences for people. Every number and name in them comes out of a tool's answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ValidationError

from server.demo.model.reading import ParsedChat, PastCall
from server.demo.results import Cell, ChangeResult, ListingResult, MetricsResult, Rows, Share, Tables, WriteResult

INTRODUCTION = "I am Interlock's built-in demo model: a few rules, no intelligence."
EXAMPLES = (
    "list the files",
    "read welcome.md",
    "how many customers per country",
    "how busy is this machine",
    "list the tables and tell me how busy this machine is",
    "list the files, then read the first one, then count the customers in that country",
    "write hello to notes.txt",
)
CONNECT = "Set `LITELLM_BASE_URL` to your LiteLLM to talk to a real model."

# How tools and their keepers begin to say no. Whatever else comes back from a reading tool is a file's text.
REFUSAL = re.compile(
    r"\W*(?:not run\b|refused\b|denied\b|rejected\b|permission denied|unknown tool|timed? ?out\b|outcome unknown"
    r"|error(?: executing tool\b|:)|an earlier attempt of this call"
    r"|[\w-]+/[\w.-]+ (?:was (?:not run|refused)|failed|did not|gave no answer|gave an answer that is no))",
    re.IGNORECASE,
)
MAX_QUOTED = 6_000


def format_introduction(conversation: ParsedChat) -> str:
    """Format what the model says of itself when it knows nothing better to say."""
    question = " ".join(conversation.question.split())
    said = f" No rule of mine fits “{_shorten(question, 120)}”." if question and not _is_greeting(question) else ""
    if not conversation.tool_names:
        tools = "No tools were offered to me with this question, so there is nothing I can look up."
    else:
        tools = "Tools offered to me here: " + ", ".join(f"`{name}`" for name in conversation.tool_names.values()) + "."
    examples = "\n".join(f"- {example}" for example in EXAMPLES)
    return f"{INTRODUCTION}{said}\n\nWhat I understand, for example:\n{examples}\n\n{tools} {CONNECT}"


def describe_call(made: PastCall) -> str:
    """Describe what one call found."""
    tool, args, result = made.call.tool, made.call.args, made.result
    if has_failed(made):
        return f"`{tool}` did not give me what I asked for. It answered:\n\n{_fence(result)}"
    if tool == "read_file":
        return f"`{args.get('path', 'The file')}` says:\n\n{_fence(result)}"
    match parse_answer(made):
        case ListingResult() as listing:
            return _describe_listing(listing)
        case WriteResult(path=path, bytes=size, created=created):
            return f"I {'wrote' if created else 'replaced'} `{path}`: {size} bytes."
        case Tables(tables=tables):
            lines = [f"- `{table.name}`: {table.rows} rows; {', '.join(table.columns)}" for table in tables]
            return "\n".join([f"The database has {_format_count(len(tables), 'table')}:", "", *lines])
        case Rows() as rows:
            return _describe_rows(rows)
        case ChangeResult(statement=statement, rows_changed=changed):
            return f"The {statement or 'statement'} ran; {_format_count(changed, 'row')} changed."
        case MetricsResult() as metrics:
            return _describe_metrics(metrics)
        case _:
            return f"`{tool}` answered:\n\n{_fence(result)}"


def has_failed(made: PastCall) -> bool:
    """Tell whether a call gave no result of its kind: it was refused, or went wrong."""
    if made.call.tool in KINDS:
        return parse_answer(made) is None
    return REFUSAL.match(made.result) is not None


KINDS: dict[str, type[BaseModel]] = {
    "list_directory": ListingResult,
    "write_file": WriteResult,
    "list_tables": Tables,
    "query": Rows,
    "execute": ChangeResult,
    "metrics": MetricsResult,
}


def parse_answer(made: PastCall) -> BaseModel | None:
    """Parse a call's result; None when it is something else, such as a refusal."""
    kind = KINDS.get(made.call.tool)
    try:
        return kind.model_validate_json(made.result) if kind is not None else None
    except ValidationError:
        return None


def format_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Format a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_format_cell(cell) for cell in line) + " |" for line in lines)


def _describe_listing(listing: ListingResult) -> str:
    if not listing.entries:
        return f"`{listing.path}` is empty."
    lines = [
        f"- `{entry.name}` ({entry.bytes} bytes)" if entry.type == "file" else f"- `{entry.name}/`"
        for entry in listing.entries
    ]
    return "\n".join([f"`{listing.path}` holds {_format_count(len(lines), 'entry', 'entries')}:", "", *lines])


def _describe_rows(rows: Rows) -> str:
    if not rows.rows:
        return "The database found no rows."
    if len(rows.rows) == 1 and len(rows.columns) == 1:
        return f"The database says: {rows.columns[0]} = **{_format_cell(rows.rows[0][0])}**."
    more = "\n\nThere are more rows; these are the first." if rows.truncated else ""
    return f"The database says:\n\n{format_table(rows.columns, rows.rows)}{more}"


def _describe_metrics(metrics: MetricsResult) -> str:
    load = ", ".join(f"{value:g}" for value in metrics.load)
    days, seconds = divmod(metrics.uptime_seconds, 86_400)
    hours, seconds = divmod(seconds, 3_600)
    up = f"{days} d {hours} h" if days else f"{hours} h {seconds // 60} min"
    lines = [
        f"This machine's processors are {metrics.cpu_percent:g} % busy.",
        "",
        f"- cores: {metrics.cores}; load over 1, 5 and 15 minutes: {load}",
        f"- memory: {_format_share(metrics.memory)}",
        f"- disk: {_format_share(metrics.disk)}",
        f"- up for {up}, {metrics.processes} processes; the busiest:",
    ]
    processes = [
        (process.name, process.pid, process.cpu_percent, _format_size(process.memory_bytes))
        for process in metrics.busiest
    ]
    return "\n".join([*lines, "", format_table(["process", "pid", "cpu %", "memory"], processes)])


def _format_share(share: Share) -> str:
    return f"{_format_size(share.used_bytes)} of {_format_size(share.total_bytes)} ({share.percent:g} %)"


def _format_size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _format_cell(cell: Cell) -> str:
    return "–" if cell is None else str(cell).replace("|", "\\|").replace("\n", " ")


def _format_count(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _fence(text: str) -> str:
    text = _shorten(text.strip("\n"), MAX_QUOTED)
    # A fence longer than any in the text keeps the text from ending it.
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit} more characters)"


def _is_greeting(question: str) -> bool:
    return (
        re.fullmatch(r"(?:hi|hello|hey|good (?:morning|day|evening)|help|who are you)\W*", question, re.IGNORECASE)
        is not None
    )
