"""What of the GPU's side can be told without one; and, marked `gpu`, what needs one."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError

from learner.live import cuda
from learner.live.manifest import Device
from policies.errors import ConfigError

MAPS = """\
7f00-7f10 r-xp 00000000 08:01 12 /venv/lib/nvidia/cu13/lib/libcudart.so.13
7f10-7f20 r--p 00000000 08:01 12 /venv/lib/nvidia/cu13/lib/libcudart.so.13
7f20-7f30 r-xp 00000000 08:01 13 /venv/lib/my folder/libcudart.so.12 (deleted)
7f30-7f40 r-xp 00000000 08:01 14 /venv/lib/libcuda.so.1
"""
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_the_runtime_that_torch_loaded_is_found() -> None:
    found = cuda.loaded_runtimes(MAPS)
    assert found[0] == "/venv/lib/nvidia/cu13/lib/libcudart.so.13"
    assert len(found) == 2
    assert cuda.loaded_runtimes("") == []


def test_a_gpu_is_found_by_its_uuid_whatever_its_number() -> None:
    assert cuda.index_of("GPU-b", ["GPU-a", "GPU-b"]) == 1
    with pytest.raises(ConfigError, match="this process sees GPU-a, GPU-b"):
        cuda.index_of("GPU-c", ["GPU-a", "GPU-b"])
    with pytest.raises(ConfigError, match="this process sees no GPU"):
        cuda.index_of("GPU-c", [])


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, False),
        ({"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}, True),
        ({"PYTORCH_ALLOC_CONF": "max_split_size_mb:64, expandable_segments : true"}, True),
        ({"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:False"}, False),
    ],
)
def test_expandable_segments_are_seen(environment: dict[str, str], told: bool) -> None:
    assert cuda.expandable_segments(environment) is told


def test_a_handle_is_64_bytes_in_the_manifest() -> None:
    handle = bytes(range(64))
    device = Device(uuid="GPU-a", handle=handle.hex())
    assert bytes.fromhex(Device.model_validate_json(device.model_dump_json()).handle) == handle
    with pytest.raises(ValidationError):
        Device(uuid="GPU-a", handle="00")


def test_importing_needs_no_gpu_and_no_vllm() -> None:
    code = "import sys, learner.live.cuda, learner.live.client; print('vllm' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


@pytest.mark.gpu
@needs_gpu
def test_a_block_lies_outside_torchs_allocator_and_is_given_back() -> None:
    device, nbytes = torch.device("cuda", 0), 256 << 20
    cuda.runtime()
    free, _ = torch.cuda.mem_get_info(device)
    taken = torch.cuda.memory_allocated(device)
    block = cuda.allocate(nbytes, device)
    assert torch.cuda.memory_allocated(device) == taken
    assert free - torch.cuda.mem_get_info(device)[0] >= nbytes
    assert not block.any()
    part = block[:64].view(torch.bfloat16)
    del block
    part.fill_(1)  # a view keeps the memory
    assert part.sum().item() == 32
    del part
    assert free - torch.cuda.mem_get_info(device)[0] < nbytes


@pytest.mark.gpu
@needs_gpu
def test_no_room_on_the_gpu_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match="cudaMalloc: out of memory"):
        cuda.allocate(1 << 50, torch.device("cuda", 0))
    assert torch.ones(1, device="cuda").item() == 1  # the error does not stick to the next call


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_is_its_own_uuid() -> None:
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    assert cuda.device_of(cuda.uuid_of(device)) == device
    block = cuda.allocate(4096, device)
    assert len(cuda.export(block)) == cuda.HANDLE_BYTES
