"""The command line as its users meet it: help, data on stdout, one clear line for a mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent.parent / "run.py"
VERBS = {"up", "demo", "status", "ingest", "label", "correct", "history", "show", "probe", "rollback"}


def run(home: Path, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(RUN), *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        env={**os.environ, "HEEDLOOP_HOME": str(home), "COLUMNS": "200", **environment},
        check=False,
        cwd=home.parent,
        timeout=120,
    )


def test_help_names_every_verb_with_what_it_does(tmp_path: Path) -> None:
    shown = run(tmp_path / "home", "--help")
    assert shown.returncode == 0
    assert all(f" {verb} " in shown.stdout for verb in VERBS | {"doctor", "config", "schema"})
    assert len(RUN.read_text().splitlines()) <= 150


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "says"),
    [
        (["status"], {}, 2, "nothing has run there yet"),
        (["history"], {}, 2, "nothing has run there yet"),
        (["ingest", "nothing.jsonl"], {}, 2, "no file at nothing.jsonl"),
        (["label", "nothing.jsonl"], {}, 2, "no file at nothing.jsonl"),
        (["status"], {"HEEDLOOP_TRAINING__SPEED": "9"}, 2, "HEEDLOOP_TRAINING__SPEED"),
        (["status"], {"HEEDLOOP_TRAINING__SEED": "many"}, 2, "training.seed"),
        (["up", "--model", "/no/such/model"], {}, 2, "/no/such/model"),
        (["up"], {"HEEDLOOP_BUS__URL": "http://x"}, 2, "mqtt://"),
        (["up"], {"HEEDLOOP_BUS__URL": "mqtt://127.0.0.1:1"}, 69, "mqtt://127.0.0.1:1"),
        (["frobnicate"], {}, 2, "No such command"),
    ],
)
def test_a_mistake_is_one_clear_line(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], code: int, says: str
) -> None:
    ended = run(tmp_path / "home", *arguments, **environment)
    assert ended.returncode == code, ended.stderr
    assert says in ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


def test_a_quantised_model_is_refused_with_the_reason(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": {"quant_method": "awq"}}
    (model / "config.json").write_text(json.dumps(config))
    ended = run(tmp_path / "home", "up", "--model", str(model))
    assert ended.returncode == 2
    assert "quanti" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_taken_port_is_named(tmp_path: Path, smollm2_path: Path) -> None:
    import socket

    assert smollm2_path.is_dir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run(tmp_path / "home", "up", HEEDLOOP_SERVER__PORT=str(port))
    assert ended.returncode == 2
    assert f"server.port: 127.0.0.1:{port}" in ended.stderr


def test_ingest_stores_what_is_good_and_counts_what_is_not(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    direction = 'Reply only with JSON of the form {"answer": "..."}.'
    rows = [
        {"role": "system", "content": direction},
        {"role": "user", "content": "What is a lake?"},
        {"role": "assistant", "content": "Water."},
    ]
    lines = [json.dumps({"conversation_id": "c", "event_id": f"e{n}", **row}) for n, row in enumerate(rows)]
    log.write_text("\n".join([*lines[:2], "not json", lines[2]]) + "\n")
    home = tmp_path / "home"
    dry = run(home, "ingest", str(log), "--dry-run", "--json")
    found = json.loads(dry.stdout.splitlines()[-1])
    assert (found["turns"], found["decision_points"], found["rejected"]) == (3, 1, 1)
    assert found["labels"] == {"followed": 0, "ignored": 1, "unknown": 0}
    assert "line 3" in dry.stderr
    assert not home.exists()
    for _ in range(2):
        assert run(home, "ingest", str(log)).returncode == 0
    now = json.loads(run(home, "status", "--json").stdout)
    assert (now["events"], now["decisions"], now["labels"]) == (3, 1, {"ignored": 1})
    assert sum(now["dead_letters"].values()) == 1  # read twice, kept once
    assert now["examples"] == {"correction_ready": 1}
    shown = json.loads(run(home, "show", "e2", "--json").stdout)
    assert shown["decisions"] == ["e2#0"]


def test_correct_works_on_the_store_and_refuses_what_is_no_answer(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    turns = [{"role": "user", "content": "Hi, be brief."}, {"role": "assistant", "content": "Well, hello!"}]
    log.write_text(
        "".join(
            json.dumps({"conversation_id": "c", "event_id": f"e{n}", **t}) + "\n" for n, t in enumerate(turns)
        )
    )
    home = tmp_path / "home"
    run(home, "ingest", str(log))
    done = run(home, "correct", "e1", "--corrected", "Hi.", "--direction", "be brief", "--author", "me")
    assert done.returncode == 0, done.stderr
    found = json.loads(run(home, "show", "e1#0", "--json").stdout)["examples"]
    assert [example["origin"] for example in found if example["state"] == "ready"] == ["correction"]
    refused = run(home, "correct", "e0", "--corrected", "Hi.")
    assert refused.returncode == 2
    assert "'e0' is not the event id of an assistant turn" in refused.stderr


def test_commands_need_a_running_learner(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(
        json.dumps({"conversation_id": "c", "event_id": "e", "role": "user", "content": "Hi"}) + "\n"
    )
    home = tmp_path / "home"
    run(home, "ingest", str(log))
    ended = run(home, "rollback")
    assert (ended.returncode, ended.stdout) == (69, "")
    assert "no learner runs" in ended.stderr


def test_label_prints_one_line_for_each_decision_and_direction(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Answer in lowercase letters only."},
        {"role": "user", "content": "What is a lake?"},
        {"role": "assistant", "content": "a lake is water."},
    ]
    ended = run(
        tmp_path / "home", "label", "-", stdin=json.dumps({"id": "r", "messages": messages}) + "\nbad\n"
    )
    row = json.loads(ended.stdout.splitlines()[0])
    assert set(row) == {"id", "decision", "direction", "label", "confidence", "labeller", "evidence"}
    assert (row["id"], row["label"]) == ("r", "followed")
    assert ended.returncode == 2
    assert "line 2" in ended.stderr


def test_config_show_names_the_origin_of_each_value(tmp_path: Path) -> None:
    shown = json.loads(run(tmp_path / "home", "config", "show", "--json", HEEDLOOP_TRAINING__SEED="7").stdout)
    assert shown["training.seed"]["value"] == 7
    assert "HEEDLOOP_TRAINING__SEED" in shown["training.seed"]["origin"]
    assert shown["training.warmup_steps"]["origin"] == "default"


def test_the_schema_covers_every_topic_and_the_published_document_is_current(tmp_path: Path) -> None:
    schemas = json.loads(run(tmp_path / "home", "schema").stdout)
    channels = {topic.rsplit("/", 1)[-1] for topic in schemas}
    assert channels == {"turns", "corrections", "commands", "status", "events"}
    document = json.loads(run(tmp_path / "home", "schema", "--asyncapi").stdout)
    published = Path(__file__).parent.parent / "docs" / "asyncapi.json"
    assert json.loads(published.read_text()) == document


def test_the_doctor_finds_this_installation_in_order(tmp_path: Path) -> None:
    ended = run(tmp_path / "home", "doctor", "--json")
    findings = {finding["name"]: finding["verdict"] for finding in json.loads(ended.stdout)}
    assert ended.returncode == 0, ended.stdout
    assert "missing" not in findings.values()
