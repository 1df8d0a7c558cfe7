"""How strongly one behaviour is steered, by layer and scale; its best place is tested on other questions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.experiments import material
from learner.experiments.behaviours import Behaviour
from learner.experiments.intervals import Interval, of_mean
from learner.probing.material import load_material
from learner.steering.extraction import (
    ANSWER_TOKENS,
    Directions,
    answer_states,
    directions_of,
    random_rows,
    rows_of,
)
from learner.steering.pairs import Pair, ids_of
from learner.steering.tryout import Shows, Tryout
from policies.errors import InputError
from policies.turn import Message
from store.questions import load_questions

TEXT_LENGTH = 240
"""Letters of a passage of general text."""


@dataclass(frozen=True)
class Sizes:
    """How much is tried. `depths` are parts of the model's depth, `scales` distances between the means.

    `chosen_on` questions choose the best cell; `tested_on` others score it and `controls` random vectors.
    """

    pairs: int
    depths: tuple[float, ...]
    scales: tuple[float, ...]
    chosen_on: int
    tested_on: int
    controls: int
    tokens: int
    texts: int

    def layers(self, count: int) -> list[int]:
        """Return the layers that are tried of a model with so many."""
        return sorted({min(count - 1, int(count * depth)) for depth in self.depths})


class Cell(BaseModel):
    """One layer and scale: the share of answers that show the behaviour, general NLL in times of without."""

    model_config = ConfigDict(frozen=True)

    layer: int
    scale: float
    follow: float
    nll_ratio: float


class Map(BaseModel):
    """One behaviour, one seed. `off`, `on` and `random` are 1 or 0 for each tested question, at `best`.

    `random` is the mean over the random vectors.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    seed: int
    cells: tuple[Cell, ...]
    best: Cell
    off: tuple[int, ...]
    on: tuple[int, ...]
    random: tuple[float, ...]
    random_nll_ratio: float

    @property
    def gains(self) -> list[float]:
        """What the vector has over a random one, question by question."""
        return [on - control for on, control in zip(self.on, self.random, strict=True)]


class Ground:
    """The model and all that maps of one seed share: questions, its own answers, what they are scored on."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sizes: Sizes, seed: int
    ) -> None:
        self.model, self.tokenizer, self.sizes, self.seed = model, tokenizer, sizes, seed
        draw = random.Random(f"steering/{seed}")
        asked = draw.sample(load_questions().train, sizes.pairs)
        held_out = draw.sample(material.HELD_OUT, sizes.chosen_on + sizes.tested_on)
        texts = [text[:TEXT_LENGTH] for text in load_material().drawn(seed).texts[: sizes.texts]]
        self._turns = [_user(question) for question in asked]
        self._own = self._on(asked, ANSWER_TOKENS, texts).answers(None)
        self.chosen_on = self._on(held_out[: sizes.chosen_on], sizes.tokens, texts)
        self.tested_on = self._on(held_out[sizes.chosen_on :], sizes.tokens, texts)

    def directions(self, behaviour: Behaviour) -> Directions:
        """Contrast own answers with the same ones rewritten. Raises InputError where there are none."""
        pairs = [
            Pair(turns, behaviour.follow(answer, number), answer)
            for number, (turns, answer) in enumerate(zip(self._turns, self._own, strict=True))
            if answer
        ]
        if not pairs:
            raise InputError(
                f"this model answers none of {len(self._own)} plain questions: nothing to rewrite"
            )
        ids = [ids_of(self.tokenizer, pair, ANSWER_TOKENS) for pair in pairs]
        return directions_of(answer_states(self.model, ids))

    def _on(self, questions: Sequence[str], tokens: int, texts: Sequence[str]) -> Tryout:
        return Tryout(self.model, self.tokenizer, [_user(q) for q in questions], texts, tokens)


def measure(ground: Ground, behaviour: Behaviour, most_nll: float) -> Map:
    """Map a behaviour, and test its best cell of those where general NLL rises at most `most_nll` times."""
    directions, sizes = ground.directions(behaviour), ground.sizes
    layers = directions.mean.shape[0]
    shows: Shows = lambda _prompt, _answer, text: behaviour.shows(text)  # noqa: E731
    places = [(layer, scale) for layer in sizes.layers(layers) for scale in sizes.scales]
    trials = [rows_of(directions, "mean", layer, scale, layers) for layer, scale in places]
    cells = [
        Cell(layer=layer, scale=scale, follow=fmean(hits), nll_ratio=ground.chosen_on.nll_ratio(rows))
        for (layer, scale), rows, hits in zip(
            places, trials, ground.chosen_on.hits(trials, shows), strict=True
        )
    ]
    best = best_of(cells, most_nll)
    rows = rows_of(directions, "mean", best.layer, best.scale, layers)
    controls = [random_rows(rows, 1000 * ground.seed + number) for number in range(sizes.controls)]
    off, on, *at_random = ground.tested_on.hits([None, rows, *controls], shows)
    return Map(
        name=behaviour.name,
        kind=behaviour.kind,
        seed=ground.seed,
        cells=tuple(cells),
        best=best,
        off=tuple(off),
        on=tuple(on),
        random=tuple(fmean(hits) for hits in zip(*at_random, strict=True)),
        random_nll_ratio=fmean(ground.tested_on.nll_ratio(control) for control in controls),
    )


def best_of(cells: Sequence[Cell], most_nll: float) -> Cell:
    """Return the cell that shows most at a bounded NLL, the cheapest of equals; of none, the cheapest."""
    allowed = [cell for cell in cells if cell.nll_ratio <= most_nll]
    if not allowed:
        return min(cells, key=lambda cell: cell.nll_ratio)
    return max(allowed, key=lambda cell: (cell.follow, -cell.nll_ratio))


def gain_of(maps: Sequence[Map]) -> tuple[float, Interval]:
    """Return the mean gain over a random vector, and its interval over the questions of all seeds."""
    gains = [gain for one in maps for gain in one.gains]
    return fmean(gains), of_mean(gains)


def difference(maps: Sequence[Map], seed: int = 0, resamples: int = 2000) -> tuple[float, Interval]:
    """Return the mean gain of simple ones minus that of complex ones, with its bootstrap interval.

    Behaviours are drawn with putting back, then questions within each: it holds for other behaviours, too.
    """
    groups = {kind: _by_name([one for one in maps if one.kind == kind]) for kind in ("simple", "complex")}
    draw = random.Random(seed)

    def resampled(gains: list[list[float]]) -> float:
        drawn = draw.choices(gains, k=len(gains))
        return fmean(fmean(draw.choices(one, k=len(one))) for one in drawn)

    means = sorted(resampled(groups["simple"]) - resampled(groups["complex"]) for _ in range(resamples))
    whole = {kind: fmean(map(fmean, gains)) for kind, gains in groups.items()}
    low, high = means[round(0.025 * resamples)], means[round(0.975 * resamples) - 1]
    return whole["simple"] - whole["complex"], (low, high)


def _by_name(maps: Sequence[Map]) -> list[list[float]]:
    names = dict.fromkeys(one.name for one in maps)
    return [[gain for one in maps if one.name == name for gain in one.gains] for name in names]


def _user(question: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": question},)
