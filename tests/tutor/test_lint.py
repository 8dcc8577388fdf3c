from __future__ import annotations

import pytest

from tutor.glossary import Check, Comparison, Entry, Glossary
from tutor.lint import lint, wrong_particles

GOOD = Entry("rnn", "RNN", "RNN은 차례로 읽는 신경망이에요.", expansion="RNN은 순환 신경망이에요.")


def messages(*entries):
    return [f"{r.term}/{r.field}/{r.message}" for r in lint(Glossary(entries))]


def test_the_shipped_glossary_passes(glossary):
    assert [str(r) for r in lint(glossary)] == []


def test_a_good_entry_has_no_remark():
    assert messages(GOOD) == []


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        (Entry("a", "가위", "가위는 자르는 도구다."), "해요체"),
        (Entry("a", "가위", "가위는 잘라요. 정말이다. 좋아요."), "정말이다"),
        (Entry("a", "가위", "가위는 " + "아주 " * 80 + "잘라요."), "220자"),
        (Entry("a", "가위", "가위는 잘라요.", why="네요."), "3자"),
        (Entry("a", "가위", "자르는 도구예요."), "이름이 나오지"),
        (Entry("a", "RNN", "RNN는 신경망이에요.", expansion="이름 풀이예요."), "'RNN는' → 'RNN은'"),
        (Entry("a", "가위", "가위는 값를 잘라요."), "'값를' → '값을'"),
        (Entry("a", "가위", "가위는 잘라요.", why="가위는 잘라요."), "똑같은 글"),
        (Entry("a", "가위", "가위는 종이를 잘라요.", why="가위는 종이를 잘라요!"), "거의 같아요"),
        (Entry("a", "순환망", "순환망은 신경망이에요.", aliases=("RNN",)), "줄임말 'RNN'"),
        (Entry("a", "가위", "가위는 잘라요.", related=("없음",)), "용어집에 없는 말이에요: 없음"),
        (
            Entry("a", "가위", "가위는 잘라요.", compare=(Comparison("b", "서로 다르다."),)),
            "가위/비교",
        ),
        (
            Entry("a", "가위", "가위는 잘라요.", checks=(Check("c", True, "네, 그렇다."),)),
            "가위/확인",
        ),
    ],
)
def test_what_an_editor_would_mark(entry, wanted):
    found = messages(entry)
    assert len(found) == 1
    assert wanted in found[0]


def test_a_name_that_two_terms_share():
    other = Entry(
        "b", "순환망", "순환망은 신경망이에요.", aliases=("rnn",), expansion="순환이에요."
    )
    assert any("여러 용어의 이름" in message for message in messages(GOOD, other))


def test_particles_that_fit_are_left_alone():
    names = ["GPT", "RNN", "어텐션"]
    assert (
        wrong_particles("GPT는 RNN과 어텐션을 봐요. 가을은 나와 너를 있는 그대로 봐요.", names)
        == []
    )
    assert wrong_particles("GPT은 크고, 어텐션로 봐요.", names) == [
        ("GPT은", "GPT는"),
        ("어텐션로", "어텐션으로"),
    ]
