"""`interlock test --from`: a case made of a turn that the database has."""

from __future__ import annotations

import os

from graphs.config.environment import build_environment
from graphs.config.loader import load
from graphs.diagnostics.audit_reader import open_store
from graphs.testing.turn_case import write_turn_case
from graphs.testing.turn_record import load_turn
from server.settings import Settings


async def build_case(settings: Settings, turn: str) -> str:
    """Build the file of tests with the case of this turn. Raises ConfigError, StorageError and NoTurn."""
    snapshot = load(settings.configs, build_environment(os.environ, settings.data))
    async with open_store(settings.storage or snapshot.gateway.storage, settings.data) as store:
        return write_turn_case(await load_turn(store, turn), snapshot)
