from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor.answers import NAME, Answer, glossary_answers
from tutor.grounding import AGREES, Grounder


@pytest.fixture(scope="module")
def grounder(glossary, replies):
    return Grounder([*glossary_answers(glossary), *replies])


def in_common(a, b):
    """1 - normalised Indel distance, by the textbook: twice the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        last = 0
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], last + 1 if x == y else max(row[j], row[j - 1])
    return 2 * row[-1] / (len(a) + len(b))


def test_every_taught_text_is_found_exactly(grounder):
    for answer in grounder.answers:
        found = grounder.ground(f" {answer.naming('').text}\n")
        assert found.exact
        assert found.similarity == 1.0
        assert found.answer == answer


def test_an_answer_that_names_something_is_found_whatever_the_name(grounder, replies):
    reply = next(r for r in replies if NAME in r.text)
    for name in ("하품 게이트", "GPT-77", "a"):
        found = grounder.ground(reply.naming(name).text)
        assert (found.answer, found.name, found.exact) == (reply, name, True)
    nameless = grounder.ground(reply.naming("").text)
    assert (nameless.answer, nameless.name, nameless.exact) == (reply, "", True)


@pytest.mark.parametrize("change", ["drop", "swap", "add"])
def test_a_slip_of_the_pen_is_near_and_not_exact(grounder, glossary, change):
    for entry in list(glossary)[:10]:
        text = entry.definition
        wrong = {
            "drop": text[:9] + text[10:],
            "swap": text[:9] + "뷁" + text[10:],
            "add": text + "뷁",
        }[change]
        found = grounder.ground(wrong)
        assert found.answer.terms == (entry.id,)
        assert found.answer.facet == "definition"
        assert not found.exact
        assert found.similarity == pytest.approx(in_common(wrong, text), abs=1e-4)


def test_half_an_answer_is_too_far(grounder, glossary):
    text = glossary["rnn"].definition
    found = grounder.ground(text[: len(text) // 2])
    assert found.answer is None
    assert 0 < found.similarity < AGREES


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "오늘 저녁은 김치찌개예요.",
        "가" * 300,
        "asdf",
        "\ufffd",
        "RNN",
        "<script>alert(1)</script>",
    ],
)
def test_other_texts_agree_with_nothing(grounder, text):
    found = grounder.ground(text)
    assert found.answer is None
    assert found.similarity < AGREES


@given(st.text(max_size=80))
def test_any_text_has_a_similarity(grounder, text):
    found = grounder.ground(text)
    assert 0 <= found.similarity <= 1
    assert (found.answer is None) == (found.similarity < AGREES)


def test_without_answers_nothing_agrees():
    assert Grounder([]).ground("x").answer is None


def test_the_border():
    grounder = Grounder([Answer("가나다라마바사아")])
    assert grounder.ground("가나다라마바").answer  # 12/14
    assert grounder.ground("가나다라마").answer  # 10/13
    assert grounder.ground("가나다라").answer is None  # 8/12
