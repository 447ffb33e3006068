"""Who may look at what other people did and may do, and try graphs as other roles."""

from __future__ import annotations

from graphs.policy.caller import Caller

ADMIN_ROLE = "admin"
"""The role that may: whoever has the role of this name, wholly."""


def is_admin(caller: Caller) -> bool:
    """Whether the caller is an admin. One whose rights a second role narrows is none."""
    return caller.has_role(ADMIN_ROLE)
