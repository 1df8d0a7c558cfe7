"""`up --branch NAME`: the learner's first command is the checkout of that branch."""

from __future__ import annotations

import pytest

from agent.up import _order_checkout
from policies.config import Config
from policies.errors import ConfigError
from store import commands
from store.database import Store


def test_the_learner_finds_the_checkout_of_the_branch_first(store: Store) -> None:
    _order_checkout(store, Config(), "terse.v2")
    (waiting,) = commands.waiting(store)
    assert waiting.command == "check_out"
    assert waiting.args == {"to": "terse.v2", "create": True}


@pytest.mark.parametrize("name", ["", "2fast", "a-b", "a b", "x" * 65])
def test_what_cannot_name_a_branch_is_refused_and_orders_nothing(store: Store, name: str) -> None:
    with pytest.raises(ConfigError, match="--branch"):
        _order_checkout(store, Config(), name)
    assert commands.waiting(store) == []
