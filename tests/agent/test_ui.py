"""The ui, as a process of its own on a store with a real history: pages, questions, links, door, browser."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import ui_history
import yaml
from ui_history import HOSTILE, REHEARSED, SENTENCE, SUSPECT

from agent.ui import require_datasette
from agent.ui.door import ui_token
from agent.ui.history import KEYS, NAME
from policies.config import Config
from policies.errors import ConfigError
from store import state
from store.database import Store, open_store
from store.processes import record_process

pytest.importorskip("datasette", reason="the extra ui is not installed")

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from agent.verbs.window import commands; commands()"]
START_S = 60.0
SEEN_WITHIN_S = 30.0
MOST_PAGES = 150


class Ui(NamedTuple):
    """A running ui: `http` has been let in."""

    home: Path
    url: str
    store: Store
    http: httpx.Client


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    home = tmp_path_factory.mktemp("ui") / "home"
    store = open_store(home)
    ui_history.fill(store)
    process = subprocess.Popen([*COMMAND, "--json"], env=environment(home), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["url"]
    with httpx.Client(base_url=url.partition("?")[0], timeout=START_S, follow_redirects=True) as http:
        http.get(url).raise_for_status()
        wait_for(http, "SELECT count(*) FROM digest.points", 4)
        yield Ui(home, url, store, http)
    process.terminate()
    process.wait(30)
    process.stdout.close()
    store.close()


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "HEEDLOOP_HOME": str(home), "PYTHONPATH": str(ROOT)}


def ask(http: httpx.Client, sql: str, **parameters: str) -> list[dict[str, object]]:
    answer = http.get(f"/{NAME}.json", params={"sql": sql, "_shape": "array", **parameters})
    return list(answer.raise_for_status().json())


def wait_for(http: httpx.Client, sql: str, value: object) -> None:
    deadline = time.monotonic() + SEEN_WITHIN_S
    while list(ask(http, sql)[0].values()) != [value]:
        assert time.monotonic() < deadline, f"{sql}: {ask(http, sql)}"
        time.sleep(0.1)


def text(http: httpx.Client, path: str) -> str:
    return unescape(http.get(path).raise_for_status().text)


def rows(http: httpx.Client, question: str, **parameters: str) -> list[dict[str, object]]:
    answer = http.get(f"/{NAME}/{question}.json", params={"_shape": "array", **parameters})
    return list(answer.raise_for_status().json())


def metadata() -> dict[str, dict[str, object]]:
    whole = yaml.safe_load((ROOT / "agent" / "ui" / "metadata.yaml").read_text())
    return dict(whole["databases"][NAME])


def test_every_view_and_question_has_a_page(ui: Ui) -> None:
    assert set(metadata()["tables"]) == set(KEYS)
    for name in [*KEYS, *metadata()["queries"]]:
        page = text(ui.http, f"/{NAME}/{name}")
        assert "How it is" in page, name
    for view in KEYS:
        assert rows(ui.http, view), f"the history has a row for {view}"


def test_every_link_of_every_page_leads_somewhere(ui: Ui) -> None:
    waiting, seen = ["/"], {"/"}
    while waiting and len(seen) < MOST_PAGES:
        path = waiting.pop(0)
        answer = ui.http.get(path)
        assert answer.status_code == 200, path
        found = (
            re.findall(r'(?:href|src)="([^"]+)"', answer.text)
            if "html" in answer.headers["content-type"]
            else []
        )
        for link in map(unescape, found):
            assert link.startswith("/") or link.startswith(str(ui.http.base_url)), f"{path} leaves for {link}"
            local = link.removeprefix(str(ui.http.base_url).rstrip("/"))
            if local not in seen:
                seen.add(local)
                waiting.append(local)
    kinds = {path.split("/")[2] for path in seen if path.count("/") == 3 and path.startswith(f"/{NAME}/")}
    assert {
        "decisions",
        "directions",
        "steps",
        "versions",
        "examples",
        "turns",
        "probes",
        "corrections",
    } <= kinds


def test_a_version_leads_back_to_the_sentence_and_on_to_the_probes(ui: Ui) -> None:
    (version,) = rows(ui.http, "versions", kind="train")
    page = text(ui.http, f"/{NAME}/versions/{version['id']}")
    assert SENTENCE in page
    steps = re.findall(rf"/{NAME}/steps/(\d+)", page)
    probes = re.findall(rf"/{NAME}/probes/(\d+)", page)
    assert (sorted(set(steps)), len(set(probes))) == (["1", "2"], 1)
    step = text(ui.http, f"/{NAME}/steps/1")
    assert f"/{NAME}/decisions/talk-1~230" in step
    assert f"/{NAME}/turns/talk-0" in step, "where the sentence was said"
    decision = text(ui.http, f"/{NAME}/decisions/talk-1~230")
    assert f"/{NAME}/corrections/k1" in decision
    assert f"/{NAME}/versions/{version['id']}" in decision, "what was learned from it"


def test_a_rehearsal_under_another_argument_counts_for_the_sentence_that_was_said(ui: Ui) -> None:
    (version,) = rows(ui.http, "versions", kind="train")
    assert [step["learned"] for step in rows(ui.http, "steps", version=str(version["id"]))] == [SENTENCE] * 2
    for path in ("/", f"/{NAME}/versions/{version['id']}", f"/{NAME}/learned", f"/{NAME}/sentences"):
        page = text(ui.http, path)
        assert SENTENCE in page, path
        assert REHEARSED not in page, path


def test_what_was_learned_today(ui: Ui) -> None:
    (row,) = rows(ui.http, "learned")
    assert (row["direction"], row["corrections"], row["steps"]) == (SENTENCE, 1, 2)
    assert (row["first_loss"], row["last_loss"]) == (2.5, 0.5)
    assert rows(ui.http, "learned", day="2020-01-01") == []


def test_which_sentence_changed_these_weights(ui: Ui) -> None:
    (row,) = rows(ui.http, "sentences")
    assert (row["direction"], row["authors"], row["turn"]) == (SENTENCE, "ana", "talk-0")
    (base,) = rows(ui.http, "versions", kind="base")
    assert rows(ui.http, "sentences", version=str(base["id"])) == []


def test_what_was_rolled_back_and_why(ui: Ui) -> None:
    (row,) = rows(ui.http, "undone")
    assert (row["why"], row["steps_undone"], row["quarantined"]) == ("nll 2.66 -> 3.10", 1, 1)
    assert row["still_out"] == SUSPECT
    page = text(ui.http, f"/{NAME}/rollbacks/{row['rollback']}")
    assert "What was put in quarantine" in page
    assert f"/{NAME}/steps/3" in page


def test_a_breach_of_later_steps_is_no_word_on_the_version_that_was_in_force(ui: Ui) -> None:
    (probe,) = ask(ui.http, "SELECT version_id, step_id FROM main.probes WHERE verdict = 'breach'")
    (version,) = ask(
        ui.http,
        "SELECT last_step, probes_said FROM versions WHERE id = :id",
        id=str(probe["version_id"]),
    )
    assert int(str(version["last_step"])) < int(str(probe["step_id"]))
    assert version["probes_said"] == "accept"


def test_what_is_in_quarantine_leads_to_the_rollback_and_the_probe_that_put_it_there(ui: Ui) -> None:
    (entry,) = rows(ui.http, "quarantine")
    (rollback,) = rows(ui.http, "rollbacks")
    page = text(ui.http, f"/{NAME}/quarantine/{entry['id']}")
    assert "The rollback that put it there" in page
    assert f"/{NAME}/rollbacks/{rollback['id']}" in page
    assert f"/{NAME}/probes/{rollback['probe']}" in page


def test_what_waits_for_a_person(ui: Ui) -> None:
    assert sorted(str(row["what"]) for row in rows(ui.http, "waiting")) == ["held", "quarantine"]


def test_follow_rate_and_forgetting(ui: Ui) -> None:
    rates = {row["direction"]: (row["judged"], row["follow_rate"]) for row in rows(ui.http, "follow_rate")}
    judged = ask(ui.http, f"SELECT followed, ignored FROM directions WHERE direction = '{SENTENCE}'")[0]
    assert rates[SENTENCE] == (2, 0.5)
    assert judged == {"followed": 1, "ignored": 1}
    (kept,) = rows(ui.http, "forgetting")
    assert (kept["direction"], kept["follow_rate"], kept["items"]) == (SENTENCE, 1.0, 1)


def test_doubtful_labels_are_those_of_which_nothing_is_sure(ui: Ui) -> None:
    for name, reaction in (("toss", "Why did you do that?"), ("rather", "No, shorter please.")):
        said = (("user", "From now on be polite to me."), ("assistant", "No."), ("user", reaction))
        ui_history.ingest(ui.store, name, *said)
    wait_for(ui.http, "SELECT count(*) FROM digest.points WHERE doubt IS NOT NULL", 2)
    doubtful = rows(ui.http, "doubtful")
    assert [row["decision"] for row in doubtful] == ["toss-1#0", "rather-1#0"], (
        "not those that were corrected"
    )
    assert [(row["vote"], row["said_by"]) for row in doubtful] == [("ignored", "reaction")] * 2
    assert all(row["evidence"] and row["answer"] == "No." for row in doubtful)
    assert "/decisions/toss-1~230" in text(ui.http, f"/{NAME}/doubtful")


def test_search_finds_directions_and_decisions(ui: Ui) -> None:
    found = rows(ui.http, "search", words="lowercase")
    assert ("direction", SENTENCE) in {(row["what"], row["direction"]) for row in found}
    assert {row["decision"] for row in rows(ui.http, "search", words="there")} == {"talk-1#0"}
    assert rows(ui.http, "search", words='"AND ( un*likely') == [], "no syntax of a search engine"
    assert "talk-1#0" in text(ui.http, f"/{NAME}/decisions?_search=there")


def test_what_was_said_is_shown_as_text(ui: Ui) -> None:
    for path in (f"/{NAME}/decisions/web-1~230", f"/{NAME}/decisions", f"/{NAME}/search?words=owned", "/"):
        assert HOSTILE.partition("</")[0] not in ui.http.get(path).text, path
    assert HOSTILE in text(ui.http, f"/{NAME}/decisions/web-1~230")


def test_the_stores_own_tables_are_no_pages(ui: Ui) -> None:
    for table in ("events", "state", "processes", "sqlite_master"):
        assert ui.http.get(f"/{NAME}/{table}").status_code == 404
    assert [name for name in ("events", "decision_directions") if name in text(ui.http, f"/{NAME}")] == []


def test_nothing_can_be_written_and_no_password_read(ui: Ui) -> None:
    def digest() -> str:
        return hashlib.sha256("".join(map(str, ui.store.connection.iterdump())).encode()).hexdigest()

    before = digest()
    for sql in (
        "DELETE FROM main.events",
        "INSERT INTO main.counters VALUES ('x', 1)",
        "ATTACH '/tmp/x' AS y",
    ):
        assert ui.http.get(f"/{NAME}.json", params={"sql": sql}).status_code == 400, sql
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ui.http.request(method, f"/{NAME}/decisions").status_code == 405
    refused = ui.http.get(f"/{NAME}.json", params={"sql": "SELECT value FROM main.state"})
    assert (refused.status_code, "prohibited" in refused.text) == (400, True)
    assert digest() == before


def test_the_door_opens_for_the_token_alone(ui: Ui) -> None:
    url, token = ui.url.split("?token=")
    with httpx.Client(base_url=url, timeout=START_S) as stranger:
        assert stranger.get("/").status_code == 401
        assert stranger.get("/", params={"token": "0" * 40}).status_code == 401
        assert stranger.get(f"/{NAME}.json", params={"sql": "SELECT 1"}).status_code == 401
        assert stranger.get("/", headers={"Host": "evil.example"}).status_code == 403
        welcome = stranger.get(f"/{NAME}/steps", params={"token": token, "state": "confirmed"})
        assert (welcome.status_code, welcome.headers["location"]) == (303, f"/{NAME}/steps?state=confirmed")
        cookie = welcome.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert stranger.get("/").status_code == 200, "the cookie is enough now"
        assert stranger.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert token != (ui.home / "http.token").read_text().strip(), "who may look may not give commands"


def test_a_decision_is_seen_while_the_ui_runs(ui: Ui) -> None:
    ui_history.ingest(ui.store, "later", ("user", SENTENCE), ("assistant", "zanzibar"), ("user", "ok"))
    wait_for(ui.http, "SELECT count(*) FROM decisions WHERE answer = 'zanzibar'", 1)
    assert {row["decision"] for row in rows(ui.http, "search", words="zanzibar")} == {"later-1#0"}


def test_a_wrong_question_is_one_clear_line(ui: Ui) -> None:
    answer = ui.http.get(f"/{NAME}", params={"sql": "SELECT one FROM nowhere"})
    assert answer.status_code == 400
    assert "no such table: nowhere" in answer.text
    assert "Traceback" not in answer.text


def test_the_verb_prints_the_address_of_the_ui_that_up_runs(home: Path, store: Store) -> None:
    decided = Config(home=home).model_dump(mode="json")
    decided["ui"] |= {"enabled": True, "port": 4711}
    with store.write() as connection:
        state.put(connection, "config", decided)
    record_process(store, "ui", "ready", 1)
    said = subprocess.run(
        [*COMMAND, "--json"], env=environment(home), capture_output=True, text=True, check=True
    )
    assert json.loads(said.stdout)["url"].startswith("http://127.0.0.1:4711/?token=")


def test_without_a_store_or_the_extra_it_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import run; from agent.verbs import window;"
         "run.app.add_typer(window.commands, name='window'); run.main()", "window"],
        env=environment(home), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (said.returncode, said.stderr.startswith("error: no store at ")) == (2, True)
    monkeypatch.setattr("agent.ui._NEEDED", ("datasette", "no_such_package"))
    with pytest.raises(ConfigError, match=r"needs no_such_package, .*make setup"):
        require_datasette()


def claude_code(role: str, content: object, number: int) -> str:
    """Return a line of a log of Claude Code."""
    common = {"uuid": f"u{number}", "sessionId": "s", "isSidechain": False}
    at = f"2026-11-29T09:00:{number:02}.000Z"
    return json.dumps(
        {**common, "type": role, "timestamp": at, "message": {"role": role, "content": content}}
    )


def test_the_five_commands_of_the_readme_end_at_ones_own_decisions(home: Path, tmp_path: Path) -> None:
    log = tmp_path / "session.jsonl"
    said = [("user", SENTENCE), ("assistant", [{"type": "text", "text": "Here is a Zeppelin."}])]
    log.write_text("\n".join(claude_code(*turn, number) for number, turn in enumerate(said)) + "\n")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    part = (ROOT / "README.md").read_text().partition("## Your own agent, in five commands")[2]
    clone, enter, setup, ingest, window = part.partition("```bash\n")[2].partition("```")[0].splitlines()
    assert (clone.split()[:2], enter, setup) == (["git", "clone"], "cd heedloop", "make setup")
    program = [sys.executable, str(ROOT / "run.py")]
    assert (ingest.split()[:3], window.split()[:2]) == (
        [".venv/bin/python", "run.py", "ingest"],
        [".venv/bin/python", "run.py"],
    )
    env = environment(home) | {"BROWSER": str(browser), "XDG_CONFIG_HOME": str(tmp_path)}
    subprocess.run([*program, "ingest", str(log)], env=env, cwd=tmp_path, check=True, capture_output=True)
    with served([*program, *window.split()[2:]], env, tmp_path) as (url, http):
        assert (tmp_path / "opened").read_text().strip() == url
        http.get(url).raise_for_status()
        wait_for(http, "SELECT count(*) FROM digest.points", 1)
        front = text(http, "/")
        assert "Here is a Zeppelin." in front
        assert SENTENCE in front
        (decision,) = rows(http, "decisions")
        assert decision["label"] == "ignored"
        place = str(decision["id"]).replace("#", "~23")
        assert "Here is a Zeppelin." in text(http, f"/{NAME}/decisions/{place}")


@contextmanager
def served(command: list[str], env: dict[str, str], folder: Path) -> Iterator[tuple[str, httpx.Client]]:
    """Run a ui for the time of the block: its address, with the token, and a client without."""
    process = subprocess.Popen(command, env=env, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        with httpx.Client(base_url=url.partition("?")[0], timeout=START_S, follow_redirects=True) as http:
            wait_until_open(http)
            yield url, http
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def chromium(ui: Ui, path: str, *arguments: str) -> str:
    """Return what a browser without network makes of a page."""
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    token = ui.url.partition("?")[2]
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={ui.home}/browser",
    ]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=20000"]
    page = [*command, *arguments, f"{ui.http.base_url}{path}?{token}"]
    return subprocess.run(page, capture_output=True, text=True, check=True, timeout=300).stdout


def test_a_browser_draws_the_front_page_without_the_network(ui: Ui) -> None:
    page = chromium(ui, "", "--dump-dom")
    charts = re.findall(r'id="chart-(\w+)"[^>]*><div[^>]*role="graphics-document"', page)
    assert charts == ["follow", "loss"]
    assert SENTENCE in unescape(page)
    assert "<title>heedloop</title>" in page


def test_a_browser_draws_every_chart(ui: Ui, tmp_path: Path) -> None:
    page = chromium(ui, "-/dashboards/overview", "--dump-dom")
    charts = yaml.safe_load((ROOT / "agent" / "ui" / "dashboards.yaml").read_text())["overview"]["charts"]
    parts = dict(re.findall(r'id="chart-(\w+)"(.*?)(?=<div id="card-|<script|$)', page, re.DOTALL))
    assert {name for name, part in parts.items() if 'role="graphics-document"' in part} == set(charts)
    chromium(ui, "-/dashboards/overview", f"--screenshot={tmp_path}/charts.png", "--window-size=1360,1800")
    assert (tmp_path / "charts.png").stat().st_size > 20_000


def test_the_ui_of_up_may_be_killed_and_comes_back(home: Path, store: Store) -> None:
    ui_history.fill(store)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    decided = Config(home=home).model_dump(mode="json")
    decided["ui"] |= {"enabled": True, "port": port}
    with store.write() as connection:
        state.put(connection, "config", decided)
    for end, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
        command = [sys.executable, "-m", "agent.ui", "--home", str(home)]
        process = subprocess.Popen(command, env=environment(home))
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=START_S, follow_redirects=True
        ) as http:
            wait_until_open(http)
            http.get("/", params={"token": ui_token(home)}).raise_for_status()
            wait_for(http, "SELECT count(*) FROM decisions", 4)
        process.send_signal(end)
        assert process.wait(30) in (code, -end)


def wait_until_open(http: httpx.Client) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            assert http.get("/").status_code == 401
        except httpx.ConnectError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"nobody listens at {http.base_url}")
