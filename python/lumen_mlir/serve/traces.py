# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry: a span for each request, as part of the trace that its client has begun.

Where spans go is said by OpenTelemetry's own variables, such as ``OTEL_EXPORTER_OTLP_ENDPOINT``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from lumen_mlir.errors import about_missing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter


class Traces:
    """Makes spans.

    Args:
      exporter: where they go; None for OTLP over HTTP.

    Raises ``LumenError`` where OpenTelemetry is not installed.
    """

    def __init__(self, exporter: SpanExporter | None = None):
        try:
            from opentelemetry.propagate import extract
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace import SpanKind

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

                exporter = OTLPSpanExporter()
        except ImportError as error:
            raise about_missing(error, "--traces", "traces") from None
        # (``OTEL_SERVICE_NAME`` goes first.)
        self._provider = TracerProvider(resource=Resource.create().merge(_default_name(Resource)))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("lumen_mlir.serve")
        self._extract, self._kind = extract, SpanKind.SERVER

    def span(self, method: str, path: str, headers: Mapping[str, str]) -> AbstractContextManager[Any]:
        """The span of a request, which ends with the context."""
        return self._tracer.start_as_current_span(
            f"{method} {path}",
            context=self._extract(headers),
            kind=self._kind,
            attributes={"http.request.method": method, "url.path": path},
        )

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()


def _default_name(resource: Any) -> Any:
    return resource({} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "lumen"})


class NoTraces:
    """Makes none."""

    def span(self, method: str, path: str, headers: Mapping[str, str]) -> AbstractContextManager[Any]:
        """Nothing."""
        return nullcontext()

    def close(self) -> None:
        """Nothing."""
