"""Probabilities that mean what they say, by temperature scaling (Guo et al., 2017).

A network trained until it knows its texts by heart is surer than it is right. Dividing its logits by
one number changes no ranking, and makes the probability of an answer agree with how often such
answers are right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.gpt import GPT

# What is tried; between two of them the answers' probability is taken to be straight.
TEMPERATURES = torch.exp(torch.linspace(-0.7, 1.6, 24))


@torch.no_grad()
def answer_probabilities(
    model: GPT, answers: Sequence[tuple[Sequence[int], int]], temperatures: Tensor
) -> Tensor:
    """Length-normalised probabilities, the geometric mean over each answer's tokens.

    Args:
        answers: each the ids of a whole conversation and the place where its last answer begins.
        temperatures: `(temperature,)`.

    Returns:
        `(temperature, answer)`, between 0 and 1.
    """
    columns = []
    for ids, start in answers:
        sequence = torch.tensor(ids)
        logits = model(sequence[None, :-1])[0, start - 1 :]
        log_p = (logits / temperatures[:, None, None]).log_softmax(dim=-1)
        chosen = log_p.gather(-1, sequence[start:].expand(len(temperatures), -1)[..., None])
        columns.append(chosen.mean(dim=(1, 2)).exp())
    return torch.stack(columns, dim=1)


def fit_temperature(
    model: GPT, answers: Sequence[tuple[Sequence[int], int]], right: Sequence[bool]
) -> float:
    """The temperature at which the answers are, on the whole, as probable as they are right.

    At most that of `TEMPERATURES`' ends, when no answer or every answer is right, say.

    Args:
        answers: as in `answer_probabilities`; the model's own.
        right: which of them are.

    Raises:
        ValueError: without answers.
    """
    if not answers:
        raise ValueError("no answers to calibrate with")
    wanted = sum(right) / len(right)
    # Hotter is less probable; np.interp wants its abscissae rising.
    mean = answer_probabilities(model, answers, TEMPERATURES).mean(dim=1).flip(0)
    return float(np.interp(wanted, mean.numpy(), TEMPERATURES.flip(0).numpy()))


@torch.no_grad()
def divide_logits(model: GPT, temperature: float) -> None:
    """Build the temperature into the network: the last norm's scale carries it."""
    model.norm.weight.div_(temperature)
