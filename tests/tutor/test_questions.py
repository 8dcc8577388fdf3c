from __future__ import annotations

import json

import pytest

from tutor.answers import load_replies
from tutor.evaluate import glossary_names, near_pairs
from tutor.glossary import FACETS, TEXT_FACETS, Entry, Glossary
from tutor.josa import slots


def test_split_is_a_partition_that_never_changes(questions):
    learn, held = questions.split(0.1)
    all_, a, b = (set(q.texts()) for q in (questions, learn, held))
    assert a | b == all_
    assert not a & b
    assert 0.05 < len(b) / len(all_) < 0.15
    assert set(questions.split(0.1)[1].texts()) == b
    assert b <= set(questions.split(0.3)[1].texts())  # a text never changes back
    assert set(questions.split(0.0)[1].texts()) == set()


def test_every_wording_fits_what_fills_it(questions):
    for facet, frames in questions.frames.items():
        assert facet in FACETS
        for text in frames:
            if facet == "reverse":
                assert "{D}" in text
                assert not slots(text) - {"D"}
            else:
                assert slots(text) == ({"A", "B"} if facet == "compare" else {"A"}), text
    for (needs, facet), texts in questions.followups.items():
        assert needs in ("last", "new", "two")
        assert facet in FACETS
        for text in texts:
            assert slots(text) == ({"A"} if needs == "new" else set()), text
    assert all(slots(text) == {"A"} for text in questions.openers)
    assert not any(slots(w.text) for w in questions.whole)


def test_every_facet_can_be_asked_for(questions):
    assert {*TEXT_FACETS, "compare", "related", "reverse"} <= set(questions.frames)
    assert {facet for needs, facet in questions.followups if needs == "last"} >= set(TEXT_FACETS)


def test_whole_questions_name_terms_and_facets_that_exist(questions, glossary):
    claims = {(e.id, c.claim) for e in glossary for c in e.checks}
    pairs = {frozenset((e.id, c.other)) for e in glossary for c in e.compare}
    lost = []
    for whole in questions.whole:
        ok = all(term in glossary for term in whole.terms) and whole.facet in FACETS
        if whole.claim:
            ok &= (whole.terms[0], whole.claim) in claims
        elif len(whole.terms) > 1:
            ok &= frozenset(whole.terms) in pairs
        if not ok:
            lost.append(whole)
    assert lost == []


def test_every_message_has_its_reply(questions, replies):
    topics = {(r.kind, r.topic) for r in replies}
    assert {("decline", topic) for topic in (r.topic for r in questions.refuse)} <= topics
    assert {("smalltalk", topic) for topic, _ in questions.smalltalk} <= topics
    assert {("decline", "term"), ("decline", "pair")} <= topics
    assert len(topics) == len(replies)


def test_a_reply_offers_what_the_glossary_knows(tmp_path):
    path = tmp_path / "replies.jsonl"
    row = {"kind": "decline", "topic": "term", "text": "몰라요. {A} 대신 {B:은} 알아요."}
    path.write_text(json.dumps(row), encoding="utf-8")
    entries = [
        Entry(c, name, "뜻이에요.", related=("a",))
        for c, name in zip("abcd", "가나다라", strict=True)
    ]
    (reply,) = load_replies(path, Glossary(tuple(entries)))
    assert reply.text == "몰라요. {A} 대신 가, 나, 다는 알아요."
    assert reply.naming("공룡").text == "몰라요. 공룡 대신 가, 나, 다는 알아요."
    assert reply.naming("").text == "몰라요. 대신 가, 나, 다는 알아요."


def test_a_name_in_a_declined_message_stands_in_it(questions):
    named = [r for r in questions.refuse if r.name]
    assert len(named) > 500
    assert [r for r in named if r.name not in r.text] == []


def test_replies_are_read_with_their_kind(tmp_path, glossary):
    path = tmp_path / "replies.jsonl"
    rows = [
        {"kind": "decline", "topic": "term", "text": "몰라요."},
        {"kind": "smalltalk", "topic": "thanks", "text": "고마워요."},
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    first, second = load_replies(path, glossary)
    assert (first.facet, first.terms) == ("refuse", ())
    assert (second.facet, second.topic) == ("smalltalk", "thanks")
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(KeyError):
        load_replies(path, glossary)


def test_no_two_wordings_are_nearly_the_same(questions, glossary):
    texts = list(questions.texts())
    found = near_pairs(texts, glossary_names(glossary), 0.8)
    assert [(texts[a], texts[b]) for a, b in found] == []


def test_near_pairs_are_found():
    texts = [
        "RNN은 왜 필요한가요?",
        "한 줄로 부탁해요",
        "GRU는 왜 필요한가요",
        "왜 그렇게 되나요 그건",
    ]
    assert near_pairs(texts, ["RNN", "GRU"], 0.4) == [(0, 2)]
    assert near_pairs(texts, [], 0.9) == []
