"""Search of the audit for one caller: an admin finds everybody's records, everybody else their own."""

from __future__ import annotations

from dataclasses import replace

from graphs.policy.admins import is_admin
from graphs.policy.rules import Caller
from graphs.store.audit.record import AuditRecord as AuditRecord  # for those who search
from graphs.store.audit.search import AuditPage
from graphs.store.audit.search import AuditSearch as AuditSearch
from graphs.store.store import Store


async def search_for_caller(
    store: Store, caller: Caller, owner: str, search: AuditSearch, *, before: int | None, limit: int
) -> AuditPage:
    """Find a page of the records that the caller may see, whatever owner `search` names. Raises StorageError."""
    seen = replace(search, owner=None if is_admin(caller) else owner)
    return await store.search_audit(seen, before=before, limit=limit)
