"""`POST /v1/chat/completions`."""

from __future__ import annotations

import secrets
import time

from fastapi import Request, Response
from starlette.routing import Route

from server.protocols.body_structure import check_structure
from server.protocols.chat_completions.collect import Collector
from server.protocols.chat_completions.request import ChatBody, parse_body, select_params
from server.protocols.chat_completions.stream import ChunkEncoder
from server.protocols.openwebui import APPROVALS, read_client
from server.protocols.tool_items import ResponseItems
from server.routes.dependencies import build_facade, identify_caller, read_bytes
from server.routes.respond import TurnInput, collect_turn, start_turn, stream_turn


async def chat(request: Request) -> Response:
    """Run one turn and answer with it. Raises what `protocols/errors.py` words for the client."""
    request.scope["route"] = ROUTE  # FastAPI says so of its own kind alone
    facade = await build_facade(request)
    identity = await identify_caller(request, facade)
    with facade.revision.in_flight.hold():
        body = await read_body(request, request.state.connections.limits.body_size)
        client = read_client(request.headers, body, for_people=identity.forwards_users)
        turn_input = TurnInput(
            model=body.model,
            messages=[dict(message) for message in body.messages],
            params=select_params(body, tools=bool(client.tools)),
            client=client,
        )
        turn = await start_turn(request, facade, identity, turn_input)
        completion_id, created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
        if not body.stream:
            collector = Collector(completion_id, body.model, created, raises_pause=client.raises)
            answer = await collect_turn(request, turn, collector, facade.settings)
            if collector.pending:
                answer.headers[APPROVALS] = ",".join(collector.pending)
            return answer
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        items = ResponseItems() if client.items else None
        encoder = ChunkEncoder(
            completion_id,
            body.model,
            created,
            include_usage=include_usage,
            items=items,
            raises_pause=client.raises,
            names_pause=client.kind != "open-webui" or not client.items,
            answers_panel=client.answers_panel,
        )
        return await stream_turn(request, turn, encoder, facade.settings)


# Not FastAPI's own kind of route: to find it, and to solve its dependencies, costs as much as the rest of the facade.
ROUTE = Route("/v1/chat/completions", chat, methods=["POST"])


async def read_body(request: Request, largest: int) -> ChatBody:
    """Read and validate the body, of at most `largest` bytes. Raises BadRequest naming the field."""
    raw = await read_bytes(request, largest)
    await check_structure(raw)
    return parse_body(raw)
