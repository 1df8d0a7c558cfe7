"""Every page of `run.py ui` on a store of 100,000 decisions. Last line: one JSON object.

`python -m benchmarks.ui --json [--decisions N] [--home DIR]`: fills a store (or takes the one that an earlier
run left in DIR), starts the real ui, waits until its digest is complete, and asks for each page several times
while another process goes on writing decisions. Charts are asked for as the browser does it: by their SQL.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlencode

import httpx
import psutil
import yaml

from agent.ui.history import KEYS, NAME
from benchmarks.ui.filling import fill
from store.database import open_read_only
from store.home import make_home

LIMIT_MS = 200.0
_READ_WITHIN_S = 1800.0
_IDLE_S = 10.0
_LATE = 40
"""Of so many parts of the decisions, the last one begins where paging is tried."""


def main() -> None:
    """Fill, serve, ask, print."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        home = make_home(options.home or Path(folder))
        if not (home / "heedloop.db").exists():
            began = time.monotonic()
            fill(home, options.decisions, options.seed)
            print(f"filled in {time.monotonic() - began:.0f} s", file=sys.stderr)
        with _ui(home) as (http, process, read_s), _writing(home):
            asked, idle = _pages(http, home).items(), _idle(process)
            pages = {name: _ask(http, process, url, options.requests, idle) for name, url in asked}
            memory = process.memory_info().rss
        result = _result(home, pages) | {
            "digest_s": round(read_s, 1),
            "idle_share": round(idle, 3),
            "ui_mib": memory >> 20,
        }
    for name, page in sorted(pages.items(), key=lambda item: -item[1]["p95_ms"]):
        print(
            f"{page['median_ms']:8.1f} {page['p95_ms']:8.1f} {page['cpu_ms']:8.1f}  {name}", file=sys.stderr
        )
    print(json.dumps(result | ({"pages": pages} if options.json else {})))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ui")
    parser.add_argument("--json", action="store_true", help="with the figures of each page")
    parser.add_argument("--quick", action="store_true", help="2,000 decisions, three requests a page")
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=12, help="for each page")
    parser.add_argument("--home", type=Path, help="folder of the store; kept for another run")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.quick:
        options.decisions, options.requests = 2_000, 3
    return options


