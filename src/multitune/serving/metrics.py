"""The server's figures for Prometheus, with the meanings of the Gateway API's model-server protocol.

Source: https://github.com/kubernetes-sigs/gateway-api-inference-extension, docs/proposals/003-model-server-protocol.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from multitune.core.bases import BASE
from multitune.serving.decisions import Route
from multitune.serving.learning.learner import LearningState
from multitune.serving.served_run import ServedRun

LATEST = 20_000  # requests of which it is known when they came


@dataclass(slots=True)
class RouteCounter:
    """Requests so far, by where they went."""

    routes: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])  # (adapter, reason)
    _latest: deque[tuple[float, str, str]] = field(default_factory=lambda: deque(maxlen=LATEST))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def routed(self, route: Route) -> None:
        """A request went to an adapter."""
        with self._lock:
            self.routes[route.adapter, route.reason] += 1
            self._latest.append((time.monotonic(), route.adapter, route.reason))

    def since(self, moment: float) -> Counter[tuple[str, str]]:
        """Requests since a moment of the monotonic clock, by where they went; of the latest ones alone."""
        with self._lock:
            return Counter((adapter, reason) for at, adapter, reason in self._latest if at >= moment)


class EngineCollector(Collector):
    """Reads the figures of the backend when it is asked; what it does not know is left out."""

    def __init__(self, served: ServedRun, counter: RouteCounter) -> None:
        self._served, self._counter = served, counter

    def collect(self) -> Iterable[Metric]:
        """One family after the other."""
        stats = self._served.backend.stats
        names = self._served.adapters.names
        gauges = {
            "num_requests_running": ("Requests in the batch.", stats.running.total()),
            "num_requests_waiting": ("Requests in the queue.", stats.waiting.total()),
            "kv_cache_usage_perc": ("Share of the key-value store that requests hold, 0 to 1.", stats.cache_usage),
            "adapters_loaded": ("Adapters that requests may name.", len(names)),
        }
        for name, (text, value) in gauges.items():
            if value is not None:
                yield GaugeMetricFamily(f"multitune:{name}", text, value)
        info = GaugeMetricFamily(
            "multitune:lora_requests_info",
            "When it was read; labels name the adapters of requests that run and wait.",
            labels=["max_lora", "running_lora_adapters", "waiting_lora_adapters"],
        )
        most = min(self._served.backend.max_loras or len(names), len(names))
        info.add_metric([str(most), _listed(stats.running), _listed(stats.waiting)], time.time())
        yield info
        counters = {
            "prompt_tokens": ("Tokens of prompts.", stats.prompt_tokens),
            "prompt_tokens_cached": ("Tokens of prompts that were not read again.", stats.cached_tokens),
            "generation_tokens": ("Tokens generated.", stats.generation_tokens),
            "engine_steps": ("Steps of the engine.", stats.steps),
            "adapter_loads": ("Adapters read from disk, the first time and after they had left.", stats.adapter_loads),
        }
        for name, (text, value) in counters.items():
            if value is not None:
                yield CounterMetricFamily(f"multitune:{name}", text, value)
        routes = CounterMetricFamily("multitune:routes", "Requests by route.", labels=["adapter", "reason"])
        for (adapter, reason), count in self._counter.routes.copy().items():
            routes.add_metric([adapter, reason], count)
        yield routes


class LearningCollector(Collector):
    """Reads what was learned from use."""

    def __init__(self, state: LearningState) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """One family after the other."""
        state = self._state
        gauges = {
            "learning_version": ("What was learned that routes; 0 is the run's own router.", state.version),
            "learning_feedback": ("Rows of feedback that are kept.", state.feedback),
            "learning_faulty": ("1 while nothing can be kept, such as on a full disk.", int(state.fault is not None)),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"multitune:{name}", text, value)
        drift = GaugeMetricFamily(
            "multitune:routing_drift",
            "How far recent requests lie from held-out rows, in standard deviations beyond chance.",
            labels=["task"],
        )
        for task, value in state.drift.items():
            drift.add_metric([task], value)
        yield drift


def _listed(versions: Iterable[str]) -> str:
    """Names of adapters, whatever their version."""
    return ",".join(sorted({version.partition("@")[0] for version in versions} - {BASE}))


def exposition(served: ServedRun, counter: RouteCounter, learning: LearningState) -> bytes:
    """The text that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(EngineCollector(served, counter))
    registry.register(LearningCollector(learning))
    return generate_latest(registry)
