"""The difference of a tensor to the base model's is exact, whatever the bits are."""

from __future__ import annotations

import pytest
import torch

from learner.versioning.delta import decode, encode, same_bits

TYPES = [(torch.bfloat16, torch.int16), (torch.float16, torch.int16), (torch.float32, torch.int32)]


@pytest.mark.parametrize(("kind", "integer"), TYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (37, 129), (2, 3, 5)])
def test_every_bit_pattern_comes_back(
    kind: torch.dtype, integer: torch.dtype, shape: tuple[int, ...]
) -> None:
    most = torch.iinfo(integer)
    generator = torch.Generator().manual_seed(0)
    value, base = (
        torch.randint(most.min, most.max, shape, generator=generator).to(integer).view(kind) for _ in range(2)
    )
    assert same_bits(decode(encode(value, base), base), value)


def test_nan_and_minus_zero_are_told_apart_from_others() -> None:
    nan, zero = torch.tensor([float("nan")]), torch.zeros(1)
    assert same_bits(nan, nan.clone())
    assert not same_bits(zero, -zero)
    assert same_bits(decode(encode(-zero, zero), zero), -zero)


def test_small_steps_take_few_bytes() -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(256, 256, generator=generator).bfloat16()
    moved = (base.float() * (1 + 2e-3 * torch.randn(256, 256, generator=generator))).bfloat16()
    assert 0.1 < float((moved != base).float().mean()) < 0.9
    assert len(encode(moved, base)) < 0.25 * base.nbytes


@pytest.mark.parametrize("delta", [b"", b"nonsense", encode(torch.ones(3), torch.zeros(3))])
def test_what_is_no_delta_of_this_tensor_is_refused(delta: bytes) -> None:
    with pytest.raises(ValueError, match="delta"):
        decode(delta, torch.zeros(4))
