"""The state of Gated DeltaNet layers: the statistics on known cases, and the experiment on a tiny hybrid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from learner.experiments import gdn_state
from learner.experiments.hybrid import making
from learner.experiments.hybrid.findings import answer_of
from learner.experiments.hybrid.ground import ground_of
from learner.experiments.hybrid.measures import (
    first_share,
    holm,
    probe,
    random_projection,
    shifts,
    sign_flip,
    subspace_agreement,
)
from learner.experiments.hybrid.states import states_of
from learner.experiments.hybrid.tables import tables_of
from learner.experiments.report import Report, write
from learner.experiments.setting import Setting
from learner.generation import greedy
from learner.model import load_model
from learner.steering.activations import recurrent_states, residuals
from learner.tokens import prompt_of
from policies.config import Config

SMALL = replace(making.TOY, people=6, attributes=3, layers=4, hidden=32, steps=3, batch=4)


@pytest.fixture(scope="module")
def report(hybrid: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A quick run on it."""
    return gdn_state.run(setting_of(str(hybrid), tmp_path_factory.mktemp("home")))


def noise(rows: int, seed: int, width: int = 40) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hybrid that has hardly been trained."""
    return making.make(SMALL, tmp_path_factory.mktemp("hybrids") / "small", lambda line: None)


def setting_of(model: str, home: Path) -> Setting:
    return Setting(model, (0,), True, Config(), home, home / "cache", tell=lambda line: None)


def test_a_common_shift_is_found_in_units_of_the_spread() -> None:
    rest, line = noise(300, 0), torch.zeros(40)
    line[3] = 1.0
    spread = 40**0.5  # of 40 normal coordinates
    assert fmean(shifts(rest + 2 * spread * line, rest)) == pytest.approx(2.0, abs=0.1)
    assert abs(fmean(shifts(rest + noise(300, 1), rest))) < 0.05


def test_one_line_and_equal_subspaces_are_told_from_noise() -> None:
    line = torch.outer(noise(30, 0)[:, 0], noise(1, 1)[0])
    assert first_share(line) == pytest.approx(1.0)
    assert first_share(noise(30, 2)) < 0.2
    assert subspace_agreement(noise(30, 2), 3 * noise(30, 2)) == pytest.approx(1.0)
    assert subspace_agreement(noise(30, 2)[:, :], noise(30, 3)) < 0.6


def test_a_probe_reads_what_is_there_and_guesses_what_is_not() -> None:
    one, other = noise(40, 0), noise(40, 1)
    assert 0.35 < fmean(probe((one, other), (noise(100, 2), noise(100, 3)))) < 0.65
    planted = torch.zeros(40)
    planted[5] = 4.0
    assert fmean(probe((one + planted, other), (noise(100, 2) + planted, noise(100, 3)))) > 0.85


def test_the_permutation_test_finds_an_effect_and_is_fair_without_one() -> None:
    assert sign_flip((noise(40, 0)[:, 0] + 1).tolist()) < 0.01
    null = [sign_flip(noise(20, seed)[:, 0].tolist(), seed) for seed in range(60)]
    assert sum(p < 0.05 for p in null) <= 8  # 3 are expected
    assert sign_flip([0.0] * 10) == 1.0


def test_corrected_p_values_are_those_of_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]


def test_a_projection_keeps_distances_and_is_always_the_same() -> None:
    wide = noise(20, 0, 5000)
    narrow = random_projection(wide)
    assert narrow.shape == (20, 256)
    assert torch.equal(narrow, random_projection(wide))
    ratios = torch.pdist(narrow) / torch.pdist(wide)
    assert ratios.min() > 0.75
    assert ratios.max() < 1.25
    assert torch.equal(random_projection(narrow), narrow)


def test_states_are_those_that_other_parts_of_the_learner_read(hybrid: Path) -> None:
    model, tokenizer = load_model(hybrid, torch.float32)
    messages = ({"role": "user", "content": "Where does Anna live?"},)
    ids = prompt_of(tokenizer, messages, 512).ids
    found = states_of(model, tokenizer, [messages])
    layers = {kind: sorted(n for k, n in found if k == kind) for kind, _ in found}
    assert layers == {
        "recurrent": [0, 1, 2],
        "keys and values": [3],
        "reading": [0, 1, 2, 3],
        "residual": [0, 1, 2, 3],
    }
    torch.testing.assert_close(found["residual", 3][0], residuals(model, ids)[3, -1], atol=1e-5, rtol=1e-4)
    expected = random_projection(recurrent_states(model, ids)[1]["recurrent"].flatten()[None])
    torch.testing.assert_close(found["recurrent", 1], expected, atol=1e-5, rtol=1e-4)


def test_answers_of_a_hybrid_may_end_at_different_times(hybrid: Path) -> None:
    model, _ = load_model(hybrid, torch.float32)
    prompts = [[5, 6, 7], [8, 9], [10, 11, 12, 13]]
    alone = [greedy(model, [p], 12, [])[0].ids for p in prompts]
    ends = {alone[0][2]}
    together = greedy(model, prompts, 12, ends)
    for answer, whole in zip(together, alone, strict=True):
        cut = next((i + 1 for i, token in enumerate(whole) if token in ends), len(whole))
        assert answer.ids == whole[:cut]


def test_a_model_that_is_no_hybrid_of_ours_is_asked_the_common_questions(
    smollm2_path: Path, hybrid: Path
) -> None:
    ours, common = ground_of(hybrid), ground_of(smollm2_path)
    assert not set(ours.train) & set(ours.held_out)
    assert not set(common.train) & set(common.held_out)
    question = common.held_out[0]
    told = common.directed([question, question], ["Be brief.", "Be kind."])
    assert "Be brief." in str(told[0][-1]["content"])
    assert "Be kind." in str(told[1][-1]["content"])
    assert common.plain([question])[0][-1]["content"] == question


def test_two_runs_with_one_seed_agree_and_a_model_that_learns_nothing_is_no_answer(
    report: Report, hybrid: Path, tmp_path: Path
) -> None:
    again = gdn_state.run(setting_of(str(hybrid), tmp_path))
    one, other = (r.model_dump(exclude={"seconds", "commit"}) for r in (report, again))
    assert one == other
    assert report.answer.startswith("Not measurable at this size")
    assert report.toy
    assert report.n == 9
    assert report.model == hybrid.name
    assert report.interval[0] <= report.value <= report.interval[1]
    moved = {row[0]: row[1] for row in report.tables[-1].rows}
    for kind in (
        "in_proj_qkv",
        "in_proj_z",
        "in_proj_b",
        "in_proj_a",
        "A_log",
        "dt_bias",
        "conv1d",
        "out_proj",
    ):
        assert moved[f"linear_attn.{kind}"] > 0, kind
    write(report, gdn_state.PICTURES, tmp_path / "report")
    kept = Report.model_validate_json((tmp_path / "report" / "report.json").read_text())
    assert tables_of(kept.data) == report.tables


def test_the_answer_follows_the_figures(report: Report) -> None:
    data = report.model_copy(deep=True).data
    found = data["directions"]["json"]
    questions = len(found["before"]["behaviour"]["follows"])
    behaviour = found["direction"][0]["behaviour"]
    behaviour["follows"], behaviour["leaks_other"] = [1] * questions, [0] * questions
    grown = [2.0 + 0.1 * q for q in range(questions)]
    assert _answer_with(data, before=[1.0] * questions, direction=grown, plain=[1.1] * questions) == "Yes"
    assert _answer_with(data, before=[1.0] * questions, direction=grown, plain=grown) == "No"
    assert _answer_with(data, before=grown, direction=grown, plain=[1.1] * questions) == "No"


def test_a_model_that_does_it_under_any_direction_gives_no_answer(report: Report) -> None:
    data = report.model_copy(deep=True).data
    behaviour = data["directions"]["json"]["direction"][0]["behaviour"]
    behaviour["follows"] = behaviour["leaks_other"] = [1] * len(behaviour["follows"])
    missed = report.model_copy(deep=True).data["directions"]["json"]
    answer = answer_of(data | {"directions": data["directions"] | {"other": missed}})
    assert answer.startswith("Not measurable at this size: the model learnt to answer so under any direction")
    assert answer.endswith("Left out, since it was not learnt: other.")


def _answer_with(data: dict[str, Any], **shifts: list[float]) -> str:
    """Return the first word of the answer where recurrent states shift so."""
    for found in data["directions"].values():
        for when, values in shifts.items():
            for record in [found["before"]] if when == "before" else found[when]:
                for layer in data["recurrent_layers"]:
                    record["places"][f"recurrent/{layer}"]["shifts"] = values
    return answer_of(data).split(":")[0]


def test_without_a_hybrid_a_toy_is_made_and_marked(
    smollm2_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(making, "TOY", SMALL)
    folder, toy = gdn_state._hybrid(setting_of(str(smollm2_path), tmp_path))
    assert toy
    assert folder == making.hybrid_folder(SMALL)
    assert making.made(folder)


def test_a_folder_without_a_hybrid_record_is_no_toy(smollm2_path: Path) -> None:
    assert not making.is_toy(smollm2_path)
    assert making.world_of(smollm2_path) is None