@contextmanager
def _ui(home: Path) -> Iterator[tuple[httpx.Client, psutil.Process, float]]:
    """Run the ui for the time of the block; yields a client, the process, and how long it read the store."""
    environment = {**os.environ, "HEEDLOOP_HOME": str(home), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", "from agent.verbs.window import commands; commands()", "--json"]
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with httpx.Client(base_url=url.partition("?")[0], timeout=60, follow_redirects=True) as http:
            http.get(url).raise_for_status()
            _wait_until_read(http, home)
            yield http, psutil.Process(process.pid), time.monotonic() - began
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _writing(home: Path) -> Iterator[None]:
    """Go on writing turns and decisions, as the loop does, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ui.filling", str(home)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_read(http: httpx.Client, home: Path) -> None:
    store = open_read_only(home)
    row = store.row("SELECT count(*) FROM decisions")
    assert row is not None
    deadline = time.monotonic() + _READ_WITHIN_S
    while time.monotonic() < deadline:
        if _value(http, "SELECT count(*) AS value FROM digest.points") == row[0]:
            store.close()
            return
        time.sleep(0.5)
    raise TimeoutError("the digest was not complete in time")


def _value(http: httpx.Client, sql: str) -> Any:
    query = urlencode({"sql": sql, "_shape": "array"})
    return http.get(f"{NAME}.json?{query}").raise_for_status().json()[0]["value"]


def _pages(http: httpx.Client, home: Path) -> dict[str, str]:
    """Return the address of each page, by name: views, a row of each, filters, search, questions, charts."""
    folder = files("agent.ui")
    metadata = yaml.safe_load(folder.joinpath("metadata.yaml").read_text())["databases"][NAME]
    late = _value(http, f"SELECT max(number) / {_LATE} AS value FROM decisions")
    pages = {"front": "", "everything": NAME, "charts": "-/dashboards/overview"}
    for view, keys in KEYS.items():
        pages[view] = f"{NAME}/{view}"
        row = _first(http, view, keys)
        if row:
            pages[f"one of {view}"] = f"{NAME}/{view}/{row}"
        for name, query in metadata["tables"][view].get("filters", {}).items():
            pages[f"{view}, {name}"] = f"{NAME}/{view}?{query}"
    pages["decisions, a late page"] = f"{NAME}/decisions?_next={late},x"
    pages["decisions, a common word"] = f"{NAME}/decisions?_search=merge"
    pages["decisions, three words"] = f"{NAME}/decisions?_search=merge+deploy+queue"
    pages["directions, a word"] = f"{NAME}/directions?_search=merge"
    for name, query in metadata["queries"].items():
        pages[f"question {name}"] = f"{NAME}/{name}"
        for parameter in query.get("params", ()):
            given = {"words": "merge deploy", "day": _last_day(http), "direction": "merge", "version": "v1"}[
                parameter
            ]
            pages[f"question {name} {parameter}"] = f"{NAME}/{name}?{urlencode({parameter: given})}"
    for name, chart in yaml.safe_load(folder.joinpath("dashboards.yaml").read_text())["overview"][
        "charts"
    ].items():
        pages[f"chart {name}"] = f"{NAME}.json?{urlencode({'sql': chart['query'], '_shape': 'objects'})}"
    return pages


def _first(http: httpx.Client, view: str, keys: tuple[str, ...]) -> str:
    """Return the path of the newest row of a view, empty where there is none."""
    page = http.get(f"{NAME}/{view}").raise_for_status().text
    _, found, rest = page.partition(f'href="/{NAME}/{view}/')
    return rest.partition('"')[0] if found else ""


def _last_day(http: httpx.Client) -> str:
    return str(_value(http, "SELECT date(max(finished) / 1000, 'unixepoch') AS value FROM main.steps"))


def _ask(http: httpx.Client, process: psutil.Process, url: str, requests: int, idle: float) -> dict[str, Any]:
    """Ask for one page several times, once before to no account. Raises for one that is not 200.

    `cpu_ms` is what the ui computed for one request, which other load on the machine changes less; `idle` is
    the share of a core that it takes to follow the store.
    """
    http.get(url).raise_for_status()
    times, cpu = [], process.cpu_times()
    for _ in range(requests):
        began = time.perf_counter()
        answer = http.get(url).raise_for_status()
        times.append((time.perf_counter() - began) * 1000)
    now = process.cpu_times()
    used = now.user + now.system - cpu.user - cpu.system - idle * sum(times) / 1000
    return {
        "cpu_ms": round(max(0.0, used) * 1000 / requests, 1),
        "median_ms": round(median(times), 1),
        "p95_ms": round(quantiles(times, n=20, method="inclusive")[-1], 1),
        "bytes": len(answer.content),
    }


def _idle(process: psutil.Process) -> float:
    """Return the share of a core that the ui takes while nobody looks and somebody writes."""
    before = process.cpu_times()
    time.sleep(_IDLE_S)
    now = process.cpu_times()
    return (now.user + now.system - before.user - before.system) / _IDLE_S


def _result(home: Path, pages: dict[str, dict[str, Any]]) -> dict[str, Any]:
    store = open_read_only(home)
    row = store.row("SELECT count(*) FROM decisions")
    assert row is not None
    store.close()
    slow = sorted(name for name, page in pages.items() if page["median_ms"] > LIMIT_MS)
    return {
        "decisions": row[0],
        "asked": len(pages),
        "worst_cpu_ms": max(page["cpu_ms"] for page in pages.values()),
        "worst_median_ms": max(page["median_ms"] for page in pages.values()),
        "worst_p95_ms": max(page["p95_ms"] for page in pages.values()),
        "limit_ms": LIMIT_MS,
        "over_limit": slow,
        "store_mib": (home / "heedloop.db").stat().st_size >> 20,
        "digest_mib": (home / "ui.db").stat().st_size >> 20,
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
