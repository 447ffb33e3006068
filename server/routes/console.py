"""`/console`: a page that shows what runs to key holders, and its data, cut to what the key may see."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.routing import Route

from graphs.diagnostics.drawing import render_svg
from graphs.diagnostics.drawing.looks import build_dark_style
from graphs.diagnostics.overview import Overview, build_overview
from graphs.diagnostics.timeline import TurnView, load_timeline
from graphs.runtime.approval_text import remove_reason
from graphs.runtime.approvals import Approval
from graphs.runtime.questions import NodeQuestion, may_answer
from graphs.text import dump_json
from server.protocols.json import JSON
from server.routes import approvals
from server.routes.console_trial import list_trials
from server.routes.dependencies import FacadeDep, Identity, IdentityDep

PAGES = Path(__file__).parent.parent / "console"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
MOST_TURNS = 200

DRAWING_STYLE_HASH = b64encode(hashlib.sha256(build_dark_style().encode()).digest()).decode()
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        # The drawings' own style sheet, which makes them dark on a dark page, and no other.
        f"style-src 'self' 'sha256-{DRAWING_STYLE_HASH}'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        # The key is typed into a form: without its script the form must not put it into an address.
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""What the page may do: nothing but load its own files and ask its own server. No text can become markup in it."""
SECURITY_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True, kw_only=True)
class Page:
    """One file of the page, as it is sent."""

    body: bytes
    headers: dict[str, str]


def read_page(file: Path, policy: str = POLICY) -> Page:
    """Read a file of the page, once; `policy` is what it may do.

    Browsers ask each time whether theirs is still the one, so updates show.
    """
    body = file.read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    kind = {"content-type": KINDS[file.suffix], "etag": etag, "cache-control": "no-cache"}
    return Page(body=body, headers={**SECURITY_HEADERS, "content-security-policy": policy, **kind})


async def lead_to_console(_: Request) -> Response:
    """Lead whoever opens the bare address in a browser to the console, also behind a path of a proxy's."""
    return RedirectResponse("console")


ROOT = Route("/", lead_to_console)


def build_page_router() -> APIRouter:
    """Build the routes of the page's own files: public, since they hold nothing that is anybody's."""
    files = {file.name: read_page(file) for file in PAGES.iterdir() if file.suffix in KINDS}
    found = APIRouter(prefix="/console")

    @found.get("")
    async def index(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        return send_page(request, files["index.html"])

    @found.get("/")
    async def with_slash() -> Response:  # pyright: ignore[reportUnusedFunction]
        # The page's addresses are relative to `/console`, so that it also works behind a path of a proxy's.
        return RedirectResponse("../console")

    for name, page in files.items():
        found.add_api_route(f"/{name}", build_file_route(page), methods=["GET"])
    return found


def build_file_route(page: Page) -> Any:
    """Build a route that sends this file."""

    async def file(request: Request) -> Response:
        return send_page(request, page)

    return file


def send_page(request: Request, page: Page) -> Response:
    """Send the file, or word that the browser's copy is still right."""
    if request.headers.get("if-none-match") == page.headers["etag"]:
        return Response(status_code=304, headers=page.headers)
    return Response(page.body, headers=page.headers)


router = APIRouter(prefix="/console/api")


@router.get("/state")
async def state(request: Request, facade: FacadeDep, identity: IdentityDep) -> Response:
    """Answer with everything but the turns, as this key may see it."""
    engine, revision = facade.engine, facade.revision
    ready = await revision.check_readiness()
    overview = build_overview(
        revision.snapshot,
        {**ready, "problems": [str(problem) for problem in engine.problems]},
        engine.metrics.read_running_turns(),
        await engine.list_approvals(identity.caller, identity.owner, "pending"),
        identity.caller,
        identity.owner,
    )
    asked = await engine.list_questions(identity.caller, identity.owner, "pending")
    waiting = [format_waiting_question(question, identity) for question in asked]
    shown = {"you": describe_caller(identity), **format_overview(overview), "questions": waiting}
    shown["trials"] = list_trials(revision.snapshot.policy, list(revision.served_graphs), identity)
    return answer_if_changed(request, shown)


@router.get("/graphs/{name}.svg")
async def drawing(name: str, facade: FacadeDep, identity: IdentityDep) -> Response:
    """Draw one graph. Raises UnknownModel, also for one that this key may not use."""
    plan = facade.revision.find_plan(name, identity.caller)
    # A large graph takes its time.
    picture = await asyncio.to_thread(render_svg, plan)
    return Response(picture, media_type="image/svg+xml", headers={**SECURITY_HEADERS, "cache-control": "no-store"})


@router.get("/turns")
async def turns(
    request: Request,
    facade: FacadeDep,
    identity: IdentityDep,
    limit: Annotated[int, Query(ge=1, le=MOST_TURNS)] = 50,
) -> Response:
    """List the caller's own latest turns, newest first. None where nobody vouches for who asks: they may be
    another's."""
    found: Sequence[TurnView] = ()
    if identity.remembers:
        revision, caller = facade.revision, identity.caller
        found = await load_timeline(
            facade.engine.store, identity.owner, limit, lambda name: revision.find_people_name(name, caller)
        )
    return answer_if_changed(request, {"turns": found, "more": len(found) == limit < MOST_TURNS})


def describe_caller(identity: Identity) -> dict[str, Any]:
    """Describe whom the page speaks to."""
    caller = identity.caller
    return {
        "user": caller.user,
        "key": caller.key,
        "role": caller.role,
        "narrowed_by": caller.narrowed_by,
        "remembers": identity.remembers,
    }


def format_overview(overview: Overview) -> dict[str, Any]:
    """Format the overview as the page reads it."""
    return {
        "status": overview.status,
        "snapshot": overview.snapshot,
        "problems": overview.problems,
        "graphs": overview.graphs,
        "servers": overview.servers,
        "approvals": [
            {
                **approvals.format_approval(view.entry),
                **format_arguments(view.entry),
                "why": remove_reason(view.entry.rule, view.entry.reason),
                "yours": view.yours,
                "decidable": view.decidable,
            }
            for view in overview.approvals
        ],
    }


def format_waiting_question(question: NodeQuestion, identity: Identity) -> dict[str, Any]:
    """Format a question with the fields of its form."""
    return {
        "id": question.id,
        "graph": question.graph,
        "question": question.text,
        "fields": [asdict(field) for field in question.fields],
        "caller": question.caller,
        "role": question.role,
        "created": question.created,
        "expires": question.expires,
        "answerable": may_answer(question, identity.caller, identity.owner),
    }


def format_arguments(entry: Approval) -> dict[str, Any]:
    """Format arguments as texts: a browser would round whole numbers over 2⁵³, and reorder names that are numbers."""
    return {
        "values": [
            [name, value if isinstance(value, str) else dump_json(value, indent=True)]
            for name, value in entry.args.items()
        ],
        "json": dump_json(entry.args, indent=True),
    }


def answer_if_changed(request: Request, content: dict[str, Any]) -> Response:
    """Answer with the data, or word that nothing has changed. It is a person's own: nobody on the way may keep it."""
    answer = JSON(content, headers={**SECURITY_HEADERS, "cache-control": "no-store"})
    etag = f'"{hashlib.sha256(answer.body).hexdigest()[:32]}"'
    answer.headers["etag"] = etag
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={**SECURITY_HEADERS, "cache-control": "no-store", "etag": etag})
    return answer
