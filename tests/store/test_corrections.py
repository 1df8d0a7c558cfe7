from __future__ import annotations

from policies.messages import CorrectionPayload
from store import corrections, counters
from store.database import Store


def correction(event_id: str, turn: str = "e1", **fields: object) -> CorrectionPayload:
    return CorrectionPayload(
        event_id=event_id, conversation_id="c", turn_event_id=turn, verdict="ignored", **fields
    )


def test_correction_waits_for_its_turn_until_it_is_settled(store: Store) -> None:
    full = correction("k1", direction="be brief", corrected="ok", author="me")
    with store.write() as connection:
        assert corrections.insert(connection, "a", full)
        assert corrections.insert(connection, "a", correction("k2"))
        assert corrections.insert(connection, "a", correction("k3", turn="e2"))
        assert not corrections.insert(connection, "a", full)
        assert corrections.of_turn(connection, "e1", ("waiting",)) == [full, correction("k2")]
        corrections.set_state(connection, "k1", "applied")
        corrections.set_state(connection, "k2", "rejected")
        assert corrections.of_turn(connection, "e1", ("waiting",)) == []
        assert corrections.of_turn(connection, "e1") == [full]
    assert counters.read(store) == {"corrections": 3, "corrections_duplicate": 1}
