"""The page on HTTP: the routes, from the application itself, each with a sentence from here."""

from __future__ import annotations

import re
from pathlib import Path

from scripts.reference.markdown import code, require_same, table
from server.app import create_app

INTRODUCTION = """\
# HTTP

Show a key as `Authorization: Bearer KEY`, or as `api-key: KEY` or `x-api-key: KEY`. Errors have the body of OpenAI's
API: `{"error": {"message", "type", "param", "code"}}`. Every answer has the header `x-request-id`; if the client sends
`X-Request-Id`, that id is kept. The log names the id too.

## Routes
"""
PASSED = (
    "Passed on to the model endpoint as it came, without a graph, see "
    "[models](../guide/models.md#embeddings-speech-images)."
)
ROUTES = {
    "POST /v1/chat/completions": (
        "key",
        "One turn: OpenAI's chat completions, streamed or whole. `model` is a graph, or a model of LiteLLM. Other "
        "fields go to the model endpoint, but for those that `field_refused` names. A body without `model` or "
        "`messages` is refused with 400.",
    ),
    "POST /v1/embeddings": ("key", PASSED),
    "POST /v1/moderations": ("key", "The same."),
    "POST /v1/rerank": ("key", "The same."),
    "POST /rerank": ("key", "The same."),
    "POST /v1/audio/speech": ("key", "The same."),
    "POST /v1/images/generations": ("key", "The same."),
    "POST /v1/completions": ("key", "The same, where `models.endpoints` names it."),
    "GET /v1/audio/models": ("key", "The models that read texts out, as `{models: [{id}]}`."),
    "HEAD /v1/audio/models": ("key", "The same."),
    "GET /v1/models": (
        "key",
        "The graphs and models that the key may chat with. `?mode=embedding` lists LiteLLM's models of that mode, "
        "`?mode=all` everything.",
    ),
    "GET /v1/models/{name}": ("key", "One of them."),
    "GET /v1/approvals": (
        "key",
        "The approvals that this caller asked for, and those that its role may decide. `?status=` selects one status: "
        "`pending`, `approved`, `rejected`, `expired` or `superseded`.",
    ),
    "GET /v1/approvals/{approval_id}": ("key", "One of them."),
    "POST /v1/approvals/{approval_id}": (
        "key",
        'Decides one, once: `{"decision": "approve"}` or `{"decision": "reject"}`, and a `note` if you like.',
    ),
    "GET /v1/questions": (
        "key",
        "The questions that this caller's turns ask, and those for its role. `?status=` selects one status: `pending`, "
        "`answered`, `unfit`, `expired` or `closed`.",
    ),
    "GET /v1/questions/{question_id}": ("key", "One of them."),
    "POST /v1/questions/{question_id}": (
        "key",
        'Answers one, once: `{"answer": VALUE}`. 400 says what does not fit; the question then still waits.',
    ),
    "GET /health": ("none", "The process lives."),
    "GET /ready": (
        "for all but `status` and `snapshot`",
        "What works: `status` is `ok`, `degraded` or `failed`; then `graphs`, `servers` with the reason why one is "
        "down, `storage`, and `problems` of files that were saved and not loaded. 503 only for `failed`.",
    ),
    "GET /metrics": ("none", "[Metrics](metrics.md) for Prometheus."),
    "GET /": ("none", "Leads to the console."),
    "HEAD /": ("none", "The same."),
    "GET /docs": ("none", "This reference as a page, without a network."),
    "HEAD /docs": ("none", "The same."),
    "GET /console": (
        "none; the page asks for one",
        "The page of the [console](../guide/console.md), with its files below it.",
    ),
    "GET /console/api/state": (
        "key",
        "For the console: graphs, servers, approvals and problems, as this key may see them.",
    ),
    "GET /console/api/graphs/{name}.svg": ("key", "For the console: a graph, drawn."),
    "GET /console/api/servers/{name}/tools": (
        "key",
        "For the console: a server's tools with their schemas, and what the key's role may do with each; for the role "
        "`admin` what every role may.",
    ),
    "GET /console/api/turns": ("key", "For the console: the caller's last turns, at most `?limit=`."),
    "GET /console/api/audit": (
        "key",
        "For the console: search of the audit by `?who=`, `tool`, `kind`, `verdict`, `outcome`, `since`, `until` and "
        "`text`, in pages (`before`). The role `admin` finds everybody's records, others their own.",
    ),
    "GET /console/api/calls/{call}/refusal": (
        "key",
        "For the console: why one of the caller's calls was refused, and what would have it run.",
    ),
    "GET /console/api/turns/{turn}/answer": (
        "key",
        "For the console: the answer of one of the caller's turns, as a tree of Markdown elements.",
    ),
    "POST /console/api/trials": (
        "key of the role `admin`",
        "For the console: [tries a graph as a role](../guide/console.md#try-a-graph-as-a-role), with "
        '`{"graph": …, "role": …, "message": …, "run_tools": false}`. A stream of events.',
    ),
}
HEADERS = (
    (
        "`X-Interlock-Tools: items`",
        "Shows tool calls as items of the Responses API in the stream. The default for Open WebUI.",
    ),
    ("`X-Interlock-Tools: none`", "Shows text alone. The default for all other clients."),
    ("`X-Interlock-Approvals: wait`", "Keeps the stream open while an approval is pending, until it is decided."),
    ("`X-Interlock-Approvals: error`", "Answers 409 instead of a question where the turn waits for a person."),
    (
        "`Idempotency-Key`",
        "Names what is to be done once: a request that comes again with it is a retry, and goes on with what the first "
        "one did, see [operations](../guide/operations.md#clients-that-leave-and-ask-again).",
    ),
    ("`X-OpenWebUI-…`", "The headers of Open WebUI, see [Open WebUI](../guide/openwebui.md)."),
    (
        "`traceparent`",
        "The trace that the request belongs to, see [operations](../guide/operations.md#traces-and-logs).",
    ),
)
CODES = {
    "invalid_api_key": (401, "The key is missing or wrong."),
    "field_refused": (400, "The request has a field that a request may not set, or not so; `param` names it."),
    "not_allowed": (403, "The role may not do this."),
    "endpoint_closed": (404, "`models.endpoints` of gateway.yaml does not pass this route on."),
    "model_not_found": (404, "There is no such graph or model, or the role may not use it."),
    "approval_not_found": (404, "There is no such approval for this caller."),
    "already_decided": (409, "The approval was decided before."),
    "approval_required": (
        409,
        "The turn waits for approval, and `X-Interlock-Approvals: error` asks for an error then. `error.approvals` has "
        "the ids.",
    ),
    "answer_required": (409, "The turn asks a person, and `X-Interlock-Approvals: error` asks for an error then."),
    "question_not_found": (404, "There is no such question."),
    "answer_mismatch": (400, "The answer does not fit the question, which still waits."),
    "already_answered": (409, "The question was answered before, or nobody waits for the answer any more."),
    "expired": (410, "The approval or the question was open too long."),
    "too_many_failed_keys": (429, "Too many wrong keys came from this address. See `Retry-After`."),
    "rate_limit_exceeded": (429, "A limit of the role is reached, or the model endpoint says so. See `Retry-After`."),
    "internal_error": (500, "Something in Interlock failed; its log has the details."),
    "upstream_authentication": (502, "The model endpoint refused Interlock's key."),
    "upstream_unavailable": (502, "The model endpoint does not answer, or failed; 504 if it was silent for too long."),
    "graph_unavailable": (503, "The graph cannot run now."),
    "storage_unavailable": (503, "The database cannot be used now."),
}
OTHERS = (
    (400, "The request cannot be read; `param` names the field."),
    (408, "Headers or body came too slowly."),
    (413, "The body is too large."),
    (414, "The address is too long."),
    (431, "The headers are too many or too long."),
    (503, "All connections are in use."),
    (508, "The request came back to Interlock: the model of a graph leads to Interlock itself."),
)
STREAM = """
An error after the first byte of a stream is one last event with this body, and `[DONE]`.
"""
APPROVAL = """
## An approval

`id`, `status`, `graph`, `tool`, `args`, `digest` (of the tool and its arguments), `rule` (with its place, and its
reason behind it), `reason` (the rule's own sentence, or `null`), `caller`, `approver` (the role that decides, or `null`
for whoever asked), `created`, `expires`, `decided_by` and `note`. Times are seconds since 1970.
"""
QUESTION = """
## A question

`id`, `status`, `graph`, `node`, `question` (the text), `schema` (the JSON Schema of the answer), `answer`, `caller`,
`role` (the role that answers, or `null` for whoever's turn asks), `created`, `expires` and `answered_by`. Times are
seconds since 1970.
"""


