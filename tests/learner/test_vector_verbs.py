"""`vectors` and `steer` by the command line, on a state folder without a running system."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from steering_vectors import steering_vector
from typer.testing import CliRunner

from learner.base_model import model_hash
from learner.steering.extraction import Directions
from learner.steering.file import Steering
from learner.vectors.file import write_vector
from learner.verbs import steering, vectors
from policies.errors import HeedloopError, InputError, Unreachable
from store import branches, progress, state, versions
from store.database import Store, open_store

UP, NORM = "model.layers.0.mlp.up_proj.weight", "model.norm.weight"


@pytest.fixture(autouse=True)
def base(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny base checkpoint, a store that was trained on it, and two checkpoints beside it."""
    monkeypatch.setenv("HEEDLOOP_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("base", "one", "two")):
        folder = tmp_path / name
        folder.mkdir()
        drawn = torch.Generator().manual_seed(seed)
        up = torch.randn(64, 16, generator=drawn).to(torch.bfloat16)
        save_file({UP: up, NORM: torch.ones(16, dtype=torch.bfloat16)}, folder / "model.safetensors")
        (folder / "config.json").write_text("{}")
    folder, store = tmp_path / "base", open_store(home)
    hashed = model_hash(folder)
    made = versions.new_version(None, "base", first_step=None, last_step=None, file=None, fingerprint="f")
    with store.write() as connection:
        state.put(
            connection,
            "serving",
            {
                "model_dir": str(folder),
                "model_hash": hashed,
                "model_name": "tiny",
                "url": "http://127.0.0.1:1",
            },
        )
        versions.add(connection, made)
    store.close()
    return folder


def run(*words: str) -> Any:
    """Run a verb with --json and return what it printed. Raises the error that `run.py` would print."""
    room = steering.commands if words[0] == "steer" else vectors.commands
    done = CliRunner().invoke(room, list(words[1:]), standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    assert done.exit_code == 0, done.output
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if lines and lines[-1][0] in "[{" else None


def test_ties_says_what_it_multiplied_by(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run("vectors", "import", name, str(tmp_path / name), "--json")
    made_good = run("vectors", "merge", "one", "two", "--into", "a", "--json")
    bare = run("vectors", "merge", "one", "two", "--into", "b", "--scale", "1", "--json")
    assert (made_good["scale"] > 1, bare["scale"]) == (True, 1)
    assert made_good["norm"] == pytest.approx(made_good["scale"] * bare["norm"], rel=1e-5)
    assert "times 1" in bare["recipe"]
    with pytest.raises(InputError, match="a scale of 0"):
        run("vectors", "merge", "one", "two", "--into", "c", "--scale", "0", "--json")


def test_long_work_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0)
    words = ["import", "one", str(tmp_path / "one"), "--json"]
    done = CliRunner().invoke(vectors.commands, words, standalone_mode=False)
    assert re.fullmatch(r"writing one: (\d+) of \1", done.stderr.splitlines()[-1])
    words = ["export", "one", str(tmp_path / "out"), "--checkpoint"]
    done = CliRunner().invoke(vectors.commands, words, standalone_mode=False)
    assert re.fullmatch(r"writing .*out: (\d+) of \1", done.stderr.splitlines()[-1])


def test_vectors_are_imported_combined_shown_and_exported(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run("vectors", "import", name, str(tmp_path / name), "--json")
    delta = {n: load_file(tmp_path / n / "model.safetensors")[UP].float() for n in ("base", "one", "two")}
    one, two = delta["one"] - delta["base"], delta["two"] - delta["base"]
    shown = run("vectors", "show", "one", "--plot", str(tmp_path / "one.png"), "--json")
    assert shown["norm"] == pytest.approx(one.norm().item(), rel=1e-5)
    flat = torch.nn.functional.cosine_similarity(one.flatten(), two.flatten(), 0).item()
    assert shown["cosine"]["two"] == pytest.approx(flat, abs=1e-5)
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"
    run("vectors", "compose", "one-0.5*two", "--into", "mix", "--json")
    run("vectors", "negate", "one", "--into", "anti", "--json")
    assert run("vectors", "diff", "one", "anti", "--json")["cosine"] == pytest.approx(-1)
    merged = run("vectors", "merge", "one", "two", "--into", "both", "--keep", "1", "--json")
    opposite = ((one * two) < 0).float().mean().item()
    assert merged["conflicts"]["share"] == pytest.approx(opposite, abs=0.01)
    assert [row["name"] for row in run("vectors", "list", "--json")] == ["anti", "both", "mix", "one", "two"]
    run("vectors", "export", "mix", str(tmp_path / "out"), "--checkpoint", "--scale", "2")
    written = load_file(tmp_path / "out" / "model.safetensors")[UP].float()
    torch.testing.assert_close(written, delta["base"] + 2 * (one - 0.5 * two), rtol=0.01, atol=0.01)
    run("vectors", "delete", "mix")
    with pytest.raises(InputError, match="no vector 'mix'"):
        run("vectors", "show", "mix")


def test_average_and_dare_are_merged_as_their_papers_say(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run("vectors", "import", name, str(tmp_path / name), "--json")
    kept = tmp_path / "home" / "vectors"
    one, two = (load_file(kept / f"{name}.safetensors")[UP] for name in ("one", "two"))
    words = ("merge", "one", "two", "--method")
    assert "mean of one, two" in run("vectors", *words, "average", "--into", "mean", "--json")["recipe"]
    torch.testing.assert_close(load_file(kept / "mean.safetensors")[UP], (one + two) / 2)
    run("vectors", *words, "dare", "--drop", "0.5", "--seed", "3", "--into", "some", "--json")
    run("vectors", *words, "dare", "--drop", "0.5", "--seed", "3", "--into", "again", "--json")
    some = load_file(kept / "some.safetensors")[UP]
    assert torch.equal(some, load_file(kept / "again.safetensors")[UP])
    possible = torch.stack([0 * one, 2 * one, 2 * two, 2 * (one + two)])
    nearest, which = (possible - some).abs().min(0)
    assert nearest.max() < 1e-5
    shares = which.flatten().bincount(minlength=4) / which.numel()
    assert bool(((shares - 0.25).abs() < 0.06).all())


def test_a_file_of_another_base_or_with_foreign_tensors_is_not_imported(tmp_path: Path, base: Path) -> None:
    shapes: dict[str, tuple[int, ...]] = {UP: (64, 16)}
    change = [(UP, 0, 64, torch.ones(64, 16))]
    write_vector(tmp_path / "alien.safetensors", shapes, change, model_hash="other", recipe="x")
    with pytest.raises(InputError, match="made on base other"):
        run("vectors", "import", "x", str(tmp_path / "alien.safetensors"), "--json")
    own = tmp_path / "own.safetensors"
    write_vector(own, {UP: (2, 2)}, [(UP, 0, 2, torch.ones(2, 2))], model_hash=model_hash(base), recipe="x")
    with pytest.raises(InputError, match="not in the base model"):
        run("vectors", "import", "x", str(own), "--json")
    own.unlink()
    write_vector(own, shapes, change, model_hash=model_hash(base), recipe="by hand")
    assert run("vectors", "import", "x", str(own), "--json")["recipe"] == "by hand"


def test_a_file_that_cannot_be_read_does_not_hide_the_others(home: Path, tmp_path: Path, base: Path) -> None:
    run("vectors", "import", "one", str(tmp_path / "one"), "--json")
    (home / "vectors" / "broken.safetensors").write_bytes(b"cut off")
    broken, whole = run("vectors", "list", "--json")
    assert "cannot be read" in broken["error"]
    assert whole["name"] == "one"
    assert "cannot be read" in run("vectors", "show", "one", "--json")["cosine"]["broken"]
    assert run("vectors", "list") is None
    steerings, rows = Steering(home, model_hash(base)), torch.eye(2, 16)
    steerings.keep(steering_vector(model_hash=model_hash(base)), Directions(rows, rows.clone()))
    (home / "steering" / "bad-name.safetensors").write_bytes(b"cut off")
    foreign, known = run("steer", "list", "--json")
    assert "cannot name a vector" in foreign["error"]
    assert (known["name"], known["on"], known["made_anew"]) == ("s", None, False)
    assert run("steer", "list") is None


def test_the_graph_is_shown_and_branches_are_made(home: Path) -> None:
    made = run("vectors", "branch", "terse", "--json")
    assert {row["branch"] for row in run("vectors", "branch", "--json")} == {"main", "terse"}
    log = run("vectors", "log", "--json")
    assert log["branch"] == "main"
    assert sorted(log["versions"][0]["branches"]) == ["main", "terse"]
    store: Store = open_store(home)
    found = branches.get(store, "terse")
    store.close()
    assert found is not None
    assert found.version_id == made["version"]


@pytest.mark.parametrize(
    ("words", "kind", "says"),
    [
        (("vectors", "apply", "nobody"), InputError, "no vector 'nobody'"),
        (("vectors", "extract", "x"), InputError, "nothing differs"),
        (("vectors", "extract", "x", "--to", "nowhere"), InputError, "nowhere"),
        (("vectors", "extract", "a-b"), InputError, "cannot name a vector"),
        (("vectors", "import", "x", "/nonexistent"), InputError, "cannot be read"),
        (("vectors", "compose", "a+", "--into", "x"), InputError, "cannot read"),
        (("vectors", "train", "x", "--direction", "sing"), InputError, "no stored example"),
        (("vectors", "branch", "main"), InputError, "already"),
        (("vectors", "checkout", "nowhere"), InputError, "nowhere"),
        (("vectors", "revert", "base"), Unreachable, "no learner runs"),
        (("steer", "extract", "x"), InputError, "--direction TEXT, or --pairs FILE"),
        (("steer", "extract", "x", "--direction", "sing"), InputError, "direction with 'sing' in it"),
        (("steer", "extract", "a-b", "--direction", "sing"), InputError, "cannot name a vector"),
        (("steer", "on", "nobody"), InputError, "no steering vector 'nobody'"),
        (("steer", "on", "s", "--layer", "9"), InputError, "layers 0 to 1"),
        (("steer", "on", "s", "--scale", "nan"), InputError, "makes no sense"),
        (("steer", "on", "s"), Unreachable, "no learner runs"),
        (
            ("steer", "verify", "s", "hello", "--direction", "be nice to people"),
            InputError,
            "checked by code",
        ),
    ],
)
def test_nonsense_is_one_clear_line(
    home: Path, base: Path, words: tuple[str, ...], kind: type[HeedloopError], says: str
) -> None:
    rows = torch.eye(2, 16)
    vector = steering_vector(model_hash=model_hash(base))
    Steering(home, vector.model_hash).keep(vector, Directions(rows, rows.clone()))
    with pytest.raises(kind) as refused:
        run(*words)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
