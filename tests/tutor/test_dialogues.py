from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter

import pytest

from model.tokenizer import BOS, END, EOS, SPECIAL_NAMES, UNK
from tutor.answers import NAME, glossary_answers
from tutor.augment import initials
from tutor.dialogues import (
    DialogueMaker,
    chat_example,
    dialogue_dataset,
    prose_example,
    prose_sampler,
)
from tutor.glossary import Comparison, Entry, Glossary
from tutor.grounding import Grounder


def bare(name):
    return re.sub(r"[\s\-]", "", name).lower()


class Patient(random.Random):
    """Random numbers for somebody who does not wait for ever."""

    drawn = 0

    def getrandbits(self, k):
        self.drawn += 1
        assert self.drawn < 300_000, "this would never end"
        return super().getrandbits(k)


@pytest.fixture(scope="module")
def conversations(maker):
    rng = random.Random(7)
    return [maker.conversation(rng) for _ in range(1500)]


@pytest.fixture(scope="module")
def taught(glossary, replies):
    """The taught answer that a text is, word for word; None for any other text."""
    ground = Grounder([*glossary_answers(glossary), *replies]).ground
    return lambda text: found.answer if (found := ground(text)).exact else None


def test_the_same_seed_gives_the_same_conversations(maker, conversations):
    rng = random.Random(7)
    assert [maker.conversation(rng) for _ in range(50)] == conversations[:50]
    other = random.Random(8)
    assert [maker.conversation(other) for _ in range(50)] != conversations[:50]


def test_every_answer_is_one_that_was_taught(conversations, taught):
    said = {m["content"] for c in conversations for m in c if m["role"] == "assistant"}
    assert [text for text in said if taught(text) is None] == []
    assert len(said) > 400


