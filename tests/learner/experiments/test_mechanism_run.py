"""The whole experiment `mechanisms` on a tiny model, its live server included: twice, with one result."""

from pathlib import Path

import pytest
from small_system import make_model

from learner.experiments import mechanisms
from learner.experiments.mechanism.recipes import recipes_for
from learner.experiments.report import read, write
from learner.experiments.setting import Setting
from policies.config import Config


@pytest.mark.slow
def test_two_runs_with_one_seed_agree(smollm2_path: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", smollm2_path, tied=False)
    told: list[str] = []
    found = []
    for _ in range(2):
        setting = Setting(
            model=str(model),
            seeds=(0,),
            quick=True,
            config=Config(),
            home=tmp_path,
            cache=tmp_path / "cache",
            tell=told.append,
        )
        report = mechanisms.run(setting)
        write(report, mechanisms.PICTURES, tmp_path / "report")
        assert read(tmp_path / "report").model_dump(mode="json") == report.model_dump(mode="json")
        found.append(report.model_dump(exclude={"seconds", "commit"}))
    assert found[0] == found[1]
    parts = {part["part"]: part for part in found[0]["data"]["parts"]}
    assert set(parts) == set("abcdef")
    measured = [part for name, part in parts.items() if name != "b"]  # a random model learns nothing
    assert all(part["n"] and part["interval"] and part["answer"] for part in measured)
    assert parts["b"]["reason"]
    live = found[0]["data"]["live"]
    assert live["equal_tensors"] == live["tensors"] > 0
    assert live["at_rest_differ"] == 0
    assert any("read while it was written" in line for line in told)
    recipes = len(recipes_for(setting.models.model, quick=True))
    assert sum(" left: " in line for line in told) == 2 * (recipes + 2), (
        "each part says how long the rest takes"
    )
