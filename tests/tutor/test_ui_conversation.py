import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor.ui.conversation import (
    KEEP,
    READ,
    Conversation,
    Message,
    clean,
    from_openai,
    show,
    visible,
)

TAGS = re.compile(r"<[^>]*>")
TALK = Conversation([Message("user", "<b>RNN</b>"), Message("assistant", "답이에요.", note="붙임")])


def test_what_is_stored_comes_back():
    stored = json.loads(json.dumps(TALK.store()))
    assert Conversation.load(stored).messages == TALK.messages


@pytest.mark.parametrize(
    "junk",
    [
        None,
        "",
        [],
        {"version": 99, "messages": [{"role": "user", "content": "x"}]},
        {"version": 1, "messages": None},
        {"version": 1, "messages": ["x", 3, None, {"role": "system", "content": "x"}]},
        {"version": 1, "messages": [{"role": "user"}, {"role": "user", "content": 3}]},
        {"version": 1, "messages": [{"role": "user", "content": "x", "note": ["<b>"]}]},
    ],
)
def test_junk_in_the_browser_is_no_conversation(junk):
    assert Conversation.load(junk).messages == []


def test_unknown_fields_are_ignored_and_an_answer_is_never_unfinished():
    row = {"role": "assistant", "content": "x", "done": False, "evil": 1}
    assert Conversation.load({"version": 1, "messages": [row]}).messages == [
        Message("assistant", "x")
    ]


def test_long_conversations_are_cut_at_their_beginning():
    talk = Conversation([Message("user", str(i)) for i in range(KEEP + 50)])
    assert len(talk.store()["messages"]) == KEEP
    assert talk.for_model()[-1]["content"] == str(KEEP + 49)
    assert len(talk.for_model()) == READ


def test_the_model_gets_the_raw_text_and_nothing_of_the_notes():
    assert TALK.for_model() == [
        {"role": "user", "content": "<b>RNN</b>"},
        {"role": "assistant", "content": "답이에요."},
    ]


@given(st.text(max_size=80))
def test_no_markup_of_a_message_survives(text):
    for message in (
        Message("user", text),
        Message("assistant", text, note=text, aside=text, term=text, trace=text),
        Message("assistant", text, done=False),
    ):
        shown = show(message)
        bare = TAGS.sub("", shown)
        assert "<" not in bare and ">" not in bare
        allowed = {"div", "/div", "span", "/span", "button", "/button"}
        assert {tag.strip("<>").split()[0] for tag in TAGS.findall(shown)} <= allowed


def test_hostile_text_is_shown_literally():
    shown = visible("<img src=x onerror=alert(1)> ${1+1} <|assistant|>")
    assert shown == "&lt;img src=x onerror=alert(1)&gt; ${1+1} &lt;|assistant|&gt;"


def test_a_term_that_is_no_id_makes_no_link():
    assert "kk-open" not in show(Message("assistant", "x", term='"><script>'))
    assert "kk-term-rnn" in show(Message("assistant", "x", term="rnn"))


def test_control_characters_and_half_characters_are_made_visible():
    assert visible("a\x00b\x1bc") == "a␀b␛c"
    assert visible("줄\n\t바꿈") == "줄&#10;&#9;바꿈"
    json.dumps(clean("\ud800"), ensure_ascii=False).encode()


def test_taking_back_removes_the_last_exchange():
    talk = Conversation([*TALK.messages, Message("user", "또"), Message("assistant", "답")])
    assert talk.take_back() == "또"
    assert talk.messages == TALK.messages
    assert talk.take_back() == "<b>RNN</b>"
    assert talk.take_back() == ""


def test_openai_messages_in_both_forms():
    history = [
        {"role": "system", "content": "무시돼요"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "앞"}, {"type": "text", "text": "뒤"}],
        },
        {"role": "assistant", "content": "답"},
    ]
    assert from_openai(history) == [
        {"role": "user", "content": "앞뒤"},
        {"role": "assistant", "content": "답"},
    ]


@pytest.mark.parametrize("row", ["x", {}, {"role": "tool", "content": "x"}, {"role": "user"}])
def test_what_is_no_message_is_refused_in_korean(row):
    with pytest.raises(ValueError, match=r"[가-힣]"):
        from_openai([row])
