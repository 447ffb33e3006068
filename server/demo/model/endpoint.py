"""The demo model's HTTP endpoint: the two parts of OpenAI's API that a chat needs, and embeddings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from server.demo.model.chunks import Chunk, build_chunks, build_completion
from server.demo.model.deciding import decide
from server.demo.model.embedding import EmbeddingRequest, build_embeddings
from server.demo.model.reading import ChatRequest, parse_chat

MODEL_ID = "demo"
DEFAULT_DELAY = 0.015
"""Seconds: fast enough not to bore, slow enough to be seen streaming."""
MODEL: Chunk = {"id": MODEL_ID, "object": "model", "created": 1_735_689_600, "owned_by": "interlock-demo"}


def create_demo_model(delay: float = DEFAULT_DELAY) -> Starlette:
    """Create the endpoint. `delay` is the time in seconds between two chunks of a stream."""

    async def models(_request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [MODEL]})

    async def model(request: Request) -> Response:
        asked = str(request.path_params["model"])
        return JSONResponse(MODEL) if asked == MODEL_ID else _answer_unknown_model(asked)

    async def embeddings(request: Request) -> Response:
        try:
            asked = EmbeddingRequest.model_validate_json(await request.body())
        except ValidationError as error:
            return _answer_invalid(error)
        return JSONResponse(build_embeddings(asked)) if asked.model == MODEL_ID else _answer_unknown_model(asked.model)

    async def other(request: Request) -> Response:
        words = f"The built-in demo model has no {request.url.path}. Set LITELLM_BASE_URL to reach real models."
        return _build_error(404, words)

    async def chat(request: Request) -> Response:
        try:
            asked = ChatRequest.model_validate_json(await request.body())
        except ValidationError as error:
            return _answer_invalid(error)
        if asked.model != MODEL_ID:
            return _answer_unknown_model(asked.model)
        reply = decide(parse_chat(asked))
        if not asked.stream:
            return JSONResponse(build_completion(build_chunks(reply, asked, usage=True)))
        usage = asked.stream_options is not None and asked.stream_options.include_usage
        return StreamingResponse(
            _stream_events(build_chunks(reply, asked, usage=usage), delay), media_type="text/event-stream"
        )

    # Addresses of OpenAI-compatible servers are given with and without /v1; LiteLLM answers both, so this does.
    routes = [
        Route("/models", models),
        Route("/models/{model:path}", model),
        Route("/chat/completions", chat, methods=["POST"]),
        Route("/embeddings", embeddings, methods=["POST"]),
        Route("/{path:path}", other, methods=["POST"]),
    ]
    return Starlette(routes=[Mount("/v1", routes=routes), *routes])


async def _stream_events(stream: Iterator[Chunk], delay: float) -> AsyncIterator[str]:
    for chunk in stream:
        yield f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
        await asyncio.sleep(delay)
    yield "data: [DONE]\n\n"


def _answer_invalid(error: ValidationError) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _build_error(400, f"{where or 'body'}: {first['msg']}", param=where or None)


def _answer_unknown_model(asked: str) -> Response:
    text = (
        f"There is no model {asked!r} here: this is Interlock's built-in demo model, and its name is {MODEL_ID!r}. "
        "Set LITELLM_BASE_URL to reach real models."
    )
    return _build_error(404, text, code="model_not_found", param="model")


def _build_error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> Response:
    body = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return JSONResponse({"error": body}, status_code=status)
