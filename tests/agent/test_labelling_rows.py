from __future__ import annotations

import json

from agent.labelling_rows import label_line, label_row

NOW = 1_800_000_000_000


def test_one_object_per_decision_and_direction() -> None:
    row = {
        "id": "r1",
        "messages": [
            {"role": "system", "content": "Answer in lowercase. Be polite."},
            {"role": "user", "content": "What is rain?"},
            {"role": "assistant", "content": "Water."},
        ],
    }
    labels, bad = label_row(row, "line 1", NOW, None)
    assert bad == []
    assert [(x["id"], x["decision"], x["direction"], x["label"], x["labeller"]) for x in labels] == [
        ("r1", "2#0", "Answer in lowercase.", "ignored", "constraint"),
        ("r1", "2#0", "Be polite.", "unknown", "none"),
    ]
    assert set(labels[0]) == {"id", "decision", "direction", "label", "confidence", "labeller", "evidence"}
    assert "letter_case" in labels[0]["evidence"]


def test_no_direction_gives_null() -> None:
    row = {"id": 7, "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}]}
    (label,) = label_row(row, "line 1", NOW, None)[0]
    assert (label["id"], label["direction"], label["label"]) == (7, None, "unknown")


def test_bad_rows_and_messages_are_named() -> None:
    _, (bad,) = label_line(b"{", "line 3", NOW, None)
    assert (bad.place, bad.reason.startswith("not JSON")) == ("line 3", True)
    _, (bad,) = label_line(b'{"messages": []}', "line 4", NOW, None)
    assert "id" in bad.reason
    row = {
        "id": "r",
        "messages": [{"role": "user", "content": "Hi"}, {"role": "wizard"}, {"role": "assistant"}],
    }
    labels, (bad,) = label_line(json.dumps(row).encode(), "line 5", NOW, None)
    assert (bad.place, bad.reason.split(":")[0]) == ("line 5, turns[1]", "role")
    assert [label["decision"] for label in labels] == ["2#0"]
