"""Questions put together anew from written ones."""

import random
import re

import pytest

from tutor.glossary import Glossary
from tutor.josa import fill
from tutor.questions import Questions, Whole
from tutor.recombine import borrowed_frames, lead_ins, slotted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("LSTM은 왜 나왔어?", "{A:은} 왜 나왔어?"),
        ("왜 lstm이 필요해", "왜 {A:이} 필요해"),
        ("엘에스티엠이라는 말", "{A:이라는} 말"),
        ("LSTM에서 게이트는 뭐 해", "{A}에서 게이트는 뭐 해"),
        ("LSTM? LSTM이 뭔데", "{A}? {A:이} 뭔데"),
    ],
)
def test_a_name_becomes_a_slot_that_keeps_its_particle(glossary: Glossary, text, wanted):
    assert slotted(text, glossary["lstm"], "A") == wanted
    assert fill(wanted, A="GPT").count("GPT") == wanted.count("{A")


@pytest.mark.parametrize(
    "text", ["LSTMX는 뭐야", "그건 왜 필요해", "BiLSTM은 뭐야", "LSTM-2 알려줘"]
)
def test_part_of_another_word_is_no_name(glossary: Glossary, text):
    assert slotted(text, glossary["lstm"], "A") is None


def _whole(*rows: tuple[tuple[str, ...], str, str]) -> Questions:
    return Questions(frames={}, whole=[Whole(*row) for row in rows])


def test_only_questions_that_could_be_about_any_term_are_borrowed(glossary: Glossary):
    questions = _whole(
        (("lstm",), "why", "팀장님이 LSTM은 왜 쓰냐고 하시네요"),
        (("lstm",), "why", "LSTM은 트랜스포머가 있는데 왜 써?"),  # names another term
        (("lstm",), "reverse", "게이트로 기억을 고르는 LSTM 그거"),
        (("lstm",), "why", "게이트로 기억을 고르는 건 왜 나왔대"),  # does not name it
        (("lstm", "gru"), "compare", "LSTM이랑 GRU는 뭐가 달라"),
    )
    assert borrowed_frames(questions, glossary) == {
        "why": ["팀장님이 {A:은} 왜 쓰냐고 하시네요"],
        "compare": ["{A:이랑} {B:은} 뭐가 달라"],
    }


def test_lead_ins_neither_ask_nor_name_a_term(glossary: Glossary):
    questions = Questions(
        frames={
            "why": [
                "발표가 코앞이라 마음이 급해요. {A:은} 왜 나온 건가요?",
                "혹시 아세요? {A:은} 왜 나온 건가요?",
                "{A:을} 처음 들었어요. 왜 나온 건가요?",
                "어제 GPT 책을 샀어요. {A:은} 왜 나온 건가요?",
            ]
        }
    )
    assert lead_ins(questions, glossary) == ["발표가 코앞이라 마음이 급해요."]


def test_recombined_questions_are_drawn_and_hold_no_open_slot(maker):
    rng = random.Random(5)
    drawn = [maker._turn_frame(rng) for _ in range(600)]
    assert not any(re.search(r"[{}]", text) for text, _ in drawn)
    leads = maker._lead_ins
    assert any(text.startswith(lead) for text, _ in drawn for lead in leads)
