"""A steering vector made with care: directions of most of the pairs, chosen by answers to other prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.probing.material import load_material
from learner.steering.choice import Choice, choose
from learner.steering.extraction import ANSWER_TOKENS, Directions, answer_states, directions_of
from learner.steering.pairs import Pair, ids_of
from learner.steering.reader import Reader
from learner.steering.tryout import Shows, Tryout
from policies.constraints import Constraint, read_constraints
from policies.turn import Message
from store.questions import load_questions

HELD_OUT = 3
"""One pair in so many is kept apart: only its prompt is used, to choose."""
PROMPTS = 12
_TEXTS, _TEXT_LENGTH = 6, 240


@dataclass(frozen=True)
class Made:
    """What came of the pairs; `judge` tells who judged the answers."""

    directions: Directions
    choice: Choice
    judge: str


def make(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    direction: str | None,
    layers: Sequence[int] | None = None,
    tell: Callable[[str], object] = lambda _: None,
    shows: Shows | None = None,
) -> Made:
    """Make a vector of contrast pairs and choose its place and strength.

    Answers are judged by `shows`; absent, by what code can check in `direction`, else by reading hidden
    states. Raises InputError where the layers are not the model's, or nobody can judge.
    """
    learned = [pair for n, pair in enumerate(pairs) if n % HELD_OUT != HELD_OUT - 1]
    states = answer_states(model, [ids_of(tokenizer, pair, ANSWER_TOKENS) for pair in learned])
    directions, judge = directions_of(states), "the caller"
    if shows is None:
        constraints = read_constraints(direction or "").constraints
        shows, judge = _checked(constraints), "code"
        if not constraints:
            reader = Reader(model, states)
            shows = lambda prompt, answer, _: reader.shows(prompt, answer)  # noqa: E731
            judge = f"hidden states of layer {reader.layer} ({reader.accuracy:.0%} of the pairs told apart)"
    tell(f"answers are judged by {judge}")
    tryout = tryout_on(model, tokenizer, [pair.messages for pair in pairs[HELD_OUT - 1 :: HELD_OUT]])
    return Made(directions, choose(directions, tryout, shows, layers, tell=tell), judge)


def tryout_on(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[Message]]
) -> Tryout:
    """Return a tryout on these prompts, filled up with plain questions, and on passages of general text."""
    plain = [({"role": "user", "content": question},) for question in load_questions().load]
    texts = [text[:_TEXT_LENGTH] for text in load_material().drawn(0).texts[:_TEXTS]]
    return Tryout(model, tokenizer, [*prompts, *plain][:PROMPTS], texts)


def _checked(constraints: Sequence[Constraint]) -> Shows:
    return lambda _prompt, _answer, text: all(c.check(text) is not False for c in constraints)
