from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from learner.vectors.algebra import Combination
from learner.vectors.application import added, without
from learner.vectors.blocks import Shape
from learner.vectors.checkpoint import Checkpoint, checkpoint_blocks, difference, differing
from learner.vectors.export import export_checkpoint, export_vector
from learner.vectors.file import VectorFile
from learner.vectors.library import Library
from policies.errors import InputError

HASH = "base-1"
UP, NORM = "model.layers.0.mlp.up_proj.weight", "model.norm.weight"


def checkpoint(folder: Path, seed: int, changed: tuple[str, ...] = (UP, NORM)) -> Path:
    """A folder with two tensors; `changed` ones depend on the seed."""
    folder.mkdir()
    tensors = {}
    for name, shape in {UP: (300, 20), NORM: (20,)}.items():
        drawn = np.random.default_rng(seed if name in changed else 0)
        tensors[name] = torch.from_numpy(drawn.normal(size=shape).astype(np.float32)).to(torch.bfloat16)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Checkpoint:
    return Checkpoint(checkpoint(tmp_path / "base", 0))


@pytest.fixture
def library(tmp_path: Path, base: Checkpoint) -> Library:
    found = Library(tmp_path / "home", HASH)
    for name, seed in (("a", 1), ("b", 2)):
        other = Checkpoint(checkpoint(tmp_path / name, seed, (UP,)))
        shapes = differing(other, base)
        found.add(name, shapes, checkpoint_blocks(other, base, shapes), recipe=f"test {name}")
    return found


def values(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def stream(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    return ((name, tensor.clone()) for name, tensor in tensors.items())


def test_a_vector_is_the_difference_and_only_of_what_differs(library: Library, tmp_path: Path) -> None:
    vector = library.open("a")
    assert list(vector.shapes) == [UP]
    stored = load_file(vector.path)  # any reader of safetensors can
    expected = values(tmp_path / "a")[UP].float().numpy() - values(tmp_path / "base")[UP].float().numpy()
    np.testing.assert_array_equal(stored[UP].numpy(), expected)
    assert vector.description.summary.norm == pytest.approx(np.linalg.norm(expected), rel=1e-6)
    assert vector.path.stat().st_mode & 0o777 == 0o600


def test_a_difference_of_two_streams_is_the_same(base: Checkpoint, library: Library, tmp_path: Path) -> None:
    before, after = ({UP: values(tmp_path / which)[UP]} for which in ("base", "a"))
    made = library.add("c", {UP: (300, 20)}, difference(stream(before), stream(after)), recipe="streams")
    assert made.numbers == library.open("a").description.numbers


def test_the_whole_vector_at_scale_one_gives_the_very_bytes(library: Library, tmp_path: Path) -> None:
    moved = dict(added(stream({UP: values(tmp_path / "base")[UP]}), library.open("a"), 1.0, "seed"))
    assert torch.equal(moved[UP], values(tmp_path / "a")[UP])


def test_a_scaled_vector_is_added_without_bias(library: Library, tmp_path: Path) -> None:
    before = values(tmp_path / "base")[UP]
    delta = values(tmp_path / "a")[UP].float() - before.float()
    moved = dict(added(stream({UP: before}), library.open("a"), 0.001, "seed"))[UP]
    exact = before.float() + 0.001 * delta
    step = exact.abs().clamp(min=1e-6).log2().floor().exp2() / 128  # between bf16 neighbours
    assert bool(((moved.float() - exact).abs() <= step * 1.01).all())
    error = ((moved.float() - exact) / step).mean().item()
    assert abs(error) < 4 * (1 / 12 + 1 / 12) ** 0.5 / np.sqrt(exact.numel())
    assert (moved != before).sum() > 300, "to nearest, hardly one would move"


def test_what_is_untouched_since_gets_its_old_bytes_back(tmp_path: Path, library: Library) -> None:
    before, after = ({UP: values(tmp_path / which)[UP]} for which in ("base", "a"))
    live = {UP: after[UP].clone()}
    live[UP][0, :5] += 1.0
    found = dict(without(stream(live), stream(after), stream(before)))[UP]
    assert torch.equal(found[1:], before[UP][1:])
    expected = live[UP][0, :5].float() - (after[UP][0, :5].float() - before[UP][0, :5].float())
    assert torch.equal(found[0, :5], expected.to(torch.bfloat16))


def test_an_expression_is_kept_as_a_vector_of_its_own(library: Library) -> None:
    library.keep("sum", library.combine("a+0.5*b-a"), "a+0.5*b-a")
    found, b = load_file(library.open("sum").path), load_file(library.open("b").path)
    np.testing.assert_allclose(found[UP].numpy(), 0.5 * b[UP].numpy(), atol=1e-6)


def test_an_exported_checkpoint_is_base_plus_scaled_vector(
    library: Library, base: Checkpoint, tmp_path: Path
) -> None:
    export_checkpoint(library.open("a"), 0.5, base, "tiny", tmp_path / "out")
    found, old, new = values(tmp_path / "out"), values(tmp_path / "base"), values(tmp_path / "a")
    expected = (old[UP].float() + 0.5 * (new[UP].float() - old[UP].float())).to(torch.bfloat16)
    assert torch.equal(found[UP], expected)
    assert torch.equal(found[NORM], old[NORM])
    assert (tmp_path / "out" / "config.json").exists()
    assert HASH in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("whole", [False, True])
def test_an_export_is_its_owners_alone(
    library: Library, base: Checkpoint, tmp_path: Path, whole: bool
) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o755)
    if whole:
        export_checkpoint(library.open("a"), 0.5, base, "tiny", out)
    else:
        export_vector(library.open("a"), "tiny", out)
    assert out.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}


def test_an_exported_vector_is_the_file_with_a_card(library: Library, tmp_path: Path) -> None:
    path = export_vector(library.open("a"), "tiny", tmp_path / "out")
    assert VectorFile(path).description == library.open("a").description
    assert "test a" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(InputError, match="not empty"):
        export_vector(library.open("a"), "tiny", tmp_path / "out")


def test_nonsense_is_refused_in_one_line_and_leaves_nothing(
    library: Library, base: Checkpoint, tmp_path: Path
) -> None:
    shapes: dict[str, Shape] = {UP: (300, 20)}

    def bad() -> Iterator[tuple[str, int, int, Tensor]]:
        yield UP, 0, 200, torch.zeros(200, 20)
        yield UP, 200, 300, torch.zeros(100, 20).index_fill(0, torch.tensor([7]), float("nan"))

    with pytest.raises(InputError, match="row 207 is not a finite number"):
        library.add("nan", shapes, bad(), recipe="bad")
    assert sorted(p.name for p in library.folder.iterdir()) == ["a.safetensors", "b.safetensors"]
    with pytest.raises(InputError, match="no vector 'q'"):
        library.combine("a+q")
    with pytest.raises(InputError, match="already"):
        library.keep("a", Combination(((1.0, library.open("b")),)), "b")
    with pytest.raises(InputError, match="fits its own base model only"):
        Library(tmp_path / "home", "base-2").open("a")
    (library.folder / "junk.safetensors").write_bytes(b"\x08" * 40)
    with pytest.raises(InputError, match="cannot be read"):
        library.open("junk")
    with pytest.raises(InputError, match="no task vector"):
        VectorFile(base.folder / "model.safetensors")
    with pytest.raises(InputError, match="the model \\(3, 4\\)"):
        next(added(iter([(UP, torch.zeros(3, 4))]), library.open("a"), 1.0, "s"))
    assert differing(base, base) == {}
    with pytest.raises(InputError, match="nothing differs"):
        library.add("none", {}, iter(()), recipe="same")
