# SPDX-License-Identifier: Apache-2.0
"""Prometheus metrics, under the names that vLLM gives them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from lumen_mlir.generate.generation import Generation
from lumen_mlir.generate.request import RUNNING, WAITING, Request

if TYPE_CHECKING:
    from lumen_mlir.serve.served_model import ServedModel

_FIRST = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
    160,
)
_BETWEEN = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1,
    2.5,
    5,
    10,
)
_WHOLE = (0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920)
_TOKENS = tuple(scale * digit for scale in (1, 10, 100, 1000, 10_000, 100_000) for digit in (1, 2, 5))

_LABEL = ["model_name"]


class Counted(Protocol):
    """What is counted of a request: tokens of its prompt, those of them that were known, and of its texts."""

    @property
    def prompt_tokens(self) -> int: ...

    @property
    def cached_tokens(self) -> int: ...

    @property
    def tokens(self) -> int: ...


class Metrics:
    """Of one server. ``model_name`` tells its models apart."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._open: list[Metrics.Watch] = []

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"vllm:{name}", text, [*_LABEL, *labels], registry=self._registry)

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"vllm:{name}", text, _LABEL, buckets=buckets, registry=self._registry)

        self._prompt = counter("prompt_tokens", "Tokens of prompts.")
        self._generated = counter("generation_tokens", "Tokens that were written.")
        self._queried = counter("prefix_cache_queries", "Tokens of prompts that were looked for.")
        self._hit = counter("prefix_cache_hits", "Those of them that did not have to be computed.")
        self._done = counter("request_success", "Requests that were answered.", "finished_reason")
        self._preempted = counter("num_preemptions", "Texts that had to begin again.")
        self._first = histogram("time_to_first_token_seconds", "Until the first token.", _FIRST)
        self._between = histogram("inter_token_latency_seconds", "Between two tokens.", _BETWEEN)
        self._whole = histogram("e2e_request_latency_seconds", "Until the last token.", _WHOLE)
        self._queue = histogram("request_queue_time_seconds", "Until a prompt was begun.", _WHOLE)
        self._prompts = histogram("request_prompt_tokens", "Tokens of a prompt.", _TOKENS)
        self._texts = histogram("request_generation_tokens", "Tokens of a text.", _TOKENS)
        self.refused = Counter(
            "lumen:requests_refused", "Requests that were refused.", ["status"], registry=self._registry
        )

    def add_models(self, loaded: Callable[[], Iterable[ServedModel]]) -> None:
        """``loaded`` gives the models that are."""
        self._registry.register(_Now(self, loaded))

    def text(self) -> bytes:
        """All of them, in the format of Prometheus."""
        return generate_latest(self._registry)

    def request(self, model: str, generations: Sequence[Generation]) -> Watch:
        """Watches a request that begins."""
        watch = Metrics.Watch(self, model, generations)
        self._open.append(watch)
        return watch

    def embedded(self, model: str, tokens: int, seconds: float) -> None:
        """A request for vectors was answered: so many tokens were read, in so many seconds."""
        self._prompt.labels(model).inc(tokens)
        self._prompts.labels(model).observe(tokens)
        self._whole.labels(model).observe(seconds)
        self._done.labels(model, "stop").inc()

    def count(self, model: str, state: str) -> int:
        """Texts of ``model`` that wait, or that are computed."""
        return sum(request.state == state for request in self._requests(model))

    def kv_tokens(self, model: str) -> int:
        """Tokens of texts that are computed, in the KV cache."""
        return sum(request.computed for request in self._requests(model))

    def _requests(self, model: str) -> Iterator[Request]:
        watches = (watch for watch in self._open if watch.model == model)
        return (generation.request for watch in watches for generation in watch.generations)

    @property
    def open_requests(self) -> int:
        """Requests that are being answered."""
        return len(self._open)

    class Watch:
        """A request that is being answered."""

        def __init__(self, metrics: Metrics, model: str, generations: Sequence[Generation]):
            self.model, self.generations = model, generations
            self._metrics, self._start = metrics, time.perf_counter()
            self._last: list[float | None] = [None] * len(generations)

        def tokens(self, number: int, count: int) -> None:
            """So many tokens came of a text."""
            now, last = time.perf_counter(), self._last[number]
            if last is None:
                self._metrics._first.labels(self.model).observe(now - self._start)
            else:
                between = self._metrics._between.labels(self.model)
                for _ in range(count):
                    between.observe((now - last) / count)
            self._last[number] = now

        def finish(self, reason: str, completion: Counted) -> None:
            """It is done, or given up."""
            metrics, model = self._metrics, self.model
            metrics._open.remove(self)
            metrics._prompt.labels(model).inc(completion.prompt_tokens)
            metrics._queried.labels(model).inc(completion.prompt_tokens)
            metrics._hit.labels(model).inc(completion.cached_tokens)
            metrics._generated.labels(model).inc(completion.tokens)
            metrics._prompts.labels(model).observe(completion.prompt_tokens)
            metrics._whole.labels(model).observe(time.perf_counter() - self._start)
            metrics._done.labels(model, _FINISHED.get(reason, reason)).inc()
            for generation in self.generations:
                metrics._texts.labels(model).observe(len(generation.tokens))
                metrics._preempted.labels(model).inc(generation.request.preempted)


# As vLLM says it.
_FINISHED = {"end": "stop", "context": "length", "closed": "abort"}


class _Now(Collector):
    """What is the case at the moment."""

    def __init__(self, metrics: Metrics, loaded: Callable[[], Iterable[ServedModel]]):
        self._metrics, self._loaded = metrics, loaded

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        running = GaugeMetricFamily("vllm:num_requests_running", "Texts that are computed.", labels=_LABEL)
        waiting = GaugeMetricFamily("vllm:num_requests_waiting", "Texts that wait.", labels=_LABEL)
        usage = GaugeMetricFamily("vllm:kv_cache_usage_perc", "Share of the KV cache in use.", labels=_LABEL)
        for model in self._loaded():
            name = model.name
            running.add_metric([name], self._metrics.count(name, RUNNING))
            waiting.add_metric([name], self._metrics.count(name, WAITING))
            usage.add_metric([name], min(self._metrics.kv_tokens(name) / model.kv_capacity, 1.0))
        return [running, waiting, usage]
