"""The user's own probes: what passes, and what a bad file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from learner.probing.own import OwnProbe, read_own
from policies.errors import ConfigError


def test_each_way_of_checking(tmp_path: Path) -> None:
    file = tmp_path / "probes.yaml"
    file.write_text(
        "- {prompt: 'Where?', answer: Oslo}\n- {prompt: 'How?', regex: '^ok'}\n"
        "- {prompt: Say it., check: Answer in ALL CAPS., system: Be loud.}\n"
    )
    answer, regex, check = read_own(file)
    assert [answer.passes(text) for text in ("It is oslo.", "Osloense")] == [True, False]
    assert [regex.passes(text) for text in ("ok then", "not ok")] == [True, False]
    assert [check.passes(text) for text in ("LOUD.", "Quiet.")] == [True, False]
    assert check.name == "Say it. (Be loud.)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- prompt: [", "line 1, column 12"),
        ("prompt: x", "a list of probes"),
        ("- {prompt: a, answer: b}\n- {prompt: c}", "probe 2: give exactly one of"),
        (
            "- {prompt: a, answer: b, regex: c}",
            "probe 1: give exactly one of check, regex, answer (here: regex, answer)",
        ),
        ("- {prompt: a, regex: '('}", "the regex '(' is none"),
        ("- {prompt: a, check: Be nice.}", "nothing in the check 'Be nice.' can be checked"),
        ("- {prompt: a, answr: b}", "probe 1, answr"),
        ("- {prompt: a, answer: b}\n- {prompt: a, answer: c}", "probe 2 asks the same as probe 1"),
        ("- 3", "probe 1"),
    ],
)
def test_a_bad_file_is_one_line_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "probes.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_own(file)
    assert said in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_own(tmp_path / "none.yaml")


def test_a_probe_needs_one_way() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        OwnProbe(prompt="x")
