"""Prometheus metrics: read from the store at each scrape, but for how long ingest takes.

Every metric has its help text here and its line in docs/metrics.md. No label holds what anybody said.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from store.clock import now_ms
from store.database import Store, open_read_only
from store.status import summary
from store.trends import answer_times, server_requests

Look = Callable[[Store], dict[str, Any]]
_SHARE = 20
"""So many times as long as it took to count everything, the counts serve the next scrapes."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_QUANTILES = (0.5, 0.95)


class Meters:
    """What /metrics tells of one loop. `bus_state` says `connected` while the broker session is up."""

    def __init__(self, home: Path, bus_state: Callable[[], str]) -> None:
        self._registry = CollectorRegistry()
        self._ingest = Histogram(
            "heedloop_ingest_seconds",
            "from a batch of messages or a piece of a log being taken to its commit",
            ["source"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._registry.register(_StoreCollector(home, bus_state))

    def ingesting(self, source: Literal["bus", "log"]) -> AbstractContextManager[Any]:
        """Measure the time of the block as that of one ingest."""
        return self._ingest.labels(source).time()

    def scrape(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        return generate_latest(self._registry)


def read(home: Path, look: Look) -> dict[str, Any]:
    """Look at the store through a connection of its own."""
    with open_read_only(home) as store:
        return look(store)


class _StoreCollector(Collector):
    """Reads the store at each scrape, so that a restart of the loop forgets nothing."""

    def __init__(self, home: Path, bus_state: Callable[[], str]) -> None:
        self._home = home
        self._bus_state = bus_state
        self._counted: dict[str, Any] | None = None
        self._fresh_until = 0.0

    def _summary(self) -> dict[str, Any]:
        """Count anew, but spend at most a twentieth of the time on it: in a large store it takes a while."""
        began = time.monotonic()
        if self._counted is None or began >= self._fresh_until:
            self._counted = read(self._home, _look)
            now = time.monotonic()
            self._fresh_until = now + _SHARE * (now - began)
        return self._counted

    def collect(self) -> Iterator[Metric]:
        now = self._summary()
        yield from _ingested(now)
        yield from _trained(now)
        yield from _judged(now)
        yield from _running(now)
        yield _gauge("bus_connected", "1 while the broker session is up", self._bus_state() == "connected")


def _look(store: Store) -> dict[str, Any]:
    files = (store.path, store.path.with_name(f"{store.path.name}-wal"))
    return summary(store) | {
        "answer_ms": answer_times(store),
        "server_requests": server_requests(store, now_ms()),
        "store_bytes": sum(file.stat().st_size for file in files if file.exists()),
    }


def _ingested(now: dict[str, Any]) -> Iterator[Metric]:
    counters: dict[str, int] = now["counters"]
    yield _counter("turns", "turns kept", now["events"])
    yield _counter("corrections", "corrections received", now["corrections"])
    yield _counter("dead_letters", "records kept as unreadable", counters.get("dead_letters", 0))
    yield _counter("alerts", "alerts given to the bus", counters.get("alerts", 0))
    yield _labelled("decisions", "decision points by worst verdict", "verdict", _verdicts(now))
    yield _labelled("examples", "examples by kind and state", "state", now["examples"])
    yield _labelled("queue_depth", "rows that wait", "queue", now["queues"])
    held = dict.fromkeys(("correction", "example"), 0) | now["held"]
    yield _labelled("held", "what waits for a person's word before it may train", "subject", held)
    yield _labelled("counted", "what no table holds: repeated, dropped, rejected", "what", counters)
    yield _gauge("store_bytes", "size of the database and its write-ahead log", now["store_bytes"])


def _trained(now: dict[str, Any]) -> Iterator[Metric]:
    step: Mapping[str, Any] = now["last_step"] or {}
    yield _labelled("steps", "training steps by state", "state", now["steps"])
    yield _gauge("step", "number of the last confirmed step", step.get("id"))
    yield _gauge("step_loss", "loss of the last confirmed step", step.get("loss"))
    yield _gauge("step_seconds", "time that the last confirmed step took", step.get("seconds"))
    yield _gauge("step_changed_bytes", "live bytes that it changed", step.get("changed_bytes"))
    yield _gauge("learning_rate", "learning rate of the last confirmed step", step.get("learning_rate"))
    yield _gauge("replay_share", "general rows over all rows of confirmed steps", now["replay_share"])
    yield _gauge("learner_attached", "1 while the learner is on the live weights", now["learner_attached"])
    yield _gauge("paused", "1 while training is paused", now["paused"])


def _judged(now: dict[str, Any]) -> Iterator[Metric]:
    version, probe = now["version"], now["last_probe"]
    yield _counter("versions", "durable versions written, the base included", sum(now["versions"].values()))
    yield _counter(
        "rollbacks", "times that the live weights were put back", now["versions"].get("rollback", 0)
    )
    info = GaugeMetricFamily("heedloop_version_info", "1: the version in force", labels=["version", "kind"])
    if version is not None:
        info.add_metric([version["id"], version["kind"]], 1)
    yield info
    yield _gauge("version_age_seconds", "age of the newest durable version", _age(version))
    runs = CounterMetricFamily("heedloop_probe_runs", "checks of the live weights", labels=["verdict"])
    for verdict in ("baseline", "accept", "breach"):
        runs.add_metric([verdict], now["probes"].get(verdict, 0))
    yield runs
    values = {} if probe is None else probe["values"]
    yield _labelled("probe", "last value of each regression probe", "probe", values)
    yield _gauge("probe_age_seconds", "time since the last check of the live weights", _age(probe))


def _running(now: dict[str, Any]) -> Iterator[Metric]:
    pace, cache = now["pace"] or {}, now["prefix_cache"] or {}
    requests = now["server_requests"]
    yield _gauge("server_requests", "requests under way in the server, mean of the last minute", requests)
    yield _counter("answers", "answers of the server that its log told of", now["counters"].get("answers", 0))
    yield _labelled(
        "answer_seconds",
        "how long the newest 200 finished answers took",
        "quantile",
        _quantiles(now["answer_ms"]),
    )
    yield _gauge(
        "server_slowdown", "share by which the learner's work slows a decode step", pace.get("slowdown")
    )
    yield _gauge("learner_work_share", "share of its time that the learner may work", pace.get("share"))
    yield _gauge("learner_cpu_share", "share of a CPU that it gets while it works", pace.get("cpu"))
    starved = None if not pace else pace["starved_since"] is not None
    yield _gauge("learner_starved", "1 while the learner does not get on", starved)
    tokens = {name: cache[f"tokens_{name}"] for name in ("queried", "found") if cache}
    yield _labelled(
        "prefix_cache_tokens", "prompt tokens looked up, and found, since the server's start", "what", tokens
    )
    restarts = CounterMetricFamily("heedloop_child_restarts", "restarts of a child", labels=["process"])
    for process in now["processes"]:
        restarts.add_metric([process["name"]], process["restarts"])
    yield restarts
    ready = {process["name"]: process["state"] == "ready" for process in now["processes"]}
    yield _labelled("child_ready", "1 while a child is ready", "process", ready)


def _verdicts(now: dict[str, Any]) -> dict[str, int]:
    labelled = {verdict: now["labels"].get(verdict, 0) for verdict in ("ignored", "followed")}
    return {**labelled, "unknown": now["decisions"] - sum(labelled.values())}


def _age(row: Mapping[str, Any] | None) -> float | None:
    return None if row is None else max(0, now_ms() - row["created"]) / 1000


def _quantiles(milliseconds: list[int]) -> dict[str, float]:
    if not milliseconds:
        return {}
    last = len(milliseconds) - 1
    return {str(share): milliseconds[round(share * last)] / 1000 for share in _QUANTILES}


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"heedloop_{name}", text, value=value)


def _gauge(name: str, text: str, value: float | None) -> Metric:
    family = GaugeMetricFamily(f"heedloop_{name}", text)
    if value is not None:
        family.add_metric([], float(value))
    return family


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"heedloop_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family
