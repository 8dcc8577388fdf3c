"""Reading one attention row: which heads, which tokens, and one Korean sentence about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tutor.josa import attach
from tutor.trace import Trace, TraceToken


@dataclass(frozen=True)
class AttentionView:
    """Where one generated token's row looked, for a choice of heads.

    Attributes:
        step: which generated token.
        heads: the `(layer, head)` pairs that were averaged.
        weights: one number a token before it, summing to 1.
        special_share: what of it fell on role, begin and end marks.
        sentence: the same in words.
    """

    step: int
    heads: list[tuple[int, int]]
    weights: list[float]
    special_share: float
    sentence: str


def mean_over_heads(row: np.ndarray, heads: Sequence[tuple[int, int]]) -> np.ndarray:
    """Average `(layer, head, key)` over some heads, all when none is named: `(key,)`."""
    if not heads:
        return row.mean(axis=(0, 1))
    return np.mean([row[layer, head] for layer, head in heads], axis=0)


def percent(share: float) -> str:
    """31 % as it is written on the page; small shares keep one digit."""
    value = share * 100
    return f"{value:.0f} %" if value >= 1 else f"{value:.1f} %"


def _words(weights: np.ndarray, tokens: Sequence[TraceToken]) -> list[tuple[str, float]]:
    """Sum the weights by readable text, so that a word seen twice counts once; best first."""
    groups: dict[int, tuple[str, float]] = {}
    for weight, token in zip(weights, tokens, strict=True):
        if not token.special:
            label, total = groups.get(token.group, (token.piece, 0.0))
            groups[token.group] = (label, total + float(weight))
    shares: dict[str, float] = {}
    for label, total in groups.values():
        if label.strip():
            shares[label.strip()] = shares.get(label.strip(), 0.0) + total
    return sorted(shares.items(), key=lambda item: -item[1])


def describe(weights: np.ndarray, tokens: Sequence[TraceToken], chosen: str) -> str:
    """One sentence: what was looked at most when `chosen` was picked.

    Args:
        weights: `(key,)`, summing to 1.
        tokens: the tokens that the weights belong to.
        chosen: label of the token that was picked.
    """
    special = float(sum(w for w, t in zip(weights, tokens, strict=True) if t.special))
    words = [word for word in _words(weights, tokens) if word[1] >= 0.02][:2]
    opening = f"{_quoted(chosen, '을')} 고를 때"
    marks = f"역할·끝 표시 조각에 {percent(special)}"
    if not words:
        return f"{opening} {marks}가 머물렀어요."
    listed = ""
    for i, (word, share) in enumerate(words):
        particle = "을" if i == len(words) - 1 else "과"
        listed += f"'{word}'({percent(share)}){attach(word, particle)[len(word) :]} "
    if special >= 0.5:
        return f"{opening} {marks}가 머물렀고, 글자 중에서는 {listed}가장 많이 봤어요."
    tail = f" {marks}가 머물렀어요." if special >= 0.005 else ""
    return f"{opening} {listed}가장 많이 봤어요.{tail}"


def _quoted(word: str, particle: str) -> str:
    return f"'{word}'" + attach(word, particle)[len(word) :]


def view(trace: Trace, step: int, heads: Sequence[tuple[int, int]] = ()) -> AttentionView:
    """Open one generated token.

    Args:
        heads: `(layer, head)` pairs counted from 0; none means the mean over all.

    Raises:
        IndexError: when there is no such step or head.
    """
    row = trace.attention(step)
    weights = mean_over_heads(row, heads)
    tokens = trace.tokens
    before = tokens[: len(weights)]
    chosen = tokens[trace.steps[step].position].label
    special = float(sum(w for w, t in zip(weights, before, strict=True) if t.special))
    return AttentionView(
        step, list(heads), weights.tolist(), special, describe(weights, before, chosen)
    )
