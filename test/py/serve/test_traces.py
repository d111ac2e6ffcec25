# SPDX-License-Identifier: Apache-2.0
"""Spans of OpenTelemetry."""

from __future__ import annotations

import sys

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from server_fixture import serving

from lumen_mlir.errors import LumenError
from lumen_mlir.serve.traces import Traces
from lumen_mlir.testing.scripted import write_scripted


def test_spans(tmp_path):
    """One for each request, in the trace of its client, with what came of it."""
    write_scripted(tmp_path / "model.gguf", ["?", "a", "</s>"], control=["</s>"], eos="</s>")
    exporter = InMemorySpanExporter()
    with serving(str(tmp_path / "model.gguf"), options={"engine": "reference"}) as server:
        server.server.traces = Traces(exporter)
        trace = "0af7651916cd43dd8448eb211c80319c"
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "X-Request-Id": "mine"}
        server.client.post("/v1/completions", json={"prompt": "?"}, headers=headers)
        server.client.post("/v1/completions", json={"prompt": 7})
    spans = {span.attributes["lumen.request_id"]: span for span in exporter.get_finished_spans()}
    own = spans.pop("mine")
    assert own.name == "POST /v1/completions" and f"{own.context.trace_id:032x}" == trace
    assert own.attributes["http.response.status_code"] == 200
    (other,) = spans.values()
    assert other.attributes["http.response.status_code"] == 400 and other.parent is None


def test_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(LumenError, match=r"pip install 'lumen-mlir\[traces\]'"):
        Traces()