def build_page(root: Path) -> str:
    """The whole page. Raises ValueError where a route or code has no description."""
    require_same("route", find_routes(), ROUTES)
    require_same("code", find_codes(root), CODES)
    routes = [(code(route), key, text) for route, (key, text) in ROUTES.items()]
    errors = [(str(status), code(name), text) for name, (status, text) in CODES.items()]
    errors += [(str(status), "", text) for status, text in OTHERS]
    return "\n".join(
        (
            INTRODUCTION,
            table(("route", "key", "what it does"), routes),
            "## Request headers\n",
            table(("header", "what it does"), HEADERS),
            "## Errors\n",
            table(("status", "code", "when"), sorted(errors)) + STREAM + APPROVAL + QUESTION,
        )
    )


def find_routes() -> set[str]:
    """Every route; the files of the console's page are one."""
    app = create_app()
    found = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    for route in app.routes:
        # Those that are not FastAPI's own kind of route.
        found |= {(method, getattr(route, "path", "")) for method in getattr(route, "methods", None) or ()}
    named = {(method, re.sub(r"^/console/([\w-]+\.\w+)?$", "/console", path)) for method, path in found}
    return {f"{method} {path}" for method, path in named}


def find_codes(root: Path) -> set[str]:
    """Every code that an error of ours can have."""
    texts = [file.read_text(encoding="utf-8") for file in (root / "server").rglob("*.py")]
    return {found for text in texts for found in re.findall(r'\bcode="(\w+)"', text)}
