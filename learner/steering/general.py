"""What general text suffers under a steering: its NLL, in times of that without."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from statistics import fmean

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.probing.scores import text_nll
from learner.steering.activations import steered


class GeneralText:
    """Passages that one model reads, the shortest first.

    `weights` tells which weights the model has now: without steering the passages are read once for each.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        texts: Sequence[str],
        weights: Callable[[], Hashable] = lambda: None,
    ) -> None:
        self._model, self._tokenizer, self._weights = model, tokenizer, weights
        self.texts = sorted(texts, key=len)
        self._read: tuple[Hashable, list[float]] | None = None

    def unsteered(self) -> list[float]:
        """Return the NLL (nats a token) of each passage without steering."""
        now = self._weights()
        if self._read is None or self._read[0] != now:
            self._read = now, self._nll(self.texts)
        return self._read[1]

    def ratio(self, rows: Tensor, passages: int | None = None) -> float:
        """Return how many times the NLL without steering is that under `rows` [layers, width].

        Of the mean over all passages, or over so many of the shortest.
        """
        before = self.unsteered()[:passages]  # measured before anything steers
        with steered(self._model, rows):
            return fmean(self._nll(self.texts[:passages])) / fmean(before)

    def _nll(self, texts: Sequence[str]) -> list[float]:
        return list(text_nll(self._model, self._tokenizer, texts).values())
