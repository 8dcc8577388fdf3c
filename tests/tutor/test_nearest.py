from __future__ import annotations

import pytest

from tutor.glossary import Entry, Glossary
from tutor.nearest import NearestTerm, letters


@pytest.fixture(scope="module")
def nearest(glossary):
    return NearestTerm(glossary)


@pytest.mark.parametrize(
    ("message", "term"),
    [
        ("어탠션이 뭐야", "attention"),
        ("셀프어텐숀 원리 알려줘", "self-attention"),
        ("엘에스티앰은 왜 써?", "lstm"),
        ("transfomer 장점", "transformer"),
    ],
)
def test_a_misspelt_term_is_found(nearest, message, term):
    assert nearest(message).id == term


@pytest.mark.parametrize(
    "message",
    ["", "?", "오늘 점심 뭐 먹지", "광합성이 뭐야", "떡볶이 맛집 알려줘", "ㅋㅋㅋㅋ", "🙂"],
)
def test_nothing_is_found_where_nothing_is_meant(nearest, message):
    assert nearest(message) is None


def test_short_names_are_left_out_because_they_stand_everywhere():
    nearest = NearestTerm(Glossary((Entry("key", "키", "키는 열쇠예요."),)))
    assert letters("키") == "\u110f\u1175"
    assert nearest("키가 크다") is None
