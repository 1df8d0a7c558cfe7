"""History: from a step back to the sentence, and forward to the probe."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.errors import InputError
from store import examples, history, probes, steps, versions
from store.database import Store, open_store
from tests.store.rows import add_decision, correction, general


@pytest.fixture
def taught(tmp_path: Path) -> Store:
    """One correction, one confirmed step, one probe, one version; a second step not yet durable."""
    store = open_store(tmp_path)
    add_decision(store)
    base = versions.new_version(None, "base", first_step=None, last_step=None, file=None, fingerprint="f0")
    with store.write() as connection:
        versions.add(connection, base)
        connection.execute(
            "INSERT INTO corrections VALUES"
            " ('k1', 'a', 'c1', 't1', 'ignored', NULL, 'hello.', 'me', 'applied', 1, 'mqtt')"
        )
        examples.upsert_correction_example(connection, correction("e1", "t1#0"), 4)
        examples.add_general_example(connection, general("g"))
        for _ in range(2):
            step = steps.begin(connection, base.id, 1e-4, [("correction", "e1"), ("general", "g")])
            steps.confirm(
                connection, step, loss=0.5, row_losses=[0.7, 0.3], seconds=1, changed_bytes=4, detail={}
            )
        version = versions.new_version(base, "train", first_step=1, last_step=1, file="f", fingerprint="f1")
        versions.add(connection, version)
        probes.add(
            connection,
            step_id=1,
            version_id=version.id,
            verdict="accept",
            reason="",
            seconds=2,
            scores={"facts": {"q": 1.0, "r": 0.0}},
        )
    return store


def test_a_step_leads_to_the_sentence_that_caused_it(taught: Store) -> None:
    found = history.show(taught, "1")
    row = found["rows"][0]
    assert (row["kind"], row["direction"], row["correction"]) == ("correction", "Answer in lowercase.", "k1")
    assert row["sentence_event_id"] == "t1"
    assert found["judged_by_probe"]["verdict"] == "accept"


def test_a_correction_leads_to_the_steps_it_caused(taught: Store) -> None:
    decision = history.show(taught, "k1")["decision"]
    assert [example["id"] for example in decision["examples"]] == ["e1"]
    assert [step["step_id"] for step in history.show(taught, "e1")["steps"]] == [1, 2]


def test_the_timeline_has_versions_their_steps_and_what_is_not_durable(taught: Store) -> None:
    base, trained, open_end = history.timeline(taught)
    assert (base["version"]["kind"], trained["version"]["parent"]) == ("base", base["version"]["id"])
    assert [step["id"] for step in trained["steps"]] == [1]
    assert trained["probes"][0]["values"] == {"facts": 0.5}
    assert (open_end["version"], [step["id"] for step in open_end["steps"]]) == (None, [2])


@pytest.mark.parametrize("identifier", ["t1", "t1/0", "t1#0", "e1"])
def test_everything_can_be_shown_by_its_id(taught: Store, identifier: str) -> None:
    assert history.show(taught, identifier)


def test_an_unknown_id_is_one_clear_line(taught: Store) -> None:
    with pytest.raises(InputError, match="nothing in the store has the id 'nope'"):
        history.show(taught, "nope")
    with pytest.raises(InputError, match="no single version"):
        history.timeline(taught, "nope")
