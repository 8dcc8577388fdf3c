from __future__ import annotations

import re

import numpy as np
import pytest

from tutor.attention import describe, mean_over_heads, percent, view
from tutor.trace import TraceToken


def tokens(*pieces):
    """Tokens from texts; `<…>` is a mark; a text after `+` belongs to the group before it."""
    out, group = [], -1
    for position, piece in enumerate(pieces):
        if not piece.startswith("+"):
            group += 1
        special = piece.startswith("<")
        text = piece.removeprefix("+")
        out.append(TraceToken(9, text, group, "user", 1, position, special))
    return out


def say(weights, pieces, chosen):
    return describe(np.array(weights), tokens(*pieces), chosen)


@pytest.mark.parametrize(
    ("weights", "pieces", "chosen", "sentence"),
    [
        (
            [0.31, 0.22, 0.07, 0.4],
            [" RNN", " 앞", "을", "<|user|>"],
            "기억",
            "'기억'을 고를 때 'RNN'(31 %)과 '앞'(22 %)을 가장 많이 봤어요. "
            "역할·끝 표시 조각에 40 %가 머물렀어요.",
        ),
        (
            [0.2, 0.8],
            [" 어텐션", " GPT"],
            "구조",
            "'구조'를 고를 때 'GPT'(80 %)와 '어텐션'(20 %)을 가장 많이 봤어요.",
        ),
        ([1.0], ["나"], "너", "'너'를 고를 때 '나'(100 %)를 가장 많이 봤어요."),
        (
            [0.1, 0.2, 0.3, 0.4],  # a word seen twice counts once
            [" 말", " 글", " 말", " 글"],
            "끝",
            "'끝'을 고를 때 '글'(60 %)과 '말'(40 %)을 가장 많이 봤어요.",
        ),
        (
            [0.1, 0.2, 0.3, 0.4],  # the bytes of one character are one word
            ["🙂", "+", "+", " 글"],
            "끝",
            "'끝'을 고를 때 '🙂'(60 %)와 '글'(40 %)을 가장 많이 봤어요.",
        ),
        (
            [0.7, 0.3],
            ["<bos>", "나"],
            "다",
            "'다'를 고를 때 역할·끝 표시 조각에 70 %가 머물렀고, "
            "글자 중에서는 '나'(30 %)를 가장 많이 봤어요.",
        ),
        (
            [0.99, 0.01],
            ["<bos>", "나"],
            "다",
            "'다'를 고를 때 역할·끝 표시 조각에 99 %가 머물렀어요.",
        ),
        (
            [0.5, 0.496, 0.004],
            ["가", "나", "<bos>"],
            "RNN",
            "'RNN'을 고를 때 '가'(50 %)와 '나'(50 %)를 가장 많이 봤어요.",
        ),
    ],
)
def test_sentences(weights, pieces, chosen, sentence):
    assert say(weights, pieces, chosen) == sentence


def test_percent():
    assert [percent(x) for x in (1.0, 0.314, 0.01, 0.004, 0.0)] == [
        "100 %",
        "31 %",
        "1 %",
        "0.4 %",
        "0.0 %",
    ]


@pytest.fixture(scope="module")
def trace(tutor):
    reply = tutor.reply([{"role": "user", "content": "RNN은 왜 앞 내용을 잊어버려? 🙂"}])
    for step in reply:
        if step.position > 60:
            reply.cancel()
    return reply.trace


def test_a_view_is_the_mean_of_the_float_rows(trace):
    for i, step in enumerate(trace.steps):
        seen = view(trace, i)
        want = step.attention.astype(np.float64).mean((0, 1))
        np.testing.assert_allclose(seen.weights, want, atol=1e-6)
        assert len(seen.weights) == step.position
        assert sum(seen.weights) == pytest.approx(1, abs=1e-4)
        marks = [t.special for t in trace.tokens[: step.position]]
        assert seen.special_share == pytest.approx(sum(want[marks]), abs=1e-5)


def test_a_view_of_some_heads(trace):
    for heads in ([(1, 2)], [(0, 0), (1, 3)], [(0, 1), (0, 2), (1, 0)]):
        seen = view(trace, 3, heads)
        row = trace.steps[3].attention
        want = sum(row[layer, head].astype(np.float64) for layer, head in heads) / len(heads)
        np.testing.assert_allclose(seen.weights, want, atol=1e-6)
        assert seen.heads == heads
    assert view(trace, 3, [(0, 0)]).weights != view(trace, 3, [(0, 1)]).weights
    np.testing.assert_array_equal(mean_over_heads(row, []), row.mean((0, 1)))


def test_the_sentence_names_the_words_that_were_looked_at_most(trace):
    for i in range(len(trace.steps)):
        seen = view(trace, i)
        shares: dict[str, float] = {}
        by_group: dict[int, list] = {}
        for token, weight in zip(trace.tokens, seen.weights, strict=False):
            if not token.special:
                by_group.setdefault(token.group, ["", 0.0])
                by_group[token.group][0] += token.piece
                by_group[token.group][1] += weight
        for text, weight in by_group.values():
            if text.strip():
                shares[text.strip()] = shares.get(text.strip(), 0) + weight
        best = sorted(shares.items(), key=lambda item: -item[1])[:2]
        told = re.findall(r"'([^']+)'\(([\d.]+) %\)", seen.sentence)
        assert [word for word, _ in told] == [w for w, s in best if s >= 0.02]
        for (word, said), (_, share) in zip(told, best, strict=False):
            assert float(said) == pytest.approx(share * 100, abs=0.51), word
        assert seen.sentence.startswith(f"'{trace.tokens[trace.steps[i].position].label}'")


def test_what_is_not_there_is_an_index_error(trace):
    with pytest.raises(IndexError):
        view(trace, len(trace.steps))
    with pytest.raises(IndexError):
        view(trace, 0, [(2, 0)])
    with pytest.raises(IndexError):
        view(trace, 0, [(0, 4)])
