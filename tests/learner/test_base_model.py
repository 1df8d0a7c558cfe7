"""Where a model comes from: the embedded one converted once and re-made when damaged, a folder, a hub
name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from learner.base_model import GGUF_SHA256, model_hash, resolve_model
from policies.errors import ConfigError, UnsupportedModel


def silent(_what: str, _part: float) -> None:
    pass


def test_the_embedded_model_is_a_whole_bfloat16_chat_model(smollm2_path: Path) -> None:
    from transformers import AutoTokenizer

    with safe_open(smollm2_path / "model.safetensors", "pt") as weights:
        kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
        assert len(weights.keys()) == 272
    assert kinds == {"BF16"}
    assert GGUF_SHA256.startswith(smollm2_path.name.removeprefix("smollm2-"))
    text = AutoTokenizer.from_pretrained(smollm2_path).apply_chat_template(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], tokenize=False
    )
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi")


def test_a_sound_conversion_is_used_and_a_damaged_one_made_again(
    smollm2_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    copy = tmp_path / "heedloop" / "models" / smollm2_path.name
    shutil.copytree(smollm2_path, copy)
    told: list[str] = []
    assert resolve_model("smollm2", lambda what, _: told.append(what)) == copy
    assert told == []
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(100_000_000)
        file.write(b"\xff\xff\xff\xff")
    assert model_hash(copy) != model_hash(smollm2_path)
    assert resolve_model("smollm2", lambda what, _: told.append(what)) == copy
    assert told[-1] == "the embedded model is ready"
    assert model_hash(copy) == model_hash(smollm2_path)
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_folder_is_checked_and_its_hash_follows_its_bytes(tiny_qwen35_path: Path, tmp_path: Path) -> None:
    assert resolve_model(str(tiny_qwen35_path), silent) == tiny_qwen35_path
    copy = shutil.copytree(tiny_qwen35_path, tmp_path / "copy")
    assert model_hash(copy) == model_hash(tiny_qwen35_path)
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert model_hash(copy) != model_hash(tiny_qwen35_path)
    (copy / "config.json").write_text('{"architectures": ["X"], "quantization_config": {"bits": 4}}')
    with pytest.raises(UnsupportedModel, match="quantised"):
        resolve_model(str(copy), silent)


@pytest.mark.parametrize("name", ["/no/such/folder", "./here", "nonsense", "a/b/c"])
def test_a_name_that_is_no_model_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.model"):
        resolve_model(name, silent)


def test_a_hub_name_without_a_network_is_one_clear_line(tmp_path: Path) -> None:
    code = (
        "from learner.base_model import resolve_model\nfrom policies.errors import Unreachable\n"
        "try:\n    resolve_model('nobody/nothing', lambda *_: None)\n"
        "except Unreachable as error:\n    print(error)"
    )
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONSAFEPATH": "1"}
    told = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert told.stdout.count("\n") == 1
    assert "not in the Hugging Face cache" in told.stdout
