from __future__ import annotations

import pytest

from agent.language import detect_language, likeliest_language
from policies.constraints import read_constraints


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The old mill stood at the bend of the river, where the water slowed.", "en"),
        ("Die alte Mühle stand an der Biegung des Flusses, wo das Wasser langsamer floss.", "de"),
        ("Le vieux moulin se trouvait au tournant de la rivière, là où l'eau ralentissait.", "fr"),
        ("El viejo molino estaba en la curva del río, donde el agua iba más despacio.", "es"),
        ("古い水車小屋は川の曲がり角に立っていました。", "ja"),
        ("Yes.", None),
        ("", None),
        ("12345 67890 !!! ???", None),
        ("```\nfor item in things_to_do_today: print(item)\n```", None),
    ],
)
def test_detect_language(text: str, code: str | None) -> None:
    assert [detect_language(text) for _ in range(3)] == [code] * 3


def test_it_serves_the_language_constraint() -> None:
    (french,) = read_constraints("Please answer in French.", detect_language).constraints
    assert french.check("Le vieux moulin se trouvait au tournant de la rivière.") is True
    assert french.check("The old mill stood at the bend of the river.") is False
    assert french.check("OK") is None


def test_the_likeliest_language_is_a_guess_but_the_same_one() -> None:
    assert [likeliest_language("Dies ist ein kurzer Satz.") for _ in range(3)] == ["de"] * 3
    assert likeliest_language("12345") is None
