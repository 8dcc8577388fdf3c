import json

import pytest

from model.generate import GREEDY, Step
from model.tokenizer import END
from tutor.trace import Trace
from tutor.ui.trace_lines import TraceLines, candidate_name, whole

STRANGE = "뷁 😀 é"


def parse(text):
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def growing(tokenizer):
    """A recording, and the steps it is to get: byte pieces of an emoji, then the end."""
    prompt = tokenizer.chat([{"role": "user", "content": STRANGE}], prompt=True)
    ids = [*tokenizer.encode("답은 😀"), END]
    steps = [
        Step(token, 0.5, [(token, 0.5), (9, 0.25)], None, len(prompt) + i)
        for i, token in enumerate(ids)
    ]
    return Trace("hash", GREEDY, tokenizer, 2, 4, 64, prompt), steps


def test_the_text_only_ever_grows(growing):
    trace, steps = growing
    lines, before = TraceLines(trace, "id", 1), ""
    for step in steps:
        trace.steps.append(step)
        after = lines.grow()
        assert after.startswith(before) and len(after) > len(before)
        before = after
    assert lines.close().startswith(before)


def test_growing_and_reading_at_once_tell_the_same(growing):
    trace, steps = growing
    lines = TraceLines(trace, "id", 1)
    for step in steps:
        trace.steps.append(step)
        lines.grow()
    grown = {}
    for item in parse(lines.close()):
        grown[item["k"], item.get("p")] = item
    at_once = {(item["k"], item.get("p")): item for item in parse(whole(trace, "id", 1))}
    assert grown == at_once


def test_every_token_has_a_place_and_every_step_its_candidates(growing):
    trace, steps = growing
    trace.steps += steps
    items = parse(whole(trace, "abc", 3))
    opened = items[0]
    assert (opened["id"], opened["answer"]) == ("abc", 3)
    places = [item["p"] for item in items if item["k"] == "tok"]
    assert places == list(range(len(trace.tokens)))
    told = [item for item in items if item["k"] == "step"]
    assert [item["p"] for item in told] == places[len(trace.prompt) :]
    for item in told:
        assert [chosen for *_, chosen in item["best"]] == [True, False]
        assert item["best"][0][1:3] == [0.5, "50 %"]
    assert items[-1]["k"] == "close"


def test_half_characters_are_never_shown(growing):
    trace, steps = growing
    lines = TraceLines(trace, "id", 1)
    for step in steps:
        trace.steps.append(step)
        assert "�" not in lines.grow()
    texts = [item["text"] for item in parse(lines.text) if item["k"] == "tok"]
    assert all(text for text in texts)
    assert "😀" in texts and "글자의 일부" in texts


def test_candidates_have_readable_names(tokenizer):
    assert candidate_name(tokenizer, END) == "답 끝"
    emoji = next(i for i in tokenizer.encode("😀") if tokenizer.is_byte(i))
    assert candidate_name(tokenizer, emoji) == "글자 조각 F0"
    spaced = next(i for i in range(8, len(tokenizer)) if tokenizer.piece(i).startswith(" 가"))
    assert candidate_name(tokenizer, spaced).startswith("␣가")
