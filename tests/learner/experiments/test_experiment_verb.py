"""The verb: a run ends in a folder, an index and JSON; bad input is one clear line before anything long."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner, Result

from learner.base_model import model_hash
from learner.experiments import catalogue
from learner.experiments.report import Report, is_whole, read
from learner.experiments.setting import Setting
from learner.verbs import experiment as verb
from policies.errors import ConfigError, HeedloopError, InputError
from store.settings import load_config


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEEDLOOP_HOME", str(tmp_path / "home"))


def line(data: dict[str, list[int]]) -> Figure:
    figure = Figure()
    figure.subplots().plot(data["values"])
    return figure


def small(name: str) -> catalogue.Experiment:
    """Return an experiment that measures nothing."""

    def run(setting: Setting) -> Report:
        return setting.report(
            name=name,
            question=f"Does {name} run?",
            answer=f"Yes, {name} runs.",
            measured="gain",
            value=0.25,
            interval=(0.1, 0.4),
            n=8,
            method=("Once.",),
            data={"values": [1, 2, 3], "recommended": 3e-4},
        )

    return cast(
        catalogue.Experiment, SimpleNamespace(QUESTION=f"Does {name} run?", PICTURES={"line": line}, run=run)
    )


def never(name: str) -> catalogue.Experiment:
    def run(setting: Setting) -> Report:
        raise AssertionError("this should have been refused before anything long")

    return cast(catalogue.Experiment, SimpleNamespace(QUESTION=f"Does {name} run?", PICTURES={}, run=run))


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(verb.commands, arguments)


def last_line(found: Result) -> dict[str, object]:
    assert found.exit_code == 0, found.exception
    return dict(json.loads(found.stdout.splitlines()[-1]))


def test_a_run_ends_in_a_report_an_index_and_a_line_of_json(
    tiny_qwen35_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "experiment", small)
    told = last_line(invoke("transfer", "--quick", "--model", str(tiny_qwen35_path), "--out", "x", "--json"))
    assert (told["experiment"], told["folder"], told["answer"]) == (
        "transfer",
        "x/transfer",
        "Yes, transfer runs.",
    )
    assert (told["value"], told["interval"], told["n"], told["seeds"]) == (0.25, [0.1, 0.4], 8, [0])
    kept = read(tmp_path / "x" / "transfer")
    assert is_whole(kept)
    assert (kept.quick, kept.model, kept.model_hash) == (
        True,
        str(tiny_qwen35_path),
        model_hash(tiny_qwen35_path),
    )
    assert "Yes, transfer runs." in (tmp_path / "x" / "transfer" / "report.md").read_text()
    index = (tmp_path / "x" / "index.md").read_text()
    assert "1 of 6 questions have a report here. Missing: examples, " in index
    assert "**transfer.** Yes, transfer runs." in index
    assert "![line](transfer/line.png)" in index
    picture = tmp_path / "x" / "transfer" / "line.png"
    before = picture.read_bytes()
    picture.unlink()
    assert invoke("redraw", "x/transfer").exit_code == 0
    assert picture.read_bytes() == before


@pytest.mark.parametrize(
    ("asked", "seeds"),
    [((), (0, 1)), (("--quick",), (0,)), (("--quick", "--seeds", "3"), (0, 1, 2)), (("--seeds", "1"), (0,))],
)
def test_the_seeds_are_those_that_were_asked_for(
    asked: tuple[str, ...], seeds: tuple[int, ...], tiny_qwen35_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "experiment", small)
    assert invoke("lr", "--model", str(tiny_qwen35_path), *asked).exit_code == 0
    assert read(Path("reports/lr")).seeds == seeds


def test_all_writes_six_reports_and_says_how_many_are_whole(
    tiny_qwen35_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "experiment", small)
    found = invoke("all", "--quick", "--model", str(tiny_qwen35_path), "--json")
    told = last_line(found)
    assert (told["reports"], told["failed"], told["index"]) == (6, {}, "reports/index.md")
    assert told["answers"] == {name: f"Yes, {name} runs." for name in catalogue.NAMES}
    assert "6 of 6 questions have a report here." in Path("reports/index.md").read_text()
    assert "100%, about 0 s left: 6 of 6 experiments" in found.stderr


def test_a_recommended_rate_is_written_in_the_end_and_refused_before_the_work(
    tiny_qwen35_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "experiment", small)
    asked = ("lr", "--write", "--model", str(tiny_qwen35_path))
    told = last_line(invoke(*asked, "--json"))
    assert (told["recommended"], told["written"]) == (3e-4, "heedloop.toml")
    assert load_config().training.learning_rate == 3e-4
    monkeypatch.setattr(catalogue, "experiment", never)
    Path("heedloop.toml").write_text("training = {rank = 8}\n")
    assert "heedloop.toml cannot be changed safely" in str(error_of(*asked))
    monkeypatch.setenv("HEEDLOOP_TRAINING__LEARNING_RATE", "0.1")
    assert "HEEDLOOP_TRAINING__LEARNING_RATE, which wins" in str(error_of(*asked))


def test_what_would_fail_at_the_end_is_refused_at_the_beginning(
    tiny_qwen35_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "experiment", never)
    old = Path("reports/transfer/report.json")
    old.parent.mkdir(parents=True)
    old.write_text("{")
    for name in ("lr", "all"):
        said = str(error_of(name, "--model", str(tiny_qwen35_path)))
        assert f"{old} is no report" in said
        assert "remove it, or give another folder" in said
    old.unlink()
    Path("reports/lr").write_text("")
    assert "reports/lr is no folder that can be written" in str(error_of("lr"))


def error_of(*arguments: str) -> HeedloopError:
    found = CliRunner().invoke(verb.commands, arguments).exception
    assert isinstance(found, HeedloopError), found
    assert "\n" not in str(found)
    return found


def test_bad_input_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "--seeds 0: an experiment needs one seed" in str(error_of("lr", "--seeds", "0"))
    assert "no such folder" in str(error_of("transfer", "--model", "nothing-like-it"))
    (tmp_path / "file").write_text("")
    assert "no folder can be made there" in str(error_of("lr", "--out", str(tmp_path / "file" / "x")))
    assert "holds no report" in str(error_of("redraw", str(tmp_path)))


def test_stored_corrections_need_a_store(tiny_qwen35_path: Path) -> None:
    found = error_of("examples", "--stored", "--quick", "--model", str(tiny_qwen35_path))
    assert str(Path.cwd() / "home") in str(found)


def test_all_goes_on_after_a_failure_and_counts_whole_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> catalogue.Experiment:
        raise InputError(f"{name} cannot run here") if name != "lr" else RuntimeError("broken")

    monkeypatch.setattr(catalogue, "experiment", fail)
    found = CliRunner().invoke(verb.commands, ["all", "--quick", "--json"])
    assert found.exit_code == 1
    last = json.loads(found.stdout.splitlines()[-1])
    assert last["reports"] == 0
    assert list(last["failed"]) == list(catalogue.NAMES)
    assert last["failed"]["lr"] == "broken"


def test_a_recommended_rate_is_written_where_the_configuration_reads_it(tmp_path: Path) -> None:
    verb._set_rate(3e-4, tmp_path)
    assert load_config().training.learning_rate == 3e-4
    with pytest.raises(ConfigError, match="no rate is recommended"):
        verb._set_rate(None, tmp_path)
