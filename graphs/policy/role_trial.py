"""A trial: an admin runs a graph as a role would. A call needs the consent of the role and of the admin."""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphs.policy.caller import Caller


@dataclass(frozen=True, kw_only=True)
class RoleTrial:
    """Who tries a graph, as which role, and whether its calls run."""

    admin: Caller
    """Who tries it, as itself."""
    role: str
    """The role that is tried."""
    runs_tools: bool
    """Whether calls run that both may make. Otherwise they get their verdicts, and nothing else happens."""

    @property
    def caller(self) -> Caller:
        """The caller of the turn: its rights are what both roles have."""
        return replace(self.admin, narrowed_by=self.role)

    @property
    def player(self) -> Caller:
        """The admin in the part of the role: whom the role's rules and the graph's expressions see."""
        return replace(self.admin, role=self.role)

    @property
    def judges(self) -> tuple[Caller, ...]:
        """Those whose rules must each allow a call."""
        return (self.admin,) if self.role == self.admin.role else (self.player, self.admin)
