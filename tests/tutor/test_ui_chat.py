import json
from itertools import pairwise
from types import SimpleNamespace

import pytest

from tutor.ui import chat_tab
from tutor.ui.chat_tab import BROKEN_OFF, FAILED, NOTHING_TO_RETRY, STOPPED, ChatEvents
from tutor.ui.conversation import Conversation, Message
from tutor.ui.store import TraceStore

REQUEST = SimpleNamespace(session_hash="me")
SKIPPED = {"__type__": "update"}


@pytest.fixture
def events(tutor, monkeypatch):
    monkeypatch.setattr(chat_tab, "PACE", 0.0)
    monkeypatch.setattr(chat_tab, "FRAME", 0.02)
    return ChatEvents(tutor, TraceStore())


def stored(*contents: str) -> dict:
    roles = ("user", "assistant")
    return Conversation(
        [Message(roles[i % 2], content) for i, content in enumerate(contents)]
    ).store()


def lines(panel: str) -> list[dict]:
    return [json.loads(line) for line in panel.splitlines()]


def test_a_question_is_answered_and_remembered(events, tutor):
    updates = list(events.send(" RNN은 뭐야? ", None, REQUEST))
    first, last = updates[0], updates[-1]
    assert [m["role"] for m in first[0]] == ["user"]
    assert Conversation.load(first[2]).messages == [Message("user", "RNN은 뭐야?")]
    said = Conversation.load(last[2]).messages[-1]
    expected, _ = tutor.ask(["RNN은 뭐야?"])
    assert said.content == expected.answer
    assert said.note and said.trace
    assert lines(last[1])[-1]["k"] == "close"


def test_the_panel_only_grows_while_the_answer_does(events):
    panels = [update[1] for update in events.send("GPT는 뭐야?", None, REQUEST)]
    assert len(panels) > 2
    for before, after in pairwise(panels):
        assert after.startswith(before)


@pytest.mark.parametrize("text", ["", "   ", "\n\t", None, "가" * 501])
def test_what_cannot_be_asked_is_said_kindly(events, text):
    (only,) = events.send(text, None, REQUEST)
    assert only[:3] == (SKIPPED, SKIPPED, SKIPPED)
    assert only[3].endswith("요.")


@pytest.mark.parametrize(
    "text", ["😀🎉", "<|assistant|><|end|>", "<img src=x onerror=alert(1)>", "${1+1}", "a\x00\x1b"]
)
def test_strange_messages_are_answered(events, text):
    *_, last = events.send(text, None, REQUEST)
    assert Conversation.load(last[2]).messages[0].content == text
    assert "<img" not in json.dumps(last[0])


def test_retry_replaces_the_last_answer(events):
    talk = stored("RNN은 뭐야?", "첫 답")
    *_, last = events.again(talk, REQUEST)
    messages = Conversation.load(last[2]).messages
    assert [m.role for m in messages] == ["user", "assistant"]
    assert messages[1].content != "첫 답"
    opened = lines(last[1])[0]
    assert opened["answer"] == 1 and "온도" in opened["drawn"]


def test_a_question_left_unanswered_is_answered_greedily(events, tutor):
    *_, last = events.again(stored("RNN은 뭐야?"), REQUEST)
    expected, _ = tutor.ask(["RNN은 뭐야?"])
    assert Conversation.load(last[2]).messages[-1].content == expected.answer


def test_nothing_to_retry_is_said(events):
    (only,) = events.again(None, REQUEST)
    assert only[3] == NOTHING_TO_RETRY


def test_stopping_keeps_what_was_said(events):
    answer = events.send("RNN은 뭐야?", None, REQUEST)
    next(answer)
    next(answer)
    events.stop(REQUEST)
    *_, last = answer
    said = Conversation.load(last[2]).messages[-1]
    assert STOPPED in said.note
    assert len([item for item in lines(last[1]) if item["k"] == "step"]) < 150


def test_closing_the_tab_cancels_the_generation(events, monkeypatch):
    replies = []
    make = events.tutor.reply
    monkeypatch.setattr(
        events.tutor, "reply", lambda *args: replies.append(make(*args)) or replies[0]
    )
    answer = events.send("RNN은 뭐야?", None, REQUEST)
    next(answer)
    answer.close()
    assert replies[0]._generation.cancelled
    assert not events.running.stop("me")


def test_a_failure_is_told_and_the_question_is_kept(events, monkeypatch, caplog):
    monkeypatch.setattr(events.tutor, "result", lambda *_: 1 / 0)
    updates = list(events.send("RNN은 뭐야?", None, REQUEST))
    assert updates[-1][3] == FAILED
    assert Conversation.load(updates[0][2]).messages == [Message("user", "RNN은 뭐야?")]
    assert "ZeroDivisionError" in caplog.text


def test_dropped_turns_are_told_once(events):
    long = "트랜스포머는 " * 60
    talk = stored(*[long, long] * 4)
    *_, first = events.send("RNN은 뭐야?", talk, REQUEST)
    assert "다 읽지 못해요" in Conversation.load(first[2]).messages[-1].aside
    assert lines(first[1])[0]["dropped"] > 0
    *_, second = events.send("GPT는 뭐야?", first[2], REQUEST)
    assert Conversation.load(second[2]).messages[-1].aside == ""


def test_after_a_refresh_the_talk_is_back_and_so_is_what_can_be_opened(events):
    *_, last = events.send("RNN은 뭐야?", None, REQUEST)
    shown, panel, notice = events.restore(last[2])
    assert shown == last[0]
    assert sorted(panel.splitlines()) == sorted(last[1].splitlines())
    assert notice == ""


def test_after_a_restart_the_talk_is_back_without_its_inside(events, tutor):
    *_, last = events.send("RNN은 뭐야?", None, REQUEST)
    shown, panel, _ = ChatEvents(tutor, TraceStore()).restore(last[2])
    assert shown == last[0]
    assert lines(panel) == [{"k": "lost"}]


def test_a_refresh_in_the_middle_of_an_answer_is_noticed(events):
    answer = events.send("RNN은 뭐야?", None, REQUEST)
    first = next(answer)
    answer.close()
    _, _, notice = events.restore(first[2])
    assert notice == BROKEN_OFF


def test_nothing_stored_is_an_empty_page(events):
    assert events.restore(None) == ([], "", "")
