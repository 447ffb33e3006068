"""`/docs`: the HTTP reference as a page that needs nothing from elsewhere. `make reference` writes it."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response

from server.routes.console import read_page, send_page

FILE = Path(__file__).with_name("docs.html")
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What the page may do: show itself. It has no script, and asks nothing."""


def build_docs_router() -> APIRouter:
    """Build the route of the page: public, since it says what every Interlock says."""
    page = read_page(FILE, POLICY)
    found = APIRouter()

    @found.head("/docs")
    @found.get("/docs")
    async def docs(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        return send_page(request, page)

    return found
