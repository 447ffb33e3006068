"""`access.yaml`: who may do what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from graphs.config.spec.base import NO_SWITCH, Duration, Spec, Switch, parse_one_or_many
from graphs.config.spec.identities import IdentitiesSpec
from graphs.errors import describe_kind

_OneOrMany = BeforeValidator(parse_one_or_many, json_schema_input_type=str | list[str])


def _add_short_form(schema: dict[str, Any]) -> None:
    """Add the short form of a rule to its schema, so that an editor offers both."""
    long_form = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "string", "description": "A pattern over server/tool."}, long_form]


class RuleSpec(Spec):
    """One rule: a pattern over `server/tool`, or a mapping that says more."""

    model_config = ConfigDict(json_schema_extra=_add_short_form)

    tool: Annotated[list[str], _OneOrMany, Field(min_length=1)]
    """Which tools: one pattern or several over `server/tool`. `*` stands for any text, `/` included."""
    when: str | None = None
    """A CEL condition over args, tool, caller, graph, node, now and turn. Absent: always."""
    approver: str | None = None
    """Only under `ask`: the role that decides. Absent: whoever asked."""
    expires: Duration | None = None
    """Only under `ask`: how long the question stays open. Absent: until it is answered."""
    reason: str | None = None
    """A sentence for whoever is refused or asked."""

    @model_validator(mode="before")
    @classmethod
    def _from_pattern(cls, value: Any) -> Any:
        return {"tool": value} if isinstance(value, str) else value


class RoleLimitsSpec(Spec):
    """How much each caller of a role may do; of the roles that it includes, the strictest limit holds."""

    other_names: ClassVar[Mapping[str, str]] = {
        "requests": "requests_per_minute",
        "rpm": "requests_per_minute",
        "calls": "tool_calls",
        "tokens": "tokens_per_day",
    }

    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000), NO_SWITCH] | None = None
    """How many requests a caller may make within a minute; the next one gets a 429 that says when there is room again.
    Absent: any number."""
    endpoint_requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000), NO_SWITCH] | None = None
    """How many requests for embeddings, moderations and rankings a caller may make within a minute. They do not count
    under `requests_per_minute`: a page asks hundreds of times for one document. Absent: any number."""
    tool_calls: Annotated[int, Field(ge=1, le=10_000), NO_SWITCH] | None = None
    """How many tool calls may run in one turn, where the graph's own limit is not lower. Absent: as many as the graph
    allows."""
    tokens_per_day: Annotated[int, Field(ge=1, le=1_000_000_000), NO_SWITCH] | None = None
    """How many tokens, of prompts and answers, a caller's turns may use within 24 hours, as the model endpoint counts
    them; a token is taken for four characters where it does not say, or was cut off. Checked before a turn begins,
    which then runs to its end. Absent: any number."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_number(cls, value: Any) -> Any:
        if isinstance(value, bool) or (isinstance(value, str) and not re.fullmatch(r"\s*[0-9]+\s*", value, re.ASCII)):
            raise ValueError(
                f"is {describe_kind(value)}; expected a whole number, such as 60: the unit stands in the setting's name"
            )
        return value


class RoleSpec(Spec):
    """What a role may do: deny over ask over allow, whatever the order; nothing said means deny."""

    include: Annotated[list[str], _OneOrMany] = []
    """Roles whose rules, denies too, this one has as well."""
    allow: list[RuleSpec] = []
    """What runs at once."""
    ask: list[RuleSpec] = []
    """What runs after a person said yes."""
    deny: list[RuleSpec] = []
    """What never runs."""
    graphs: list[str] | None = None
    """Patterns of the graphs it may use. Absent: all."""
    models: list[str] | None = None
    """Patterns of the models it may use. Absent: all."""
    limits: RoleLimitsSpec = RoleLimitsSpec()
    """How much each of its callers may do."""


class KeySpec(Spec):
    """A key that callers show, and the role it stands for."""

    name: Annotated[str, Field(min_length=1)]
    """What logs and approvals call its holder."""
    role: str
    """One of `roles`."""
    env: str | None = None
    """The environment variable that holds the key. Unset: the key is off."""
    sha256: str | None = None
    """Instead of `env`: the SHA-256 of the key, 64 hexadecimal digits."""
    forwards_users: Switch = False
    """Whether its holder is a front end that says for which user it asks."""

    @field_validator("env")
    @classmethod
    def _is_variable(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value, re.ASCII):
            raise ValueError("is no name of an environment variable; write the variable's name, never the key itself")
        return value

    @field_validator("sha256")
    @classmethod
    def _is_digest(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", value, re.ASCII):
            raise ValueError("is no SHA-256: expected 64 hexadecimal digits, never the key itself")
        return value.lower() if value is not None else None

    @model_validator(mode="after")
    def _has_one_source(self) -> KeySpec:
        if (self.env is None) == (self.sha256 is None):
            found = "neither" if self.env is None else "both"
            raise ValueError(f"has {found} of 'env' and 'sha256'; a key has exactly one of them")
        return self


class AccessSpec(Spec):
    """Who may do what."""

    roles: dict[str, RoleSpec] = {}
    """The roles, by name."""
    keys: list[KeySpec] = []
    """The keys that callers show."""
    identities: IdentitiesSpec = IdentitiesSpec()
    """Who else vouches for callers: LiteLLM for its virtual keys, issuers for their tokens."""
