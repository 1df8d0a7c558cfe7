"""Examples, learning rate and transfer by their real code on a tiny model: whole, and the same each time."""

from pathlib import Path

import pytest

from learner.experiments import corrections, course, examples, lr, transfer
from learner.experiments.catalogue import Experiment
from learner.experiments.directions import JSON_KEY, LOWERCASE
from learner.experiments.report import is_whole, read, write
from learner.experiments.setting import Setting
from policies.config import Config

PLANS = {
    examples: examples.Plan((LOWERCASE,), (1, 2), 4, 4),
    lr: lr.Plan((1e-6, 1e-3), (JSON_KEY,), 2, 4, 4, 2, 2, 4),
    transfer: transfer.Plan((JSON_KEY, LOWERCASE), 2, 4, 4, 4),
}


def setting(model: Path, folder: Path) -> Setting:
    return Setting(
        model=str(model),
        seeds=(0, 1),
        quick=True,
        config=Config.model_validate({"training": {"uses_per_example": 1, "max_decision_tokens": 8}}),
        home=folder,
        cache=folder / "cache",
        tell=lambda line: None,
    )


@pytest.mark.parametrize("one", PLANS, ids=lambda one: one.__name__.rpartition(".")[2])
def test_a_run_ends_in_a_whole_report_and_two_runs_agree(
    one: Experiment, tiny_qwen35_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one, "QUICK", PLANS[one])  # type: ignore[index]
    monkeypatch.setattr(corrections, "ANSWER_TOKENS", 6)
    monkeypatch.setattr(course, "_ANSWER_TOKENS", 6)
    reports = [one.run(setting(tiny_qwen35_path, tmp_path)) for _ in range(2)]
    dumps = [report.model_dump(exclude={"seconds", "commit"}) for report in reports]
    assert dumps[0] == dumps[1]
    write(reports[0], one.PICTURES, tmp_path / "report")
    found = read(tmp_path / "report")
    assert is_whole(found)
    assert found.seeds == (0, 1)
    assert found.n >= 8
    assert {path.stem for path in (tmp_path / "report").glob("*.png")} == set(one.PICTURES)


def test_many_examples_are_each_used_less_often() -> None:
    assert [examples.uses_of(count, 4) for count in examples.COUNTS] == [4, 4, 4, 4, 2, 1]
