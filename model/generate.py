"""From logits to the next token: temperature, top-k, top-p, repetition penalty, seed.

Nothing but special tokens is ever masked: the model may say any text, and may stop (`<|end|>`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from model.tokenizer import END, SPECIAL_NAMES

CANDIDATES = 10
NEVER_SAID = [i for i in range(len(SPECIAL_NAMES)) if i != END]


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. The default is greedy.

    Args:
        temperature: 0 takes the likeliest token; 1 draws from the model's own distribution.
        top_k: keep only the k likeliest tokens; 0 keeps all.
        top_p: keep the smallest set of tokens whose probability reaches p (Holtzman et al., 2020).
        repetition_penalty: above 1, tokens of this answer become less likely (Keskar et al., 2019).
        seed: the same seed gives the same draw.

    Raises:
        ValueError: naming the field, when a value makes no sense.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (isinstance(self.top_k, int) and isinstance(self.seed, int)):
            raise ValueError("top_k" if isinstance(self.seed, int) else "seed")
        if not 0 <= self.temperature <= 5:
            raise ValueError("temperature")
        if self.top_k < 0:
            raise ValueError("top_k")
        if not 0 < self.top_p <= 1:
            raise ValueError("top_p")
        if not 0.1 <= self.repetition_penalty <= 10:
            raise ValueError("repetition_penalty")
        if not 0 <= self.seed < 2**63:
            raise ValueError("seed")


GREEDY = Sampling()


@dataclass(frozen=True)
class Step:
    """One generated token and how it came about.

    Attributes:
        token: the chosen id.
        probability: its probability in `distribution`'s terms.
        candidates: the likeliest `(id, probability)` pairs, best first.
        attention: `(layer, head, key)` float32, the row of the position *before* the token, the
            one that chose it; None when not captured.
        position: the token's own place in the sequence; `attention` has as many keys.
    """

    token: int
    probability: float
    candidates: list[tuple[int, float]] = field(repr=False)
    attention: np.ndarray | None = field(repr=False)
    position: int


def distribution(logits: Tensor, sampling: Sampling, said: Sequence[int] = ()) -> Tensor:
    """Next-token probabilities at the temperature in use: `(vocab,)` to `(vocab,)`.

    Greedy decoding (temperature 0) is described at temperature 1, the model's own distribution.
    Top-k and top-p come later, in `truncate`: these are the true full probabilities.

    Args:
        said: tokens of the answer so far, for the repetition penalty.
    """
    logits = logits.float().clone()
    logits[NEVER_SAID] = -torch.inf
    if sampling.repetition_penalty != 1 and said:
        seen = torch.tensor(sorted(set(said)))
        value = logits[seen]
        penalty = sampling.repetition_penalty
        logits[seen] = torch.where(value > 0, value / penalty, value * penalty)
    if sampling.temperature not in (0, 1):
        # Seen from the best logit, so that the coldest temperature overflows nothing.
        logits = (logits - logits.max()) / max(sampling.temperature, 1e-6)
    return logits.softmax(dim=-1)


def truncate(probabilities: Tensor, top_k: int, top_p: float) -> Tensor:
    """Keep the top-k and top-p tokens and make the rest impossible: `(vocab,)`, summing to 1."""
    order = probabilities.argsort(descending=True, stable=True)
    ranked = probabilities[order]
    keep = torch.ones_like(ranked, dtype=torch.bool)
    if top_k:
        keep[top_k:] = False
    if top_p < 1:  # a sum of all rounds to 1 early and would cut the tail
        # A token stays while those before it have not reached p yet; the first always stays.
        keep &= ranked.cumsum(0) - ranked < top_p
    kept = torch.zeros_like(probabilities)
    kept[order[keep]] = ranked[keep]
    return kept / kept.sum()


def choose(probabilities: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Draw the next token from `(vocab,)` probabilities."""
    if sampling.temperature == 0:
        return int(probabilities.argmax())
    kept = truncate(probabilities, sampling.top_k, sampling.top_p)
    return int(torch.multinomial(kept, 1, generator=generator))


def best_candidates(probabilities: Tensor, count: int = CANDIDATES) -> list[tuple[int, float]]:
    """The likeliest tokens, best first."""
    values, ids = probabilities.topk(min(count, len(probabilities)))
    return list(zip(ids.tolist(), values.tolist(), strict=True))
