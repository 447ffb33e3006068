"""`GET /metrics`, for Prometheus: numbers by graph, node, tool, verdict and server. It holds no texts, so it asks for
no key."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from server.routes.dependencies import FacadeDep

router = APIRouter()


@router.get("/metrics")
async def metrics(request: Request, facade: FacadeDep) -> Response:
    """Render the metrics of all workers, in Prometheus' text format or in OpenMetrics."""
    page, kind = await facade.engine.render_metrics(request.headers.get("accept", ""))
    return Response(page, headers={"content-type": kind})
