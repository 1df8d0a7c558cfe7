"""Settings: which source wins, and what a mistake says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from policies.config import Config
from policies.errors import ConfigError
from store.home import home_of, make_home
from store.settings import as_environment, flatten, known_keys, load_config, origins
from store.settings_file import render_example

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours and no file but those that a test writes."""
    for name in os.environ:
        if name.startswith("HEEDLOOP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def write_user_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config" / "heedloop" / "heedloop.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_nothing_set_gives_the_defaults() -> None:
    config = load_config()
    assert config.model_dump() == Config().model_dump()
    assert set(origins(config).values()) == {"default"}


def test_each_source_wins_over_the_one_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = write_user_file(tmp_path, "[training]\nrank = 1\nseed = 1\nnice = 1\nthreads = 1\n")
    Path("heedloop.toml").write_text("[training]\nseed = 2\nnice = 2\nthreads = 2\n")
    monkeypatch.setenv("HEEDLOOP_TRAINING__NICE", "3")
    monkeypatch.setenv("HEEDLOOP_TRAINING__THREADS", "3")
    config = load_config(overrides={"training.threads": 4})
    training = config.training
    assert (training.rank, training.seed, training.nice, training.threads) == (1, 2, 3, 4)
    places = origins(config)
    assert [places[f"training.{key}"] for key in ("rank", "seed", "nice", "threads", "margin")] == [
        str(user),
        "heedloop.toml",
        "HEEDLOOP_TRAINING__NICE",
        "command line",
        "default",
    ]


def test_named_file_stands_for_the_usual_ones(tmp_path: Path) -> None:
    Path("heedloop.toml").write_text("[training]\nseed = 2\n")
    named = tmp_path / "other.toml"
    named.write_text("[guard]\nleak = 3.0\n")
    config = load_config(named)
    assert (config.training.seed, config.guard.leak) == (0, 3.0)


def test_variables_may_hold_lists_sections_and_null(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("heedloop.toml").write_text('[bus]\nurl = "mqtt://127.0.0.1"\n')
    monkeypatch.setenv("HEEDLOOP_BUS__URL", "null")
    monkeypatch.setenv("HEEDLOOP_SOURCE__WATCH", '["a.jsonl", "b.jsonl"]')
    monkeypatch.setenv("HEEDLOOP_TRAINING", '{"seed": 5, "nice": 1}')
    monkeypatch.setenv("HEEDLOOP_TRAINING__NICE", "2")
    config = load_config()
    assert config.bus.url is None
    assert config.source.watch == ("a.jsonl", "b.jsonl")
    assert (config.training.seed, config.training.nice) == (5, 2)
    assert origins(config)["training.seed"] == "HEEDLOOP_TRAINING"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[training]\nlerning_rate = 1.0\n",
            r"training\.lerning_rate is not a setting; did you mean training\.learning_rate\?",
        ),
        ("[traning]\nseed = 1\n", r"traning is not a setting; did you mean training\?"),
        ("zebra = 1\n", r"zebra is not a setting \(`run\.py config show` lists them all\)"),
        ("[training]\nseed = 'x'\n", r"training\.seed = 'x' cannot be used: .*integer"),
        (
            "[training]\nnice = 99\n[guard]\nz = -1\n",
            r"training\.nice = 99 cannot be used: .* \(and 1 more\)",
        ),
        ("[training\n", r"is not valid TOML: .*line 1"),
        ("training = 3\n", r"training = 3 cannot be used"),
    ],
)
def test_mistake_in_a_file_is_one_line_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        load_config(file)
    assert str(raised.value).startswith(str(file))
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "HEEDLOOP_TRAINING__SED",
            "1",
            "HEEDLOOP_TRAINING__SED is not a setting; did you mean HEEDLOOP_TRAINING__SEED?",
        ),
        (
            "HEEDLOOP_TRANING__SEED",
            "1",
            "HEEDLOOP_TRANING__SEED is not a setting; did you mean HEEDLOOP_TRAINING__SEED?",
        ),
        ("HEEDLOOP_HOEM", "/x", "HEEDLOOP_HOEM is not a setting; did you mean HEEDLOOP_HOME?"),
        ("HEEDLOOP_TRAINING__SEED", "x", "HEEDLOOP_TRAINING__SEED: training.seed = 'x' cannot be used"),
        (
            "HEEDLOOP_TRAINING",
            '{"sed": 1}',
            "HEEDLOOP_TRAINING: training.sed is not a setting; did you mean training.seed?",
        ),
        ("HEEDLOOP_SOURCE__WATCH", "a.jsonl", "HEEDLOOP_SOURCE...: a list or a section is written as JSON"),
    ],
)
def test_mistake_in_a_variable_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config()


def test_variables_that_are_no_settings_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEEDLOOP_DATA", "somewhere")
    monkeypatch.setenv("HEEDLOOP_REQUIRE", "mosquitto")
    assert load_config().model_dump() == Config().model_dump()


def test_mistake_in_a_flag_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"command line: server\.port = 99999 cannot be used"):
        load_config(overrides={"server": {"port": 99999}})
    with pytest.raises(ConfigError, match=r"cannot read the configuration file .*gone\.toml: No such file"):
        load_config(tmp_path / "gone.toml")


def test_child_process_loads_exactly_the_parents_configuration(tmp_path: Path) -> None:
    Path("heedloop.toml").write_text("[training]\nrank = 7\nseed = 9\n")
    config = load_config(
        overrides={
            "training.rank": None,
            "source.watch": ["a b", 'c"d'],
            "home": Path("state"),
            "bus.url": "mqtt://u:p@h",
        }
    )
    code = "from store.settings import load_config; print(load_config().model_dump_json())"
    environment = {**os.environ, "HEEDLOOP_TRAINING__SEED": "1", **as_environment(config)}
    child = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    loaded = Config.model_validate_json(child.stdout)
    assert loaded.home == tmp_path / "state"
    assert flatten(loaded.model_dump(exclude={"home"})) == flatten(config.model_dump(exclude={"home"}))


def test_example_file_shows_every_key_with_its_default() -> None:
    text = (ROOT / "heedloop.example.toml").read_text()
    assert text == render_example(), "python -m store.settings_file > heedloop.example.toml"
    assert tomllib.loads(text) == {section: {} for section in Config.model_fields if section != "home"}
    shown = flatten(tomllib.loads(re.sub(r"(?m)^# (?=\w+ = )", "", text)))
    assert list(shown) == known_keys()
    defaults = flatten(Config().model_dump(mode="json"))
    assert {key: value for key, value in shown.items() if defaults[key] is not None} == {
        key: value for key, value in defaults.items() if value is not None
    }


def test_home_follows_setting_then_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert home_of(load_config()) == tmp_path / "state" / "heedloop"
    monkeypatch.setenv("HEEDLOOP_HOME", "here")
    assert home_of(load_config()) == tmp_path / "here"


def test_home_is_private_and_complete(tmp_path: Path) -> None:
    home = make_home(tmp_path / "deep" / "home")
    assert make_home(home) == home, "a second time is no error"
    for folder in (home, home / "versions", home / "logs"):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_home_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot use .*/file/home as the state folder: Not a directory"):
        make_home(tmp_path / "file" / "home")
