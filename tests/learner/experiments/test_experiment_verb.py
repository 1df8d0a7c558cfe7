"""The verb: bad input is one clear line before anything long, and one failure does not take the others."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from learner.experiments import catalogue
from learner.verbs import experiment as verb
from policies.errors import ConfigError, HeedloopError, InputError
from store.settings import load_config


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEEDLOOP_HOME", str(tmp_path / "home"))


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
