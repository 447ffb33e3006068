"""What the tests of deploy/ share: the composed system as a value, and the commands of its README."""

from __future__ import annotations

import re
from dataclasses import dataclass

from support.containers import Composed
from support.images import DEPLOY
from support.scripted_model import ScriptedModel

PATIENCE = 300.0
"""Seconds for a service to become well: Open WebUI needs a minute or two on two busy cores."""

NOT_HERE = re.compile(r"docker |kubectl |curl |age |cd deploy$")
"""Needs a container engine or a cluster (test_readme_of_deploy.py looks at these), or the running system."""


def shell_blocks() -> list[str]:
    """What the README tells people to type."""
    return re.findall(r"```sh\n(.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)


@dataclass(frozen=True)
class Team:
    """The system, and the model that answers it."""

    composed: Composed
    """With the second Interlock wired and not started."""
    model: ScriptedModel
    printed: str
    """What `./up` said."""
