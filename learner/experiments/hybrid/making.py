"""Making the hybrid: a Qwen3.5 from scratch on the text of the small world, and kept for the next time.

The batch of a step follows from its number, so that a run that was killed goes on from its last checkpoint as
if nothing had been.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.qwen3_5 import Qwen3_5ForCausalLM, Qwen3_5TextConfig

from learner.experiments.hybrid import domain, tokenizer
from learner.experiments.hybrid.rule import short_text
from learner.experiments.scoring import answers_of
from learner.tokens import answer_ids, prompt_of

RECORD = "hybrid.json"
Tell = Callable[[str], None]
_CHECKPOINT, _CHECKPOINT_S = "training.safetensors", 20.0
_WARMUP = 40
_IGNORED = -100


@dataclass(frozen=True)
class Size:
    """How large a hybrid, of how large a world, and how long it is trained."""

    people: int
    attributes: int
    layers: int
    hidden: int
    head: int
    steps: int
    batch: int
    rate: float = 3e-3
    seed: int = 0
    toy: bool = False


FULL = Size(people=18, attributes=4, layers=8, hidden=96, head=64, steps=260, batch=32)
TOY = Size(people=12, attributes=4, layers=4, hidden=96, head=32, steps=220, batch=32, toy=True)


def hybrid_folder(size: Size = FULL) -> Path:
    """Where the hybrid of a size lies: $XDG_CACHE_HOME/heedloop/models/hybrid-<hash of its recipe>."""
    known = domain.world(size.people, size.attributes)
    made_of = f"{asdict(size)}{domain.texts(known)}{known}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kind = "hybrid-toy" if size.toy else "hybrid"
    return cache / "heedloop" / "models" / f"{kind}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"


def made(folder: Path) -> bool:
    """Tell whether a finished hybrid is there: the folder is moved into place as a whole."""
    return (folder / RECORD).is_file()


def record_of(folder: Path) -> dict[str, Any]:
    """Return what is written of a hybrid made here: its size, its loss, how it answers; empty for others."""
    path = folder / RECORD
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def world_of(folder: Path) -> domain.World | None:
    """Return the world that the model in a folder knows; None if it is no hybrid of ours."""
    size = record_of(folder).get("size")
    return size and domain.world(size["people"], size["attributes"])


def is_toy(folder: Path) -> bool:
    """Tell whether a folder holds the hybrid that only shows that an experiment runs."""
    return bool(record_of(folder).get("size", {}).get("toy"))


def make(size: Size, folder: Path, tell: Tell) -> Path:
    """Train the hybrid into `folder`, on from where a run before was killed. Returns the folder."""
    if made(folder):
        tell(f"{folder} is there already")
        return folder
    work = folder.with_name(f".{folder.name}")
    work.mkdir(parents=True, exist_ok=True)
    known = domain.world(size.people, size.attributes)
    words = tokenizer.trained(domain.texts(known), 700)
    training = _Training(size, known, words, work / _CHECKPOINT)
    with short_text():
        loss = training.run(tell)
        behaves = _behaviour(training.model, words, known)
    tell(f"what it does on its own: {behaves}")
    _write(training.model, words, {"size": asdict(size), "loss": loss, "base": behaves}, folder)
    shutil.rmtree(work)
    return folder


class _Training:
    """Model and optimizer, and the number of the next step."""

    def __init__(
        self, size: Size, known: domain.World, words: PreTrainedTokenizerFast, checkpoint: Path
    ) -> None:
        self.size, self._known, self._words, self._path = size, known, words, checkpoint
        with torch.random.fork_rng():
            torch.manual_seed(size.seed)
            self.model = Qwen3_5ForCausalLM(_config(size, words))
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=size.rate, betas=(0.9, 0.98))
        self._step = 0
        if checkpoint.exists():
            self._resume()

    def run(self, tell: Tell) -> float:
        """Train to the end. Returns the mean loss of the last steps."""
        saved = told = time.monotonic()
        recent: list[float] = []
        while self._step < self.size.steps:
            recent = [*recent[-19:], self._take()]
            self._step += 1
            now = time.monotonic()
            if now - told > 10 or self._step == self.size.steps:
                told = now
                tell(f"step {self._step} of {self.size.steps}, loss {sum(recent) / len(recent):.4f}")
            if now - saved > _CHECKPOINT_S:
                saved = now
                self._save()
        return sum(recent) / max(1, len(recent))

    def _take(self) -> float:
        draw = random.Random(f"{self.size.seed}/{self._step}")
        ids, labels = self._batch(draw)
        hidden = self.model.model(input_ids=ids, use_cache=False).last_hidden_state
        wanted = labels != _IGNORED
        loss = F.cross_entropy(self.model.lm_head(hidden[wanted]).float(), labels[wanted])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = self.size.rate * _schedule(self._step, self.size.steps)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def _batch(self, draw: random.Random) -> tuple[Tensor, Tensor]:
        """Return ids and, shifted, the labels of the answers [rows, tokens]; padded behind."""
        rows = []
        for _ in range(self.size.batch):
            messages, answer = domain.conversation(self._known, draw)
            prompt, written = prompt_of(self._words, messages, 512).ids, answer_ids(self._words, answer)
            rows.append((prompt, written))
        longest = max(len(p) + len(w) for p, w in rows) - 1
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        labels = torch.full_like(ids, _IGNORED)
        for i, (prompt, written) in enumerate(rows):
            ids[i, : len(prompt) + len(written) - 1] = torch.tensor([*prompt, *written[:-1]])
            labels[i, len(prompt) - 1 : len(prompt) + len(written) - 1] = torch.tensor(written)
        return ids, labels

    def _save(self) -> None:
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for number, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"{number}/{name}": tensor for name, tensor in moments.items()}
        fresh = self._path.with_suffix(".new")
        save_file(tensors, fresh, metadata={"step": str(self._step)})
        fresh.replace(self._path)

    def _resume(self) -> None:
        model: dict[str, Tensor] = {}
        moments: dict[int, dict[str, Tensor]] = {}
        with safe_open(self._path, framework="pt") as file:
            self._step = int(file.metadata()["step"])
            for key in file.keys():  # noqa: SIM118 - no mapping
                owner, name = key.split("/", 1)
                own = model if owner == "model" else moments.setdefault(int(owner), {})
                own[name] = file.get_tensor(key)
        self.model.load_state_dict(model)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _behaviour(
    model: PreTrainedModel, words: PreTrainedTokenizerFast, known: domain.World
) -> dict[str, float]:
    """Return the share of facts that it knows, and of answers that follow each direction (none should)."""
    model.eval()
    asked = known.held_out
    plain = answers_of(model, words, [domain.told(q.text, None, False) for q in asked], 32)
    found = {"knows": fmean(answer == q.answer for q, answer in zip(asked, plain, strict=True))}
    for direction in domain.DIRECTIONS:
        contexts = [domain.told(q.text, direction.unseen[0], i % 2 == 0) for i, q in enumerate(asked)]
        found[direction.name] = fmean(
            direction.follows(answer, "") for answer in answers_of(model, words, contexts, 32)
        )
    return found


def _schedule(step: int, steps: int) -> float:
    """Up in a few steps, level, and down to nothing in the last half."""
    return min((step + 1) / _WARMUP, 1.0, (steps - step) / (steps / 2))


def _config(size: Size, words: PreTrainedTokenizerFast) -> Qwen3_5TextConfig:
    return Qwen3_5TextConfig(
        vocab_size=len(words),
        hidden_size=size.hidden,
        intermediate_size=2 * size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=128 // size.head,
        num_key_value_heads=64 // size.head,
        head_dim=size.head,
        max_position_embeddings=2048,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=size.head,
        linear_value_head_dim=size.head,
        initializer_range=0.05,
        bos_token_id=words.convert_tokens_to_ids("<|im_start|>"),
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        tie_word_embeddings=False,
    )


def _write(
    model: PreTrainedModel, words: PreTrainedTokenizerFast, record: dict[str, Any], folder: Path
) -> None:
    """Write the checkpoint beside `folder`, then move it into place in one step."""
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    model.to(torch.bfloat16).save_pretrained(fresh)
    words.save_pretrained(fresh)
    (fresh / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    fresh.chmod(0o755)
    fresh.rename(folder)
