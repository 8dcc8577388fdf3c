from __future__ import annotations

import random

import pytest

pytest.importorskip("sklearn")

from tutor.answers import Answer
from tutor.evaluate import Question, Verdict
from tutor.glossary import Entry, Glossary
from tutor.peers import (
    CharacterTfidf,
    Guess,
    LinearIntents,
    MorphemeBm25,
    Pair,
    as_result,
    compare,
    cross_tuned,
    join_turns,
    paired_difference,
    training_pairs,
    tuned_threshold,
)

GLOSSARY = Glossary(
    (
        Entry("scissors", "가위", "가위는 잘라요.", why="가위는 필요해요."),
        Entry("glue", "딱풀", "딱풀은 붙여요.", why="딱풀은 필요해요."),
    )
)
DECLINE = Answer("몰라요.", "decline", facet="refuse", topic="everyday")


def answer(term, facet):
    return Answer(f"{term} {facet}", terms=(term,), facet=facet)


@pytest.fixture(scope="module")
def pairs():
    rng = random.Random(1)
    out = []
    for _ in range(60):
        for term, name in (("scissors", "가위"), ("glue", "딱풀")):
            tail = rng.choice(("요", "", "?", " 좀"))
            out.append(Pair(f"{name}가 뭐야{tail}", answer(term, "definition")))
            out.append(Pair(f"{name}는 왜 필요해{tail}", answer(term, "why")))
        out.append(Pair(f"오늘 날씨 어때{rng.choice('?!~')}", DECLINE))
    return out


def words(texts):
    return [text.split() for text in texts]


@pytest.fixture(scope="module", params=["tfidf", "bm25", "linear"])
def peer(request, pairs):
    return {
        "tfidf": lambda: CharacterTfidf(pairs),
        "bm25": lambda: MorphemeBm25(pairs, words),
        "linear": lambda: LinearIntents(pairs, GLOSSARY),
    }[request.param]()


def test_every_peer_learns_its_pairs(peer):
    guesses = peer.guess(["가위가 뭐야?", "딱풀는 왜 필요해 좀", "오늘 날씨 어때?"])
    said = [(g.answer.terms, g.answer.facet) for g in guesses]
    assert said == [(("scissors",), "definition"), (("glue",), "why"), ((), "refuse")]


def test_what_shares_nothing_gets_no_sure_answer(peer):
    (strange,) = peer.guess(["zzz qqq"])
    (known,) = peer.guess(["가위가 뭐야?"])
    assert strange.score < known.score


def test_bm25_by_hand():
    made = [Pair("가 나", answer("a", "x")), Pair("가 다 다", answer("b", "x"))]
    (guess,) = MorphemeBm25(made, words).guess(["다"])
    # idf = ln(1 + 1.5/1.5); tf 2 in a text of 3 words, the mean being 2.5
    want = 0.6931 * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2.5))
    assert guess.answer.terms == ("b",)
    assert guess.score == pytest.approx(want, rel=1e-3)


def test_the_linear_peer_takes_the_last_turns_term_and_the_longest_name(pairs):
    linear = LinearIntents(pairs, GLOSSARY)
    assert linear.terms(join_turns(["가위가 뭐야", "딱풀은?"]))[0] == "glue"
    assert linear.terms(join_turns(["가위가 뭐야", "그건 왜?"])) == ["scissors"]
    assert linear.terms("날씨") == []


def test_pairs_are_the_trainings_conversations(maker):
    made = training_pairs(maker, 30, 5)
    rng = random.Random(5)
    talks = [maker.exchanges(rng) for _ in range(30)]
    assert [p.answer for p in made] == [a for talk in talks for _, a in talk]
    longest = max(talks, key=len)
    assert join_turns([q for q, _ in longest]) in {p.text for p in made}


QUESTIONS = [
    Question("1", ["가위?"], ["scissors"], ["definition"], "plain"),
    Question("2", ["풀?"], ["glue"], ["definition"], "story"),
    Question("3", ["날씨?"], [], ["refuse"], "oos"),
    Question("4", ["점심?"], [], ["refuse"], "oos"),
]


def test_a_threshold_parts_the_sure_from_the_unsure():
    right = [Guess(answer("scissors", "definition"), 0.9), Guess(answer("glue", "definition"), 0.7)]
    wrong = [Guess(answer("glue", "why"), 0.4), Guess(answer("glue", "why"), 0.3)]
    threshold = tuned_threshold(QUESTIONS, right + wrong)
    assert 0.4 < threshold <= 0.7
    assert as_result(right[1], threshold).kind == "answer"
    assert as_result(wrong[0], threshold).kind == "decline"


def test_a_half_is_judged_with_the_other_halfs_threshold():
    questions = [QUESTIONS[0], QUESTIONS[2]] * 2
    sure = Guess(answer("scissors", "definition"), 0.5)
    # Of the second half all is out of scope, so that its best threshold declines everything.
    results = cross_tuned(
        [questions[0], questions[1], questions[2], questions[3]], [sure, sure, sure, sure]
    )
    assert [r.kind for r in results] == ["decline", "answer", "decline", "answer"]


def test_paired_difference():
    same = paired_difference([True, False] * 20, [True, False] * 20)
    assert (same.value, same.low, same.high, same.count) == (0, 0, 0, 40)
    ahead = paired_difference([True] * 40, [True] * 20 + [False] * 20)
    assert ahead.value == 0.5
    assert 0.3 < ahead.low < 0.5 < ahead.high < 0.7
    assert paired_difference([], []).count == 0


def test_the_comparison_counts_each_group():
    ours = [Verdict(True, True), Verdict(True, True), Verdict(True, True), Verdict(False, False)]
    guesses = [
        Guess(answer("scissors", "definition"), 1.0),
        Guess(answer("scissors", "definition"), 1.0),
        Guess(DECLINE, 1.0),
        Guess(DECLINE, 1.0),
    ]
    found = compare(QUESTIONS, ours, "또래", [as_result(g, 0.5) for g in guesses])
    assert (found.in_scope.right, found.in_scope.count) == (1, 2)
    assert (found.declined.right, found.declined.count) == (2, 2)
    assert found.wrong_term.right == 1
    assert found.ahead["전체"].value == 0.5
    assert found.ahead["이야기·에두른 질문"].value == 1.0
    assert found.ahead["이어 묻기"].count == 0
