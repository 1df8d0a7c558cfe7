"""One block of GPU memory that two processes share: raw cudaMalloc, and its CUDA IPC handle.

A raw block can be exported whatever torch's allocator does: expandable segments and vLLM's sleep pool are
virtual memory, of which cudaIpcGetMemHandle gives nothing. The calls go through ctypes to the CUDA runtime
that torch itself has loaded. Importing this needs no GPU; nothing here knows vLLM.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from policies.errors import ConfigError, Unreachable

HANDLE_BYTES = 64
_PEER_ACCESS = 1  # cudaIpcMemLazyEnablePeerAccess: lets another GPU open it, where the hardware can
_NAMES = ("libcudart.so.13", "libcudart.so.12")
_SETTINGS = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")


class _Handle(ctypes.Structure):
    """cudaIpcMemHandle_t: passed by value."""

    _fields_ = (("reserved", ctypes.c_char * HANDLE_BYTES),)


class Runtime:
    """The few calls of the CUDA runtime that torch does not offer. All act on the current device."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.cudaGetErrorString.restype = ctypes.c_char_p
        library.cudaIpcOpenMemHandle.argtypes = [ctypes.POINTER(ctypes.c_void_p), _Handle, ctypes.c_uint]

    def malloc(self, nbytes: int) -> int:
        """Allocate a block. Raises ConfigError when the GPU has no room."""
        pointer = ctypes.c_void_p()
        self._call(ConfigError, "cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(nbytes))
        return pointer.value or 0

    def free(self, address: int) -> None:
        """Give a block back."""
        self._call(ConfigError, "cudaFree", ctypes.c_void_p(address))

    def export(self, address: int) -> bytes:
        """The handle of a block, with which another process opens it while this one lives."""
        handle = _Handle()
        self._call(ConfigError, "cudaIpcGetMemHandle", ctypes.byref(handle), ctypes.c_void_p(address))
        return bytes(handle)

    def open(self, handle: bytes) -> int:
        """Map the block of another process. Raises Unreachable when it is gone."""
        pointer = ctypes.c_void_p()
        given = _Handle.from_buffer_copy(handle)
        self._call(Unreachable, "cudaIpcOpenMemHandle", ctypes.byref(pointer), given, _PEER_ACCESS)
        return pointer.value or 0

    def close(self, address: int) -> None:
        """Unmap the block of another process."""
        self._call(Unreachable, "cudaIpcCloseMemHandle", ctypes.c_void_p(address))

    def _call(self, error: type[Exception], name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            self._library.cudaGetLastError()  # else the next call of torch would report it as its own
            said = self._library.cudaGetErrorString(code).decode()
            raise error(f"live weights on the GPU: {name}: {said} (CUDA error {code})")


@cache
def runtime() -> Runtime:
    """The runtime that torch has loaded, else one by name. Raises ConfigError when there is none."""
    torch.cuda.init()
    for path in (*loaded_runtimes(Path("/proc/self/maps").read_text()), *_NAMES):
        try:
            return Runtime(ctypes.CDLL(path))
        except OSError:
            continue
    raise ConfigError("live weights on the GPU: no CUDA runtime (libcudart.so) is installed beside torch")


def loaded_runtimes(maps: str) -> list[str]:
    """The files of CUDA runtimes in the text of /proc/self/maps (proc(5))."""
    paths = [line.split(maxsplit=5)[-1] for line in maps.splitlines() if "/libcudart" in line]
    return list(dict.fromkeys(paths))


class _Block:
    """Raw memory as torch takes it without a copy; tensors on it keep this object, and so the memory."""

    def __init__(self, address: int, nbytes: int, release: Callable[[int], None]) -> None:
        self.__cuda_array_interface__ = {
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }
        weakref.finalize(self, release, address).atexit = False  # the driver does it then


def allocate(nbytes: int, device: torch.device) -> Tensor:
    """A block of zeros, as bytes, outside torch's allocator. Raises ConfigError when the GPU has no room."""
    with torch.cuda.device(device):
        block = _Block(runtime().malloc(nbytes), nbytes, runtime().free)
        return torch.as_tensor(block, device=device).zero_()


def export(block: Tensor) -> bytes:
    """The IPC handle of a block that `allocate` made."""
    with torch.cuda.device(block.device):
        return runtime().export(block.data_ptr())


def open_block(handle: bytes, nbytes: int, device: torch.device) -> Tensor:
    """The block of another process, on the same GPU. Raises Unreachable when that process is gone."""
    with torch.cuda.device(device):
        block = _Block(runtime().open(handle), nbytes, runtime().close)
        return torch.as_tensor(block, device=device)


def device_of(uuid: str) -> torch.device:
    """This process's name of a GPU: CUDA_VISIBLE_DEVICES may number them otherwise in each process.

    Raises ConfigError when it is not visible here.
    """
    count = torch.cuda.device_count()
    return torch.device("cuda", index_of(uuid, [uuid_of(torch.device("cuda", i)) for i in range(count)]))


def uuid_of(device: torch.device) -> str:
    """The GPU's own name, the same in every process."""
    return str(torch.cuda.get_device_properties(device).uuid)


def index_of(uuid: str, visible: Sequence[str]) -> int:
    """Place of a GPU among the visible ones. Raises ConfigError when it is not among them."""
    if uuid not in visible:
        seen = ", ".join(visible) or "no GPU"
        raise ConfigError(
            f"the live weights lie on GPU {uuid}, this process sees {seen}: give the learner the server's "
            "CUDA_VISIBLE_DEVICES"
        )
    return visible.index(uuid)


def expandable_segments(environment: Mapping[str, str]) -> bool:
    """Whether torch's allocator is told to use virtual memory, in which weights cannot be shared."""
    told = ",".join(environment.get(name, "") for name in _SETTINGS).replace(" ", "").lower()
    return "expandable_segments:true" in told
