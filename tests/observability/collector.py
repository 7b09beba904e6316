"""A stand-in for an OpenTelemetry collector: a real HTTP server that decodes what it is sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest


@dataclass
class Collector:
    """What was received, and how to answer."""

    url: str = ""
    status: int = 200
    requests: list[ExportMetricsServiceRequest] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def metrics(self) -> dict[str, Any]:
        """The metrics of the last request, by name."""
        return {m.name: m for m in self.requests[-1].resource_metrics[0].scope_metrics[0].metrics}

    def resource(self) -> dict[str, str]:
        return attributes(self.requests[-1].resource_metrics[0].resource)

    def values(self, name: str) -> dict[str, int]:
        """Of a sum, by target."""
        return {attributes(point)["target"]: point.as_int for point in self.metrics()[name].sum.data_points}


def attributes(of: Any) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in of.attributes}


@contextmanager
def collector(status: int = 200) -> Iterator[Collector]:
    kept = Collector(status=status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.paths.append(self.path)
            kept.headers.append({name.lower(): value for name, value in self.headers.items()})
            kept.requests.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(kept.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
