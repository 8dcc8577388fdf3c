from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor.augment import (
    carry_over,
    initials,
    jamo_slip,
    keyboard_slip,
    messy,
    respace,
    respell_name,
    typo,
)

SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4)]
messages = st.one_of(
    st.text(min_size=1, max_size=40),
    st.text(alphabet="가힣뷁먹어없다 RNNgpt-3?ㅋ🙂", min_size=1, max_size=40),
).filter(lambda text: any(c.isalnum() for c in text))
seeds = st.integers(0, 2**32)


@pytest.mark.parametrize("function", [typo, respace, respell_name, messy])
@given(text=messages, seed=seeds)
def test_never_empty_never_a_crash_and_from_the_seed_alone(function, text, seed):
    once = function(text, random.Random(seed))
    assert once.strip()
    assert function(text, random.Random(seed)) == once


@given(st.text(max_size=20), seeds)
def test_any_text_at_all_can_be_messed_up(text, seed):
    out = messy(text, random.Random(seed))
    assert out
    assert out == unicodedata.normalize("NFC", out).strip()


def test_every_syllable_can_slip_and_becomes_another():
    rng = random.Random(1)
    for syllable in SYLLABLES:
        slipped = jamo_slip(syllable, rng)
        assert slipped != syllable
        assert "가" <= slipped <= "힣"


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("먹어", "머거"),
        ("있어", "이써"),
        ("넣어", None),
        ("없어", None),
        ("강아", None),
        ("나아", None),
        ("먹자", None),
    ],
)
def test_carry_over(word, wanted):
    assert carry_over(*word) == wanted


def test_carry_over_never_crashes():
    rng = random.Random(2)
    for _ in range(5000):
        sounded = carry_over(*rng.sample(SYLLABLES, 2))
        assert sounded is None or len(sounded) == 2


def test_a_typo_changes_little():
    rng = random.Random(3)
    text = "트랜스포머는 왜 병렬로 계산해요"
    lengths = {len(typo(text, rng)) - len(text) for _ in range(300)}
    assert lengths == {-1, 0, 1}
    assert typo("가?", rng) == "가?"  # too short to be understood with a slip


def test_respace_changes_nothing_but_spaces():
    rng = random.Random(4)
    text = "RNN은 왜 앞을 잊어"
    for _ in range(100):
        assert respace(text, rng).replace(" ", "") == text.replace(" ", "")


def test_respelling_keeps_the_letters():
    rng = random.Random(5)
    seen = {respell_name("GPT-3", rng) for _ in range(300)}
    assert {"GPT-3", "gpt-3", "gpt3", "GPT 3"} <= seen
    assert {s.lower().replace("-", "").replace(" ", "") for s in seen} == {"gpt3"}
    assert {respell_name("은닉 상태", rng) for _ in range(50)} == {"은닉 상태", "은닉상태"}


def test_half_of_the_messages_stay_as_they_are():
    rng = random.Random(6)
    text = "트랜스포머는 왜 병렬로 계산하나요?"
    same = sum(messy(text, rng) == text for _ in range(1000))
    assert 250 < same < 700


def test_the_keyboard_left_in_english():
    assert keyboard_slip("안녕") == "dkssud"
    assert keyboard_slip("값 뭐야?") == "rkqt anjdi?"
    assert keyboard_slip("ㅋㅋ GPT") == "zz GPT"


def test_initials():
    assert initials("셀프 어텐션") == "ㅅㅍ ㅇㅌㅅ"
    assert initials("GPT-3") == "GPT-3"