def test_turns_alternate_and_questions_are_filled(conversations):
    for conversation in conversations:
        roles = [m["role"] for m in conversation]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        for message in conversation[::2]:
            text = message["content"]
            assert text == unicodedata.normalize("NFC", text).strip()
            assert text
            assert not re.search(r"\{[A-Z]", text), text
    assert {len(c) // 2 for c in conversations} >= {1, 2, 3, 4, 5, 8}


def test_all_kinds_of_turns_come(conversations, taught):
    kinds = Counter(taught(m["content"]).kind for c in conversations for m in c[1::2])
    facets = Counter(taught(m["content"]).facet for c in conversations for m in c[1::2])
    topics = Counter(taught(m["content"]).topic for c in conversations for m in c[1::2])
    assert kinds["answer"] > kinds["decline"] > kinds["smalltalk"] > 20
    assert {"definition", "why", "how", "compare", "related", "reverse", "expansion"} <= set(facets)
    assert {"check", "term", "pair", "everyday"} <= set(topics)


def test_a_question_out_of_nowhere_names_what_its_answer_is_about(maker, glossary):
    """Read from the question's side: a wording with a slot holds a name of the answer's term."""

    def named(term, text):
        names = {form(name) for name in glossary[term].names for form in (str, initials)}
        return any(bare(name) in bare(text) for name in names)

    rng = random.Random(9)
    for _ in range(300):
        text, answer = maker._turn_frame(rng)
        (term,) = answer.terms
        assert named(term, text), text
        assert answer.text == (maker.answer(term, answer.facet)).text
        text, answer = maker._turn_compare(rng)
        for term in answer.terms:
            assert named(term, text), text


def test_no_unknown_word_is_a_glossary_name(maker, glossary):
    rng = random.Random(10)
    known = {bare(name) for entry in glossary for name in entry.names}
    words = [maker._unknown_word(rng) for _ in range(20_000)]
    assert len(set(words)) > 3000
    assert [word for word in words if bare(word) in known] == []


def test_a_refusal_names_what_was_asked_about_as_it_was_typed(maker, replies):
    rng = random.Random(14)
    template = next(r.text for r in replies if r.topic == "term")
    front, back = template.split(NAME)
    named = 0
    for _ in range(3000):
        question, answer = maker.turn(rng)
        if answer.topic == "term":
            assert "\ue000" not in question
            assert NAME not in answer.text
            if answer.text != template.replace(f"{NAME} ", ""):
                assert answer.text.startswith(front) and answer.text.endswith(back)
                assert answer.text.removeprefix(front).removesuffix(back) in question
                named += 1
    assert named > 200


def test_asking_for_a_pair_that_is_not_compared_is_declined(maker, glossary):
    rng = random.Random(11)
    pairs = {frozenset((e.id, c.other)) for e in glossary for c in e.compare}
    assert maker._turn_uncompared(rng)[1].topic == "pair"
    assert len(pairs) < 54 * 53 / 2


def test_a_follow_up_is_about_the_last_topic(maker, glossary):
    rng = random.Random(12)
    entry = glossary["rnn"]
    wordings = {
        t for (needs, _), ts in maker.questions.followups.items() for t in ts if needs == "last"
    }
    written = 0
    for _ in range(200):
        text, answer = maker._follow_last(entry, rng)
        written += text in wordings
        assert "{" not in text
        assert not any(name in text for name in ("RNN", "순환 신경망"))
        assert answer.terms == ("rnn",)
        found = maker._follow_new(["gpt", "rnn"], rng)
        if found and found[1].facet == "compare":
            assert "rnn" in found[1].terms
    assert 60 < written < 160  # the others are wordings with a pronoun


def test_a_nod_keeps_the_subject(maker):
    rng = random.Random(16)
    kept = 0
    for _ in range(3000):
        answers = [answer for _, answer in maker.exchanges(rng)]
        for before, nod, after in zip(answers, answers[1:], answers[2:], strict=False):
            if nod.topic in ("ack", "thanks") and before.terms and after.terms:
                kept += before.terms[-1:] == after.terms[-1:]
    assert kept > 5


def test_a_description_does_not_name_what_it_describes(maker, glossary):
    described = maker._descriptions
    assert len(described) > 100
    for entry, text in described:
        assert not any(name.lower() in text.lower() for name in entry.names)


# -- other people's glossaries --------------------------------------------------------------------


def small(terms, *, compare=False):
    entries = []
    for term in terms:
        others = tuple(Comparison(o, f"{term}와 {o}는 달라요.") for o in terms if o > term)
        entries.append(Entry(term, term, f"{term}는 말이에요.", compare=others if compare else ()))
    return Glossary(tuple(entries))


@pytest.mark.parametrize("compare", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_small_glossary_has_conversations_too(questions, replies, count, compare):
    glossary = small(["가위", "나비", "다리", "라면"][:count], compare=compare)
    maker = DialogueMaker(glossary, questions, replies)
    rng = Patient(1)
    ground = Grounder([*glossary_answers(glossary), *replies]).ground
    for _ in range(200):
        conversation = maker.conversation(rng)
        assert all(ground(m["content"]).exact for m in conversation[1::2])


def test_whole_questions_about_other_terms_are_left_aside(questions, replies):
    maker = DialogueMaker(small(["가위"]), questions, replies)
    assert maker._whole == []
    assert maker._checks == []


# -- as a data set and as tokens ------------------------------------------------------------------


def test_the_dataset_has_messages_and_comes_from_the_seed(maker):
    rows = dialogue_dataset(maker, 30, seed=3)
    assert rows.column_names == ["messages"]
    assert len(rows) == 30
    again, other = dialogue_dataset(maker, 30, seed=3), dialogue_dataset(maker, 30, seed=4)
    assert rows["messages"][:] == again["messages"][:]
    assert rows["messages"][:] != other["messages"][:]
    first = rows[0]["messages"]
    assert [set(m) for m in first] == [{"role", "content"}] * len(first)
    rng = random.Random(3)
    assert first == maker.conversation(rng)


def test_only_the_answers_and_their_end_are_learnt(tokenizer):
    messages = [
        {"role": "user", "content": "가?"},
        {"role": "assistant", "content": "나예요."},
        {"role": "user", "content": "왜?"},
        {"role": "assistant", "content": "다예요."},
    ]
    example = chat_example(messages, tokenizer, 0.0, random.Random(1))
    assert example.ids == [t.id for t in tokenizer.chat(messages)]
    learnt = [i for i, learn in zip(example.ids, example.learn, strict=True) if learn]
    assert learnt == [*tokenizer.encode("나예요."), END, *tokenizer.encode("다예요."), END]
    # Place by place: mark, text, end.
    system = 2 + len(tokenizer.encode("꼬마GPT 튜터")) + 1
    asked = 1 + len(tokenizer.encode("가?")) + 1
    said = len(tokenizer.encode("나예요."))
    pattern = [False] * (system + asked) + [False] + [True] * (said + 1) + [False]
    assert example.learn[: len(pattern)] == pattern
    assert example.learn[-1] is True


def test_a_brief_example_is_cut_after_the_first_tokens_of_its_last_answer(tokenizer):
    long = "가나다라 마바사 아자차카 타파하 거너더러 머버서 어저처커 터퍼허예요."
    messages = [
        {"role": role, "content": text}
        for role, text in (
            ("user", "가?"),
            ("assistant", long),
            ("user", "왜?"),
            ("assistant", long),
        )
    ]
    whole = chat_example(messages, tokenizer, 0.0, random.Random(1))
    answer = len(tokenizer.encode(long)) + 1
    assert answer > 22
    for seed in range(20):
        brief = chat_example(messages, tokenizer, 0.0, random.Random(seed), brief=1.0)
        size = len(brief.ids)
        assert 8 <= size - (len(whole.ids) - answer) <= 20
        assert (brief.ids, brief.learn) == (whole.ids[:size], whole.learn[:size])
    sizes = [
        len(chat_example(messages, tokenizer, 0.0, random.Random(s), brief=0.5).ids)
        for s in range(40)
    ]
    assert 5 < sum(size == len(whole.ids) for size in sizes) < 35


def test_blanks_fall_on_the_learners_words_alone(tokenizer):
    messages = [
        {"role": "user", "content": "가나다라 마바사 아자차카 타파하 " * 5},
        {"role": "assistant", "content": "거너더러 머버서 어저처커 터퍼허예요."},
    ]
    whole = chat_example(messages, tokenizer, 0.0, random.Random(1))
    learners = [t.role == "user" and not t.special for t in tokenizer.chat(messages)]
    shares = []
    for seed in range(200):
        example = chat_example(messages, tokenizer, 0.0, random.Random(seed), blank=0.1)
        changed = [a != b for a, b in zip(example.ids, whole.ids, strict=True)]
        assert all(own for own, other in zip(learners, changed, strict=True) if other)
        assert {i for i, other in zip(example.ids, changed, strict=True) if other} <= {UNK}
        assert example.learn == whole.learn
        shares.append(sum(changed) / sum(learners))
    assert 0.07 < sum(shares) / len(shares) < 0.13


def test_prose_has_no_question_and_no_role(glossary, tokenizer):
    draw = prose_sampler(glossary, ["글 하나예요."])
    rng = random.Random(5)
    texts = [draw(rng) for _ in range(300)]
    assert "글 하나예요." in texts
    taught = {a.text for a in glossary_answers(glossary)}
    for text in texts:
        if text != "글 하나예요.":
            rest = text
            for answer in sorted(taught, key=len, reverse=True):
                rest = rest.replace(answer, "")
            assert rest.strip() == "", text
    example = prose_example("RNN은 신경망이에요.", tokenizer)
    assert example.ids == [BOS, *tokenizer.encode("RNN은 신경망이에요."), EOS]
    assert all(example.learn)
    assert len(example.ids) == len(example.learn)
    assert max(i for i in example.ids if i < len(SPECIAL_NAMES)) == EOS


def test_plain_questions_for_measuring_name_the_term(maker, glossary):
    asked = maker.questions_for(glossary["gpt"], "why", 5, random.Random(1))
    assert len(set(asked)) == 5
    assert all("GPT" in q for q in asked)
    assert maker.questions_for(glossary["gpt"], "색", 5, random.Random(1)) == []
