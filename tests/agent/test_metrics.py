"""Metrics of a store with something in everything: what they say, and that dashboard and page know them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from agent.ingest import Ingest
from agent.metrics import Meters
from policies.config import Config
from store import counters, outbox, reviews, state, steps, versions
from store.clock import now_ms
from store.database import Store
from store.processes import record_process

ROOT = Path(__file__).parent.parent.parent
TURNS = [
    {"event_id": "1", "role": "system", "content": "Answer in one sentence."},
    {"event_id": "2", "role": "user", "content": "What is rain?"},
    {"event_id": "3", "role": "assistant", "content": "Rain is water. It falls. It is wet."},
]
FUNCTIONS = {"rate", "increase", "delta", "sum", "by", "histogram_quantile", "ignoring"}


@pytest.fixture
def scraped(store: Store, home: Path) -> dict[str, dict[str, float]]:
    """Samples of a scrape by name, then by their labels as text."""
    ingest = Ingest(store, Config(), None)
    meters = Meters(home, lambda: "connected")
    with meters.ingesting("bus"):
        ingest.turns("a", {"conversation_id": "c", "turns": TURNS}, "mqtt")
    with meters.ingesting("log"):
        ingest.turns("a", b"nonsense", "mqtt")
    record_process(store, "vllm", "ready", 1, restarts=4)
    record_process(store, "learner", "restarting", 1)
    add_learning(store)
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(meters.scrape().decode()):
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, {})[",".join(f"{k}={v}" for k, v in sample.labels.items())] = (
                sample.value
            )
    return found


def add_learning(store: Store) -> None:
    """Two versions, a step, a probe run, a rollback, an alert, something held, answers, pace and cache."""
    at = now_ms()
    with store.write() as connection:
        base = versions.new_version(None, "base", first_step=None, last_step=None, file=None, fingerprint="f")
        versions.add(connection, base)
        back = versions.new_version(
            base, "rollback", first_step=None, last_step=0, file=None, fingerprint="f"
        )
        versions.add(connection, back)
        example = connection.execute("SELECT id FROM examples").fetchone()["id"]
        rows = [("correction", example), ("general", example), ("twin", example), ("correction", example)]
        step = steps.begin(connection, base.id, 1e-4, rows)
        steps.confirm(connection, step, loss=0.5, row_losses=[1] * 4, seconds=2, changed_bytes=7, detail={})
        connection.execute("INSERT INTO probes VALUES (1, 1, ?, 'accept', '', 1.0, ?)", (base.id, at - 5_000))
        connection.execute("INSERT INTO probe_values VALUES (1, 'facts', 0.75, '{}')")
        outbox.alert(connection, "something")
        reviews.ask(connection, "example", example, "over the quota")
        counters.add(connection, "answers", 2)
        for took in (1_000, 2_000):
            connection.execute(
                "INSERT INTO answers (choice, path, outcome, started, ended)"
                " VALUES (0, '/', 'finished', ?, ?)",
                (at - took, at),
            )
        state.put(connection, "pace", {"share": 0.5, "slowdown": 0.02, "cpu": 0.9, "starved_since": None})
        state.put(connection, "prefix_cache", {"policy": "salt", "tokens_queried": 8, "tokens_found": 2})


def test_metrics_say_what_is_in_the_store(scraped: dict[str, dict[str, float]]) -> None:
    one = {name: samples[""] for name, samples in scraped.items() if "" in samples}
    assert (one["heedloop_step"], one["heedloop_step_loss"], one["heedloop_learning_rate"]) == (1, 0.5, 1e-4)
    assert (one["heedloop_step_seconds"], one["heedloop_step_changed_bytes"]) == (2, 7)
    assert (one["heedloop_rollbacks_total"], one["heedloop_versions_total"]) == (1, 2)
    assert (one["heedloop_alerts_total"], one["heedloop_dead_letters_total"]) == (1, 1)
    assert 5 <= one["heedloop_probe_age_seconds"] < 600
    assert 0 <= one["heedloop_version_age_seconds"] < 600
    assert scraped["heedloop_held"] == {"subject=correction": 0, "subject=example": 1}
    assert scraped["heedloop_probe_runs_total"]["verdict=accept"] == 1
    assert [*scraped["heedloop_version_info"].values()] == [1]
    assert "kind=rollback" in next(iter(scraped["heedloop_version_info"]))
    assert scraped["heedloop_child_ready"] == {"process=learner": 0, "process=vllm": 1}
    assert scraped["heedloop_answer_seconds"] == {"quantile=0.5": 1.0, "quantile=0.95": 2.0}
    assert 0 < one["heedloop_server_requests"] <= 3 / 60
    assert scraped["heedloop_ingest_seconds_count"] == {"source=bus": 1, "source=log": 1}
    assert scraped["heedloop_prefix_cache_tokens"] == {"what=queried": 8, "what=found": 2}
    assert (one["heedloop_learner_starved"], one["heedloop_server_slowdown"]) == (0, 0.02)
    assert one["heedloop_store_bytes"] > 0


def test_no_label_of_a_metric_holds_what_anybody_said(scraped: dict[str, dict[str, float]]) -> None:
    labels = " ".join(label for samples in scraped.values() for label in samples)
    assert not any(turn["content"] in labels for turn in TURNS)


def test_a_counter_of_alerts_outlives_the_events_that_are_pruned(store: Store, home: Path) -> None:
    with store.write() as connection:
        for number in range(5):
            outbox.alert(connection, f"number {number}")
        outbox.mark_sent(connection, range(1, 6))
        outbox.prune(connection, 1)
    assert len(store.rows("SELECT * FROM outbox")) == 1
    assert b"heedloop_alerts_total 5.0" in Meters(home, lambda: "connected").scrape()


def test_the_page_describes_every_metric_with_its_labels_and_no_other(
    scraped: dict[str, dict[str, float]],
) -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    told = {
        name: set(re.findall(r"`(\w+)`", labels)) - {"le"}
        for name, labels in re.findall(r"^\| `(heedloop_\w+)` \|([^|]*)\|", page, re.MULTILINE)
    }
    real: dict[str, set[str]] = {}
    for name, samples in scraped.items():
        if not name.endswith(("_created", "_bucket", "_sum")):
            labels = {pair.split("=")[0] for key in samples for pair in key.split(",") if pair}
            real[name.removesuffix("_count")] = labels
    assert told == real


def expressions(part: Any) -> list[str]:
    """Return every PromQL expression of a dashboard or of rules."""
    if isinstance(part, dict):
        own = [part["expr"]] if isinstance(part.get("expr"), str) else []
        return own + [found for value in part.values() for found in expressions(value)]
    return [found for value in part for found in expressions(value)] if isinstance(part, list) else []


@pytest.mark.parametrize("file", ["grafana.json", "alerts.yml"])
def test_dashboard_and_rules_ask_only_for_what_is_scraped(
    scraped: dict[str, dict[str, float]], file: str
) -> None:
    text = (ROOT / "deploy" / file).read_text()
    found = expressions(json.loads(text) if file.endswith("json") else yaml.safe_load(text))
    assert found
    labels = {
        pair.split("=")[0] for samples in scraped.values() for key in samples for pair in key.split(",")
    }
    for expression in found:
        bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", expression)
        words = set(re.findall(r"[a-z_]\w*", bare))
        metrics = {word for word in words if word.startswith("heedloop_")}
        assert metrics, expression
        assert metrics <= scraped.keys(), expression
        assert words - metrics <= FUNCTIONS | labels, expression
        for metric, matcher, value in re.findall(r'(heedloop_\w+)\{(\w+)="([^"]*)"\}', expression):
            known = scraped[metric]
            assert f"{matcher}={value}" in known or metric == "heedloop_probe", expression


def test_every_metric_is_on_the_dashboard(scraped: dict[str, dict[str, float]]) -> None:
    shown = " ".join(expressions(json.loads((ROOT / "deploy/grafana.json").read_text())))
    missing = {
        name for name in scraped if not name.endswith(("_created", "_sum", "_count")) and name not in shown
    }
    assert missing == set()


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((ROOT / "deploy/grafana.json").read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells


def test_prometheus_is_told_where_the_metrics_are() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert all((ROOT / "deploy" / name).is_file() for name in config["rule_files"])
    assert "set http.port = 9464" in (ROOT / "deploy/prometheus.yml").read_text()
    assert job["static_configs"] == [{"targets": ["127.0.0.1:9464"]}]
