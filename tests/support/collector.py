"""An OTLP collector that keeps what it is sent: spans over HTTP as protobuf, by the protocol's own classes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

KINDS = {Span.SPAN_KIND_INTERNAL: "internal", Span.SPAN_KIND_SERVER: "server", Span.SPAN_KIND_CLIENT: "client"}


@dataclass(frozen=True)
class Seen:
    """One span."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: Mapping[str, Any]
    failed: bool
    service: str

    @property
    def traceparent(self) -> str:
        """What it hands to those below it."""
        return f"00-{self.trace}-{self.id}-01"


class Collector:
    """What has come in so far. `url` is for OTEL_EXPORTER_OTLP_ENDPOINT."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.raw: list[bytes] = []
        self.spans: list[Seen] = []

    def take(self, body: bytes) -> None:
        self.raw.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {item.key: plain(item.value) for item in resource.resource.attributes}["service.name"]
            self.spans += [read(span, service) for scope in resource.scope_spans for span in scope.spans]

    def wait_for(self, name: str, count: int = 1, timeout: float = 20) -> list[Seen]:
        """The spans of that name, once there are that many."""
        deadline = time.monotonic() + timeout
        while len(found := [span for span in self.spans if span.name == name]) < count:
            assert time.monotonic() < deadline, f"no {count} spans {name!r}: {[span.name for span in self.spans]}"
            time.sleep(0.02)
        return found

    def tree(self, trace: str) -> list[str]:
        """The spans of a trace below each other, as indented names in the order of their beginning."""
        spans = [span for span in self.spans if span.trace == trace]
        known = {span.id for span in spans}

        def below(parent: str | None, depth: int) -> Iterator[str]:
            for span in spans:
                if span.parent == parent if parent is not None else span.parent not in known:
                    yield "  " * depth + span.name
                    yield from below(span.id, depth + 1)

        spans.sort(key=lambda span: span.attributes["_began"])
        return list(below(None, 0))


def read(span: Span, service: str) -> Seen:
    attributes = {item.key: plain(item.value) for item in span.attributes}
    return Seen(
        name=span.name,
        kind=KINDS[span.kind],
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        attributes={**attributes, "_began": span.start_time_unix_nano},
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        service=service,
    )


def plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    return getattr(value, kind or "string_value")


@contextmanager
def collector() -> Iterator[Collector]:
    """One on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            assert self.headers["content-type"] == "application/x-protobuf"
            kept.take(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()
