"""`POST /console/api/trials`: an admin tries a graph as a role."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StrictBool, StringConstraints, ValidationError

from graphs.errors import NotAllowed, did_you_mean
from graphs.policy.admins import ADMIN_ROLE, is_admin
from graphs.policy.role_trial import RoleTrial
from graphs.policy.rules import Policy
from graphs.runtime.runner import TurnRequest
from server.auth.identity import Identity
from server.auth.keys import read_key
from server.observability.request_log import get_request_note
from server.protocols.errors import BadRequest
from server.protocols.http.connections import ConnectionTable
from server.protocols.trial_stream import TrialEncoder
from server.routes.dependencies import FacadeDep, IdentityDep, read_bytes
from server.routes.respond import stream_turn

router = APIRouter(prefix="/console/api/trials")

LONGEST_NAME = 500
"""Characters of a name; of what is no name, a refusal says something near."""
EXPECTED = 'expected {"graph": GRAPH, "role": ROLE, "message": TEXT} and "run_tools": true where calls are to run'


class TrialBody(BaseModel):
    """What is tried."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    graph: Annotated[str, Field(max_length=LONGEST_NAME)]
    role: Annotated[str, Field(max_length=LONGEST_NAME)]
    message: Annotated[str, StringConstraints(strip_whitespace=True), Field(min_length=1)]
    run_tools: StrictBool = False
    """Whether calls run that both roles may make."""


@router.post("")
async def try_graph(request: Request, facade: FacadeDep, identity: IdentityDep) -> Response:
    """Run one turn of a graph as a role would, for an admin, and stream what comes of it.

    Rights are what the role and the admin both have. Raises NotAllowed, BadRequest, UnknownModel and LimitReached.
    """
    if (why := find_objection(identity)) is not None:
        raise NotAllowed(why)
    with facade.revision.in_flight.hold():
        table = cast(ConnectionTable, request.state.connections)
        body = parse_trial(await read_bytes(request, table.limits.body_size))
        revision = facade.revision
        policy = revision.snapshot.policy
        if body.role not in policy.roles:
            hint = did_you_mean(body.role, policy.roles)
            raise BadRequest(f"role: there is no role {body.role!r} in access.yaml{hint}", param="role")
        revision.find_plan(body.graph, identity.caller)
        if not policy.may_role_use_graph(body.role, body.graph):
            raise NotAllowed(f"The role {body.role} may not use the graph {body.graph!r} (access.yaml).")
        trial = RoleTrial(admin=identity.caller, role=body.role, runs_tools=body.run_tools)
        note = get_request_note()
        note.graph = body.graph
        turn = facade.engine.runner.start(
            TurnRequest(
                served_graph=revision.served_graphs[body.graph],
                caller=trial.caller,
                owner=identity.owner,
                messages=[{"role": "user", "content": body.message}],
                waits=True,
                key=SecretStr(read_key(request.headers)) if identity.litellm_knows else None,
                token_count=await revision.admission.admit(trial.caller, identity.owner),
                trial=trial,
            )
        )
        note.turn = turn.span
        return await stream_turn(request, turn, TrialEncoder(), facade.settings)


def find_objection(identity: Identity) -> str | None:
    """Find why this caller may try no graph; None: nothing is against it."""
    if not is_admin(identity.caller):
        return f"Only the role {ADMIN_ROLE} may try a graph as a role."
    if not identity.remembers:
        return "Many people share this key and nobody vouches for who asks, so it may try no graph as a role."
    return None


def list_trials(policy: Policy, graphs: list[str], identity: Identity) -> dict[str, list[str]]:
    """List which graphs this caller may try, by role; nothing for whoever may not."""
    if find_objection(identity) is not None:
        return {}
    mine = [graph for graph in graphs if policy.may_use_graph(identity.caller, graph)]
    roles = sorted(policy.roles, key=lambda role: role == identity.caller.role)  # one's own is tried last
    return {role: [graph for graph in mine if policy.may_role_use_graph(role, graph)] for role in roles}


def parse_trial(raw: bytes) -> TrialBody:
    """Parse the body. Raises BadRequest, naming the field."""
    try:
        return TrialBody.model_validate_json(raw)
    except ValidationError as error:
        first: dict[str, Any] = dict(error.errors(include_url=False, include_input=False)[0])
        field = ".".join(str(step) for step in first["loc"]) or None
        raise BadRequest(f"{field or 'body'}: {first['msg']}; {EXPECTED}", param=field) from None
