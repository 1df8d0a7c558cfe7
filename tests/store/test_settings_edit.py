"""Changing one setting in the user's file: comments stay, nothing else moves, the unsafe is refused."""

from pathlib import Path

import pytest

from policies.errors import ConfigError
from store.settings import load_config
from store.settings_edit import edited, place_of, set_number

KEY = "training.learning_rate"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", "[training]\nlearning_rate = 0.0003\n"),
        ("home = '/x'", "home = '/x'\n\n[training]\nlearning_rate = 0.0003\n"),
        (
            "[training]  # mine\nlearning_rate = 2e-4  # why\nrank = 8\n",
            "[training]  # mine\nlearning_rate = 0.0003  # why\nrank = 8\n",
        ),
        (
            "[training]\n# learning_rate = 1\nrank = 8\n",
            "[training]\nlearning_rate = 0.0003\n# learning_rate = 1\nrank = 8\n",
        ),
        ("[training]", "[training]\nlearning_rate = 0.0003\n"),
        ("training.learning_rate = 1e-5\n", "training.learning_rate = 0.0003\n"),
        ("training = {rank = 8, learning_rate = 1}\n", "training = {rank = 8, learning_rate = 0.0003}\n"),
        (
            "[other]\nlearning_rate = 1\n[training]\nlearning_rate = 2\n",
            "[other]\nlearning_rate = 1\n[training]\nlearning_rate = 0.0003\n",
        ),
        (
            'note = """\n[training]\nlearning_rate = 1\n"""\n[training]\nlearning_rate = 2\n',
            'note = """\n[training]\nlearning_rate = 1\n"""\n[training]\nlearning_rate = 0.0003\n',
        ),
    ],
)
def test_only_the_value_changes(old: str, new: str) -> None:
    assert edited(old, KEY, 3e-4) == new


def test_what_cannot_be_changed_safely_is_left_alone() -> None:
    assert edited("training = {rank = 8}\n", KEY, 3e-4) is None
    assert edited("training = 7\n", KEY, 3e-4) is None


def test_the_place_is_told_without_a_change(tmp_path: Path) -> None:
    assert place_of(KEY) == Path("heedloop.toml")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_made_where_there_is_none_and_then_changed(tmp_path: Path) -> None:
    assert set_number(KEY, 3e-4) == Path("heedloop.toml")
    assert load_config().training.learning_rate == 3e-4
    (tmp_path / "heedloop.toml").write_text("# mine\n[training]\nrank = 8\n")
    (tmp_path / "heedloop.toml").chmod(0o640)
    set_number(KEY, 1e-5)
    assert (tmp_path / "heedloop.toml").read_text() == "# mine\n[training]\nlearning_rate = 1e-05\nrank = 8\n"
    assert (tmp_path / "heedloop.toml").stat().st_mode & 0o777 == 0o640
    assert load_config().training.rank == 8


def test_the_file_that_sets_it_now_is_the_one_that_is_changed(tmp_path: Path) -> None:
    own = tmp_path / "config" / "heedloop" / "heedloop.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[training]\nlearning_rate = 0.5\n")
    assert set_number(KEY, 3e-4) == own
    assert not (tmp_path / "heedloop.toml").exists()
    assert load_config().training.learning_rate == 3e-4


def test_an_environment_variable_would_win_so_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEEDLOOP_TRAINING__LEARNING_RATE", "0.1")
    with pytest.raises(ConfigError, match="HEEDLOOP_TRAINING__LEARNING_RATE, which wins"):
        set_number(KEY, 3e-4)
    with pytest.raises(ConfigError, match="HEEDLOOP_TRAINING__LEARNING_RATE, which wins"):
        place_of(KEY)


def test_a_file_that_cannot_be_changed_safely_is_named_and_keeps_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "heedloop.toml"
    file.write_text("training = {rank = 8}\n")
    for refused in (lambda: set_number(KEY, 3e-4), lambda: place_of(KEY)):
        with pytest.raises(ConfigError, match=r"heedloop\.toml cannot be changed safely"):
            refused()
    assert file.read_text() == "training = {rank = 8}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["heedloop.toml"]
