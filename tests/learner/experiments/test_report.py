"""Reports: what is written can be read, a whole one is told from one that is not, and the index has all."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from learner.experiments.index import write_index
from learner.experiments.report import Report, Table, drawn, is_whole, read, write
from policies.errors import InputError


def line(data: dict[str, object]) -> Figure:
    figure = Figure()
    figure.subplots().plot(data["values"])
    return figure


def report(**fields: object) -> Report:
    given: dict[str, object] = {
        "name": "lr",
        "question": "How much?",
        "answer": "Not measurable at this size.",
        "measured": "gain",
        "value": 0.25,
        "interval": (0.1, 0.4),
        "n": 80,
        "seeds": (0, 1),
        "method": ("Once.",),
        "model": "smollm2",
        "model_hash": "0123456789abcdef",
        "seconds": 12.0,
        "commit": "abc",
        "tables": (Table(title="All", columns=("a", "b"), rows=(("x|y", 0.123456), (None, True))),),
        "data": {"values": [1, 2, 3]},
    }
    return Report.model_validate(given | fields)


def test_a_report_is_a_folder_that_can_be_read_and_drawn_again(tmp_path: Path) -> None:
    folder = tmp_path / "lr"
    write(report(), {"line": line}, folder)
    again = read(folder)
    assert again == report()
    before = (folder / "line.png").read_bytes()
    (folder / "line.png").unlink()
    drawn(again, {"line": line}, folder)
    assert (folder / "line.png").read_bytes() == before


def test_the_text_has_the_answer_its_figure_and_the_table(tmp_path: Path) -> None:
    write(report(toy=True, quick=True), {"line": line}, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "**Answer.** Not measurable at this size." in text
    assert "Gain: 0.25 (95 % interval 0.1 to 0.4, n 80, seeds 0, 1). This run is marked: toy, quick." in text
    assert "| x\\|y | 0.123 |" in text
    assert "| - | True |" in text
    assert "![line](line.png)" in text


@pytest.mark.parametrize("lack", [{"n": 0}, {"seeds": ()}, {"answer": " "}])
def test_a_report_without_n_seeds_or_answer_is_not_whole(lack: dict[str, object]) -> None:
    assert is_whole(report())
    assert not is_whole(report(**lack))


def test_a_report_whose_interval_is_no_number_is_not_whole() -> None:
    assert not is_whole(report(interval=(float("nan"), 1.0)))
    assert not is_whole(report(value=float("inf")))


def test_what_is_no_report_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no report"):
        read(tmp_path)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(InputError, match=r"report\.json is no report"):
        read(tmp_path)


def test_the_index_has_every_report_with_answer_and_picture_and_says_what_is_missing(tmp_path: Path) -> None:
    write(report(), {"line": line}, tmp_path / "lr")
    write(report(name="transfer", n=0), {}, tmp_path / "transfer")
    assert write_index(tmp_path) == 1
    text = (tmp_path / "index.md").read_text()
    assert "Missing: examples, gdn-state, steering, mechanisms." in text
    assert "![line](lr/line.png)" in text
    assert text.count("Not measurable at this size.") == 2
    assert text.index("lr/report.md") < text.index("transfer/report.md")
