"""The python node: calls a function of the operator's own, and keeps what it returns."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

import orjson
from langgraph.runtime import Runtime

from graphs.config.python_code import describe_exception
from graphs.config.python_functions import read_result
from graphs.config.spec.python import PythonNodeSpec
from graphs.errors import NodeFailure
from graphs.expressions import TypeMismatch
from graphs.nodes.base import NodeSite, Services
from graphs.nodes.state import Context, State
from graphs.nodes.values import NodeValues

log = logging.getLogger(__name__)

LARGEST_RESULT = 4_000_000
"""Bytes of a result as JSON: it is written to the database with every step that follows."""
_LONGEST_REASON = 1_000
"""Characters of what an exception says."""


class PythonNode:
    """Calls a function with values from variables."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._site = site
        self._spec = cast(PythonNodeSpec, site.spec)
        self._services = services
        self._function = site.plan.functions[self._spec.run]
        self._values = NodeValues(site, services)

    async def run(self, state: State, runtime: Runtime[Context]) -> Mapping[str, Any]:
        """Call it once. Raises NodeFailure."""
        context = self._services.find_context(runtime)
        if context.trial is not None:
            # It may do anything, and no rule says whether both may have it done.
            raise NodeFailure(
                f"{self._spec.run} was not run: this is a trial, in which no function runs", kind="python"
            )
        values = await self._values.fill_in(self._spec.arguments, ("with",), state, context)
        try:
            arguments = self._function.build_arguments(values)
        except TypeMismatch as error:
            raise self._values.build_failure("with", str(error)) from error
        function, threads = self._function, self._services.function_threads
        read = _drop_result if self._spec.into is None else read_result
        outcome = await threads.call(function.function, arguments, read, is_async=function.is_async)
        if isinstance(outcome.error, TypeMismatch):
            raise self._build_misfit(outcome.error) from outcome.error
        if outcome.error is not None:
            raise self._build_failure(outcome.error)
        return {} if self._spec.into is None else {self._spec.into: self._fit(self._spec.into, outcome.value)}

    def _fit(self, into: str, value: Any) -> Any:
        try:
            fitted = self._values.fit(into, value)
        except TypeMismatch as error:
            raise self._build_misfit(error) from error
        if (size := len(orjson.dumps(fitted))) > LARGEST_RESULT:
            raise self._build_misfit(TypeMismatch(f"takes {size:,} bytes; at most {LARGEST_RESULT:,} are kept"))
        return fitted

    def _build_misfit(self, error: TypeMismatch) -> NodeFailure:
        return self._values.build_failure("into", f"what {self._spec.run} returned {error}")

    def _build_failure(self, error: BaseException) -> NodeFailure:
        """Build the failure of the function. The person reads what the exception says, the log has all of it."""
        log.error(
            "graph %s, node %s: %s failed",
            self._site.plan.id,
            self._site.name,
            self._spec.run,
            exc_info=(type(error), error, error.__traceback__),
        )
        text = self._function.code.hide_package(describe_exception(error))
        reason = self._services.snapshot.redaction.redact_text(text, _LONGEST_REASON)
        return NodeFailure(f"{self._spec.run} failed: {reason}", kind="python", is_repeatable=True)


def _drop_result(_: object) -> None:
    return None
