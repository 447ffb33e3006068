"""Export of spans to an OTLP collector, if the standard variables of OpenTelemetry name one."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

from graphs.telemetry.tracing import Tracing

log = logging.getLogger(__name__)

FLUSH = 5.0
"""Seconds that the last spans get on their way at the end."""


@asynccontextmanager
async def open_tracing(env: Mapping[str, str]) -> AsyncGenerator[Tracing]:
    """Open tracing as the environment wants it, mostly none; what is still to be sent is sent at the end."""
    exporter = build_exporter(env)
    if exporter is None:
        yield Tracing()
        return
    own = {SERVICE_VERSION: version("interlock")}
    if SERVICE_NAME not in env.get("OTEL_RESOURCE_ATTRIBUTES", "") and not env.get("OTEL_SERVICE_NAME"):
        own[SERVICE_NAME] = "interlock"
    # Not the global provider: several applications may live in one process, as they do in tests.
    provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield Tracing(provider.get_tracer("interlock", version("interlock")))
    finally:
        # A collector that is away must not hold up the end: what it did not take by then is lost.
        ending = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, FLUSH)


def build_exporter(env: Mapping[str, str]) -> SpanExporter | None:
    """Build the exporter that OpenTelemetry's variables ask for; None where they ask for none, or for one we do not
    have."""
    endpoint = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    wanted = env.get("OTEL_TRACES_EXPORTER") or ("otlp" if endpoint else "none")
    if wanted == "none" or env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if wanted == "console":
        return ConsoleSpanExporter()
    protocol = env.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or env.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if wanted != "otlp" or protocol not in (None, "", "http/protobuf"):
        log.warning(
            "tracing is off: OTEL_TRACES_EXPORTER is %r and the protocol %r; there is otlp over http/protobuf, "
            "console and none",
            wanted,
            protocol or "http/protobuf",
        )
        return None
    return OTLPSpanExporter()
