"""The products of a CPU server: the same answer whichever way they go."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from learner.live import products


@pytest.mark.parametrize("tokens", [1, 2, 33])
@pytest.mark.parametrize("with_bias", [False, True])
def test_a_widened_product_is_the_exact_one_rounded_once(tokens: int, with_bias: bool) -> None:
    generator = torch.Generator().manual_seed(tokens)
    x = torch.randn(tokens, 96, generator=generator).bfloat16()
    weight = torch.randn(2 * products._CHUNK_ROWS + 5, 96, generator=generator).bfloat16()
    bias = torch.randn(weight.shape[0], generator=generator).bfloat16() if with_bias else None

    out = products.widened_linear(x, weight, bias)

    exact = functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
    assert out.dtype == torch.bfloat16
    assert torch.allclose(out.double(), exact, rtol=2**-8, atol=2**-8)


def test_a_compiled_product_takes_any_number_of_tokens() -> None:
    weight = torch.randn(70, 32).bfloat16()
    compiled = torch.compile(products.widened_linear, backend="eager", dynamic=True, fullgraph=True)
    for tokens in (1, 2, 9):
        x = torch.randn(tokens, 32).bfloat16()
        assert torch.allclose(
            compiled(x, weight, None).float(), functional.linear(x.float(), weight.float()), atol=0.1
        )


def test_only_bfloat16_on_a_cpu_without_its_instructions_is_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.zeros(4, 4, dtype=torch.bfloat16)
    monkeypatch.setattr(products.torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert products.plain_linear(weight) is products.widened_linear
    assert products.plain_linear(weight.float()) is functional.linear
    monkeypatch.setattr(products.torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert products.plain_linear(weight) is functional.linear
