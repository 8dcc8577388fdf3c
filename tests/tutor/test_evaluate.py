"""Scores: what counts as right, and that test questions stand apart from training text."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest

from tutor.chat import Result
from tutor.evaluate import (
    Question,
    QuestionFileError,
    Verdict,
    calibration,
    glossary_names,
    jaccard,
    judge,
    masked_trigrams,
    read_questions,
    score,
    share,
    taught,
)
from tutor.paths import EVAL


def result(kind="answer", terms=(), facet="", similarity=1.0) -> Result:
    return Result("글", kind, list(terms), facet, similarity, 0.9, None, 3, 0.1)


@pytest.mark.parametrize(
    ("wanted", "said", "term", "facet"),
    [
        ((["rnn"], ["why"]), result(terms=["rnn"], facet="why"), True, True),
        ((["rnn"], ["why"]), result(terms=["rnn"], facet="how"), True, False),
        ((["rnn"], ["why"]), result(terms=["gru"], facet="why"), False, True),
        ((["rnn", "gru"], ["compare"]), result(terms=["gru", "rnn"], facet="compare"), True, True),
        ((["rnn", "gru"], ["compare"]), result(terms=["rnn"], facet="compare"), False, True),
        ((["rnn"], ["why"]), result("decline", facet="refuse"), False, False),
        (([], ["refuse"]), result("decline", facet="refuse"), True, True),
        (([], ["refuse"]), result(terms=["rnn"], facet="why"), False, False),
        (([], ["smalltalk"]), result("decline", facet="refuse"), False, False),
        (([], ["smalltalk"]), result("smalltalk", facet="smalltalk"), True, True),
    ],
)
def test_judging(wanted, said, term, facet):
    verdict = judge(Question("q", ["?"], *wanted), said)
    assert (verdict.term, verdict.facet, verdict.right) == (term, facet, term and facet)


def test_a_model_is_not_asked_about_what_it_was_not_taught(glossary):
    known = Question("a", ["?"], ["rnn"], ["why"])
    out = Question("b", ["?"], [], ["refuse"])
    unknown = Question("c", ["?"], ["rnn", "없는-용어"], ["compare"])
    assert taught([known, out, unknown], glossary) == [known, out]


def test_an_alternative_term_is_right_too():
    question = Question("q", ["?"], ["few-shot"], ["reverse"], alt_terms=["in-context-learning"])
    assert judge(question, result(terms=["in-context-learning"], facet="reverse")).right


def test_scores_count_each_question_once(glossary):
    questions = [
        Question("a", ["?"], ["rnn"], ["why"], "plain"),
        Question("b", ["?"], ["gru"], ["how"], "typo"),
        Question("c", ["?"], [], ["refuse"], "oos", kind="everyday"),
    ]
    results = [
        result(terms=["rnn"], facet="why"),
        result("decline", facet="refuse", similarity=0.9),
        result("decline", facet="refuse"),
    ]
    scores = score(glossary, questions, results)
    assert (scores.in_scope.right, scores.in_scope.count) == (1, 2)
    assert scores.wrongly_declined.right == 1
    assert (scores.declined.right, scores.declined.count) == (1, 1)
    assert scores.by_style["typo"].right == 0
    assert scores.smalltalk.count == 0 and scores.smalltalk.value == 0


def test_the_interval_holds_the_share():
    one = share([True] * 70 + [False] * 30)
    assert one.low < 0.7 < one.high
    assert share([True] * 50).low == 1.0


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"id": 1}', '{"id": 1, "turns": []}', '{"id":1,"turns":[3]}']
)
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / "q.jsonl"
    path.write_text('{"id": 1, "turns": ["a"]}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(QuestionFileError, match="2번째 줄"):
        read_questions(path)


def test_masking_hides_the_term_only():
    names = ["셀프 어텐션", "어텐션", "RNN"]
    a = masked_trigrams("RNN은 왜 앞을 잊나요?", names)
    assert a == masked_trigrams("어텐션은 왜 앞을 잊나요", names)
    assert jaccard(a, masked_trigrams("{A:은} 왜 앞을 잊나요", names)) == 1.0
    assert jaccard(a, masked_trigrams("한 줄로 말해 줘", names)) < 0.2


def test_no_test_question_stands_or_nearly_stands_in_the_training_text(glossary, questions):
    names = glossary_names(glossary)
    trained = [masked_trigrams(text, names) for text in questions.texts()]
    holders = defaultdict(list)
    for number, grams in enumerate(trained):
        for gram in grams:
            holders[gram].append(number)
    asked = read_questions(EVAL / "questions.jsonl")
    assert len(asked) >= 600
    for question in asked:
        grams = masked_trigrams(question.turns[-1], names)
        common = defaultdict(int)
        for gram in grams:
            for number in holders[gram]:
                common[number] += 1
        for number, count in common.items():
            near = count / (len(grams) + len(trained[number]) - count)
            assert near < 0.6, question.turns


def test_the_shipped_questions_cover_every_term(glossary):
    asked = read_questions(EVAL / "questions.jsonl")
    assert {term for q in asked for term in q.terms} == {entry.id for entry in glossary}
    assert len({json.dumps(q.turns) for q in asked}) == len(asked)
    assert sum(q.scope == "decline" for q in asked) >= 100


def test_calibration_error_by_hand():
    def made(probability):
        return Result("", "answer", [], "", None, probability, None, 0, 0.0)

    yes, no = Verdict(True, True), Verdict(True, False)
    results = [made(p) for p in (0.95, 0.97, 1.0, 0.25, 0.25)]
    error, bins = calibration(results, [yes, yes, no, yes, no])
    assert [b.count for b in bins] == [2, 3]
    assert bins[0].right == 0.5
    # 2/5 of |0.25 - 0.5| and 3/5 of |0.9733 - 0.6667|
    assert error == pytest.approx(0.4 * 0.25 + 0.6 * (0.97333 - 0.66667), abs=1e-4)
    assert calibration([], []) == (0.0, [])
