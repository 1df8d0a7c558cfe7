"""The sentence encoder all-MiniLM-L6-v2 (BERT, 22.7 M parameters) in numpy: no torch, ready in a second."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

Array = NDArray[np.float32]
_LAYERS, _HEADS = 6, 12
_EPSILON = 1e-12
MAX_TOKENS = 128


class Encoder:
    """Texts to unit vectors [384]: masked mean over the last layer, as the model's authors do it."""

    def __init__(self, folder: Path) -> None:
        self._weights: dict[str, Array] = load_file(folder / "model.safetensors")
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def encode(self, text: str) -> list[float]:
        """Return the vector of one text."""
        hidden = self._embedded(self._tokenizer.encode(text).ids)
        for layer in range(_LAYERS):
            hidden = self._layer(f"encoder.layer.{layer}.", hidden)
        mean = hidden.mean(axis=0)
        return [float(value) for value in mean / max(float(np.linalg.norm(mean)), 1e-9)]

    def _embedded(self, ids: list[int]) -> Array:
        """Return [tokens, 384]."""
        w = self._weights
        summed = w["embeddings.word_embeddings.weight"][ids]
        summed = summed + w["embeddings.position_embeddings.weight"][: len(ids)]
        return self._normed("embeddings.", summed + w["embeddings.token_type_embeddings.weight"][0])

    def _layer(self, name: str, hidden: Array) -> Array:
        attended = self._dense(f"{name}attention.output.", self._attention(f"{name}attention.self.", hidden))
        hidden = self._normed(f"{name}attention.output.", attended + hidden)
        wide = _gelu(self._dense(f"{name}intermediate.", hidden))
        return self._normed(f"{name}output.", self._dense(f"{name}output.", wide) + hidden)

    def _attention(self, name: str, hidden: Array) -> Array:
        def heads(what: str) -> Array:
            """Return [heads, tokens, 32]."""
            flat = hidden @ self._weights[f"{name}{what}.weight"].T + self._weights[f"{name}{what}.bias"]
            return flat.reshape(len(hidden), _HEADS, -1).transpose(1, 0, 2)

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        share = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (share / share.sum(axis=-1, keepdims=True)) @ value
        joined: Array = mixed.transpose(1, 0, 2).reshape(hidden.shape)
        return joined

    def _dense(self, name: str, x: Array) -> Array:
        product: Array = x @ self._weights[f"{name}dense.weight"].T + self._weights[f"{name}dense.bias"]
        return product

    def _normed(self, name: str, x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + _EPSILON)
        scaled: Array = centred / spread * self._weights[f"{name}LayerNorm.weight"]
        return scaled + self._weights[f"{name}LayerNorm.bias"]


def _gelu(x: Array) -> Array:
    """The exact form; the error function after Abramowitz and Stegun 7.1.26 (within 2e-7)."""
    z = np.abs(x) / math.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    erf = np.sign(x) * (1 - series * np.exp(-z * z))
    gelu: Array = (0.5 * x * (1 + erf)).astype(np.float32)
    return gelu
