"""Real parts for all tests: the embedded model, a tiny Qwen3.5, and vLLM servers with live weights, one a
session.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

# One thread a process, as in the product: on two cores a server and a learner would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from learner.temporary_server import SHARED, temporary_server
from policies.config import ServerConfig
from policies.errors import Unreachable
from store.database import Store, open_store

START_S = 300.0
QWEN35_VERSION = "01TINYVERSION"
QWEN35_STEP = 7


@dataclass(frozen=True)
class Server:
    """A running server: `name` is the model name of requests, `pid` the one to signal."""

    url: str
    name: str
    model_dir: Path
    arena: Path
    versions: Path
    log: Path
    pid: int


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The state folder of one test; not made yet."""
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """A fresh store for one test."""
    opened = open_store(home)
    yield opened
    opened.close()


@pytest.fixture(name="serve", scope="session")
def _serve() -> Callable[..., AbstractContextManager[Server]]:
    """The function `serving`, for tests that need a server of their own."""
    return serving


@contextmanager
def serving(model_dir: Path, folder: Path, versions: Path, *extra: str, name: str = "m") -> Iterator[Server]:
    """Run a real vLLM server for the time of the block. Raises Unreachable, with the end of its log, if it
    fails.
    """
    arena = SHARED / f"heedloop-tests-{os.getpid()}-{secrets.token_hex(4)}"
    config = ServerConfig(model=name, extra_args=extra, start_timeout_s=START_S)
    try:
        with temporary_server(config, model_dir, arena, folder, versions, folder / "answers") as server:
            yield Server(server.url, name, model_dir, arena, versions, server.log, server.pid)
    except Unreachable as error:
        said = (folder / "vllm.log").read_text(errors="replace")
        raise Unreachable(f"{error}\n{said[-8000:]}") from error


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """The embedded SmolLM2-135M-Instruct, converted once into the user's cache."""
    from learner.base_model import resolve_model

    return resolve_model("smollm2", lambda what, part: print(f"{what} {part:.0%}", file=sys.stderr))


@pytest.fixture(scope="session")
def tiny_qwen35_path(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3.5 of 13 M parameters: three Gated DeltaNet layers, one of attention, head not tied."""
    import torch
    from transformers import AutoTokenizer
    from transformers.models.qwen3_5 import Qwen3_5ForCausalLM, Qwen3_5TextConfig

    folder = tmp_path_factory.mktemp("tiny-qwen35")
    tokenizer = AutoTokenizer.from_pretrained(smollm2_path)
    config = Qwen3_5TextConfig(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 4,
        },
        **{
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "max_position_embeddings": 2048,
        },
        **{"linear_num_key_heads": 4, "linear_num_value_heads": 8},
        **{"linear_key_head_dim": 64, "linear_value_head_dim": 64},
        **{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "tie_word_embeddings": False},
        initializer_range=0.1,  # logits far enough apart for an argmax that bfloat16 does not turn
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen3_5ForCausalLM(config)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and "A_log" not in name:
                torch.nn.init.normal_(parameter, 0.5, 0.2)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def smollm2_server(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the embedded model, on the base version. Leave its weights as you found them."""
    folder = tmp_path_factory.mktemp("smollm2-server")
    with serving(smollm2_path, folder, folder / "versions", name="smollm2") as server:
        yield server


@pytest.fixture(scope="session")
def qwen35_server(tiny_qwen35_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the tiny Qwen3.5 that starts on a durable version. Leave its weights as you found them."""
    folder = tmp_path_factory.mktemp("qwen35-server")
    write_qwen35_version(tiny_qwen35_path, folder / "versions")
    with serving(tiny_qwen35_path, folder, folder / "versions", name="tiny") as server:
        yield server


def write_qwen35_version(model_dir: Path, versions: Path) -> None:
    """A durable version of the tiny model: one stacked, one plain and one convolution tensor differ from the
    base.
    """
    from safetensors import safe_open

    from learner.archive import Archive
    from learner.base_model import model_hash
    from store.versions import Version

    changed = (
        "model.layers.1.mlp.up_proj.weight",
        "model.norm.weight",
        "model.layers.0.linear_attn.conv1d.weight",
    )
    archive = Archive(versions, model_dir, model_hash(model_dir))
    with safe_open(model_dir / "model.safetensors", "pt") as base:
        stored = archive.save("tiny", lambda name: base.get_tensor(name) * 1.25, changed)
    version = Version.model_validate(
        {"id": QWEN35_VERSION, "parent": None, "kind": "train", "first_step": 1, "last_step": QWEN35_STEP}
        | {"file": stored.file, "sha256": stored.sha256, "fingerprint": "", "created": 0}
    )
    archive.point([version])
