from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from model.generate import GREEDY, Sampling, Step
from model.tokenizer import END, Tokenizer
from tutor.trace import Trace, decode_attention, encode_attention


def row(position, layers=2, heads=4):
    weights = np.random.default_rng(position).random((layers, heads, position), dtype=np.float32)
    return weights / weights.sum(-1, keepdims=True)


@pytest.fixture
def make_trace(tokenizer: Tokenizer):
    """A trace of an answer given as ids."""

    def make(said, *, question="RNN은?", capture=True):
        prompt = tokenizer.chat([{"role": "user", "content": question}], prompt=True)
        trace = Trace("hash", GREEDY, tokenizer, 2, 4, 512, prompt)
        for i, token in enumerate(said):
            position = len(prompt) + i
            attention = row(position) if capture else None
            trace.steps.append(Step(token, 0.5, [(token, 0.5), (9, 0.25)], attention, position))
        return trace

    return make


@given(nps.arrays(np.float32, st.integers(1, 40), elements=st.floats(0, 1, width=32)))
def test_encoding_is_off_by_little(weights):
    raw = encode_attention(weights)
    assert len(raw) == weights.size
    back = decode_attention(raw, weights.shape)
    assert np.abs(back - weights).max() <= 0.004
    assert back.dtype == np.float32


def test_encoding_keeps_small_weights_apart_from_nothing():
    weights = np.array([0.0, 1e-5, 1e-4, 1.0], dtype=np.float32)
    back = decode_attention(encode_attention(weights), (4,))
    assert back[0] == 0
    assert 0 < back[1] < back[2] < back[3] == 1
    noisy = np.array([-1e-9, 1.0000001], dtype=np.float32)
    assert list(encode_attention(noisy)) == [0, 255]


def test_all_256_values_come_back_unchanged():
    raw = bytes(range(256))
    assert encode_attention(decode_attention(raw, (256,))) == raw


def test_tokens_stand_in_the_models_order(make_trace, tokenizer):
    said = [*tokenizer.encode("기억이에요."), END]
    trace = make_trace(said)
    tokens = trace.tokens
    assert [t.id for t in tokens] == [t.id for t in trace.prompt] + said
    assert [t.position for t in tokens] == list(range(len(tokens)))
    assert [(t.role, t.turn, t.special) for t in tokens[: len(trace.prompt)]] == [
        (t.role, t.turn, t.special) for t in trace.prompt
    ]
    answer = tokens[len(trace.prompt) :]
    assert {(t.role, t.turn) for t in answer} == {("assistant", 2)}
    assert [t.special for t in answer] == [False] * (len(said) - 1) + [True]
    for step in trace.steps:
        assert tokens[step.position].id == step.token
    assert "".join(t.piece for t in answer[:-1]).removeprefix(" ") == trace.text == "기억이에요."


def test_labels_name_the_marks(make_trace, tokenizer):
    tokens = make_trace([*tokenizer.encode("네 요"), END]).tokens
    labels = [t.label for t in tokens if t.special]
    assert labels == ["처음", "안내 시작", "안내 끝", "질문 시작", "질문 끝", "답 시작", "답 끝"]
    assert all(t.label == t.label.strip() and t.label for t in tokens)


def test_the_bytes_of_one_character_are_one_group(make_trace, tokenizer):
    trace = make_trace(tokenizer.encode("가🙂나"))
    answer = trace.tokens[len(trace.prompt) :]
    assert "".join(t.piece for t in answer) == " 가🙂나"
    smile = [t for t in answer if tokenizer.is_byte(t.id)]
    assert len(smile) == 4
    assert len({t.group for t in smile}) == 1
    assert [t.piece for t in smile] == ["🙂", "", "", ""]
    groups = [t.group for t in trace.tokens]
    assert groups == sorted(groups)
    assert len(set(groups)) == len(groups) - 3


def test_an_unfinished_character_is_withheld(make_trace, tokenizer):
    said = tokenizer.encode("가🙂")
    texts = [make_trace(said[:n]).text for n in range(len(said) + 1)]
    assert texts[-1] == "가🙂"
    assert set(texts[:-1]) == {"", "가"}
    for n in range(len(said) + 1):
        trace = make_trace(said[:n])
        assert "\ufffd" not in "".join(t.piece for t in trace.tokens)
        assert len(trace.tokens) == len(trace.prompt) + n


def test_probability_is_the_geometric_mean(make_trace):
    trace = make_trace([9, 10])
    assert trace.probability == pytest.approx(0.5)
    trace.steps[1] = Step(10, 0.125, [], None, trace.steps[1].position)
    assert trace.probability == pytest.approx(0.25)
    assert make_trace([]).probability == 0


def test_attention_of_a_step(make_trace):
    trace = make_trace([9, 10])
    size = len(trace.prompt)
    assert trace.attention(1).shape == (2, 4, size + 1)
    with pytest.raises(IndexError):
        trace.attention(2)
    with pytest.raises(ValueError):
        make_trace([9], capture=False).attention(0)


def test_json_has_positions_shapes_and_float_rows(tutor):
    messages = [{"role": "user", "content": "RNN이 뭐야? 🙂"}]
    reply = tutor.reply(messages, Sampling(temperature=0.8, seed=5))
    for step in reply:
        if step.position > 45:
            reply.cancel()
    trace = reply.trace
    told = json.loads(json.dumps(trace.to_json(), ensure_ascii=False))
    assert told["format"] == 1
    assert told["model"] == tutor.checkpoint.hash
    assert told["seed"] == 5
    assert told["sampling"]["temperature"] == 0.8
    assert (told["layers"], told["heads"], told["context"]) == (2, 4, 512)
    assert [t["position"] for t in told["tokens"]] == list(range(len(told["tokens"])))
    assert len(told["tokens"]) == len(trace.prompt) + len(trace.steps)
    assert len(told["steps"]) == len(trace.steps) > 3
    for i, step in enumerate(told["steps"]):
        rows = np.array(step["attention"])
        assert rows.shape == (2, 4, step["position"])
        np.testing.assert_array_equal(rows.astype(np.float32), trace.attention(i))
        np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-4)
        assert told["tokens"][step["position"]]["id"] == step["id"]
        assert len(step["candidates"]) == 10
        first = step["candidates"][0]
        assert first["piece"] == tutor.tokenizer.piece(first["id"])
        assert step["step"] == i
