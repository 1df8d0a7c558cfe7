"""The reports that we keep: all six are there; figures, pictures and index follow from their JSON."""

import shutil
from pathlib import Path

import pytest

from learner.experiments import mechanisms
from learner.experiments.catalogue import NAMES, experiment
from learner.experiments.index import INDEX, write_index
from learner.experiments.mechanism.finding import Finding
from learner.experiments.report import drawn, is_whole, read

KEPT = Path(__file__).parents[3] / "docs" / "experiments"


@pytest.mark.parametrize("name", NAMES)
def test_the_figure_of_a_kept_report_follows_from_its_data(name: str) -> None:
    report = read(KEPT / name)
    assert is_whole(report)
    assert report.name == name
    value, interval, items = experiment(name).figure_of(report.data)
    assert value == pytest.approx(report.value)
    assert interval == pytest.approx(report.interval)
    assert items == report.n


def test_every_part_of_the_kept_report_on_mechanisms_follows_from_its_data() -> None:
    data = read(KEPT / "mechanisms").data
    found = mechanisms.findings_of(data)
    assert [one.part for one in found] == [part["part"] for part in data["parts"]]
    for one, part in zip(found, data["parts"], strict=True):
        assert isinstance(one, Finding) == ("value" in part), one.part
        if isinstance(one, Finding):
            assert one.value == pytest.approx(part["value"]), one.part
            assert one.interval == pytest.approx(part["interval"]), one.part
            assert (one.n, list(one.seeds)) == (part["n"], part["seeds"]), one.part


@pytest.mark.parametrize("name", NAMES)
def test_the_pictures_of_a_kept_report_come_from_its_json(name: str, tmp_path: Path) -> None:
    pictures = experiment(name).PICTURES
    drawn(read(KEPT / name), pictures, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in (KEPT / name).glob("*.png")}
    assert all(f"![{each}]({each}.png)" in (KEPT / name / "report.md").read_text() for each in pictures)


def test_the_index_of_the_kept_reports_is_what_their_json_says(tmp_path: Path) -> None:
    shutil.copytree(KEPT, tmp_path / "kept")
    assert write_index(tmp_path / "kept") == len(NAMES)
    assert (tmp_path / "kept" / INDEX).read_text() == (KEPT / INDEX).read_text()
