"""The packed layout: any run of rows, and the same bytes as vLLM's own kernel."""

from __future__ import annotations

import pytest
import torch

from learner.live import layout


@pytest.mark.parametrize(
    ("first", "count"), [(0, 96), (32, 64), (5, 20), (30, 4), (33, 63), (95, 1), (10, 70)]
)
def test_any_rows_are_written_and_read_and_the_others_left(first: int, count: int) -> None:
    whole = torch.randn(96, 64).bfloat16()
    packed = torch.zeros(96 * 64, dtype=torch.bfloat16)
    layout.write_rows(packed, 96, 64, 0, whole)
    part = torch.randn(count, 64).bfloat16()
    layout.write_rows(packed, 96, 64, first, part)
    whole[first : first + count] = part
    assert torch.equal(layout.read_rows(packed, 96, 64, 0, 96), whole)
    assert torch.equal(layout.read_rows(packed, 96, 64, first, count), part)


@pytest.mark.bf16
@pytest.mark.filterwarnings("ignore")
def test_the_kernel_of_this_machine_packs_as_we_do() -> None:
    import vllm._custom_ops as ops

    if not hasattr(torch.ops._C, "convert_weight_packed"):
        pytest.skip("this vLLM build has no packed kernel; layers stay plain here")
    weight, x = torch.randn(96, 64).bfloat16(), torch.randn(3, 64).bfloat16()
    packed = torch.zeros(96 * 64, dtype=torch.bfloat16)
    layout.write_rows(packed, 96, 64, 0, weight)
    assert torch.equal(packed, torch.ops._C.convert_weight_packed(weight).flatten())
    bias = torch.randn(96).bfloat16()
    out = ops.weight_packed_linear_cpu(x, packed.view(96, 64), 96, bias.float())
    assert torch.allclose(
        out.float(), torch.nn.functional.linear(x, weight, bias).float(), atol=0.3, rtol=0.05
    )
