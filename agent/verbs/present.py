"""`run.py status`: what is going on."""

from __future__ import annotations

from typing import Any

from agent.verbs.dashboard import watch as watch_status
from policies.config import Config
from store.database import open_read_only
from store.home import home_of
from store.printing import moment, print_json, print_table
from store.status import summary


def show_status(config: Config, *, json: bool, watch: bool) -> None:
    """Print the summary; with `watch` a screen of it, and of how it went lately, until interrupted."""
    with open_read_only(home_of(config)) as store:
        if watch:
            watch_status(store, json=json)
        elif json:
            print_json(summary(store))
        else:
            _print(summary(store))


def _print(now: dict[str, Any]) -> None:
    version, probe = now["version"], now["last_probe"]
    print_table(
        "processes",
        ("name", "state", "pid", "restarts", "detail"),
        [(p["name"], p["state"], p["pid"], p["restarts"], p["detail"]) for p in now["processes"]],
    )
    print_table(
        "heedloop",
        ("what", "value"),
        [
            ("server", now["server_url"]),
            ("broker", now["broker_url"]),
            ("health and metrics", now["http_url"]),
            ("training", "paused" if now["paused"] else now["activity"]),
            ("pace", _pace(now["pace"])),
            ("prefix cache", _prefix_cache(now["prefix_cache"])),
            ("version in force", None if version is None else f"{version['id']} ({version['kind']})"),
            ("turns", now["events"]),
            ("decision points", now["decisions"]),
            *((f"labels: {verdict}", n) for verdict, n in now["labels"].items()),
            ("corrections", now["corrections"]),
            *((f"examples: {kind}", n) for kind, n in now["examples"].items()),
            *((f"rehearsals: {state}", n) for state, n in now["rehearsals"].items()),
            *((f"steps: {state}", n) for state, n in now["steps"].items()),
            ("replay share", now["replay_share"]),
            *((f"waiting: {name}", n) for name, n in now["queues"].items() if n),
            *((f"dead letters: {reason}", n) for reason, n in now["dead_letters"].items()),
            *((name, n) for name, n in now["counters"].items()),
        ],
    )
    if probe is not None:
        title = f"last probe: {probe['verdict']} at {moment(probe['created'])} {probe['reason']}"
        print_table(title, ("probe", "value"), list(probe["values"].items()))


def _pace(pace: dict[str, Any] | None) -> str | None:
    if pace is None:
        return None
    cost = "not measured" if pace["slowdown"] is None else f"{pace['slowdown']:+.1%}"
    since = pace["starved_since"]
    starved = "" if since is None else f"; STARVED since {moment(int(since * 1000))}"
    return f"works {pace['share']:.0%} of the time; a decode step then takes {cost}{starved}"


def _prefix_cache(cache: dict[str, Any] | None) -> str | None:
    if cache is None or cache["policy"] == "none":
        return None if cache is None else "none"
    queried, found = cache["tokens_queried"], cache["tokens_found"]
    return f"{cache['policy']}; {found} of {queried} prompt tokens found"
