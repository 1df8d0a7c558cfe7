"""The catalogue: six experiments, each with what the verb needs; and the reports that we keep of them."""

from pathlib import Path

import pytest

from learner.experiments.catalogue import NAMES, experiment
from learner.experiments.report import drawn, is_whole, read
from policies.errors import InputError

KEPT = Path(__file__).parents[3] / "docs" / "experiments"
REPORTS = sorted(path.parent for path in KEPT.glob("*/report.json"))


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_asks_a_question_draws_and_runs(name: str) -> None:
    found = experiment(name)
    assert found.QUESTION.endswith("?")
    assert found.PICTURES
    assert callable(found.run)


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match="no experiment is called 'rl': there are examples, "):
        experiment("rl")


@pytest.mark.parametrize("folder", REPORTS, ids=lambda folder: folder.name)
def test_a_kept_report_is_whole_and_its_pictures_come_from_its_json(folder: Path, tmp_path: Path) -> None:
    report = read(folder)
    assert is_whole(report)
    assert report.name in NAMES
    pictures = experiment(report.name).PICTURES
    drawn(report, pictures, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in folder.glob("*.png")}
    assert all(f"![{name}]({name}.png)" in (folder / "report.md").read_text() for name in pictures)
