"""Temperature scaling."""

from __future__ import annotations

import pytest
import torch

from model.calibration import (
    TEMPERATURES,
    answer_probabilities,
    divide_logits,
    fit_temperature,
)


@pytest.fixture
def answers(make_ids):
    return [(make_ids(12 + i, seed=i).tolist(), 5) for i in range(6)]


def test_probability_is_the_geometric_mean_over_the_answer_alone(gpt, answers):
    ids, start = answers[0]
    with torch.no_grad():
        p = (gpt(torch.tensor([ids]))[0] / 1.7).softmax(-1)
    wanted = 1.0
    for i in range(start, len(ids)):
        wanted *= float(p[i - 1, ids[i]])
    wanted **= 1 / (len(ids) - start)
    said = answer_probabilities(gpt, answers, torch.tensor([1.7]))
    assert said.shape == (1, 6)
    assert float(said[0, 0]) == pytest.approx(wanted, rel=1e-4)


def test_dividing_the_logits_changes_no_ranking(make_gpt, answers):
    model = make_gpt()
    ids = torch.tensor([answers[0][0]])
    before = model(ids)
    divide_logits(model, 2.5)
    torch.testing.assert_close(model(ids), before / 2.5, atol=1e-5, rtol=1e-4)
    hot = answer_probabilities(make_gpt(), answers, torch.tensor([2.5]))
    torch.testing.assert_close(answer_probabilities(model, answers, torch.ones(1)), hot)


@pytest.mark.parametrize("share", [1, 2, 3])
def test_after_fitting_the_answers_are_as_probable_as_they_are_right(make_gpt, share):
    """A sure network: its own likeliest tokens."""
    model = make_gpt(scale=0.6)
    answers = []
    for first in range(8, 20):
        ids = [first]
        while len(ids) < 12:
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
        answers.append((ids, 2))
    right = [i % 4 < share for i in range(12)]
    temperature = fit_temperature(model, answers, right)
    assert TEMPERATURES[0] < temperature < TEMPERATURES[-1]
    divide_logits(model, temperature)
    mean = float(answer_probabilities(model, answers, torch.ones(1)).mean())
    assert mean == pytest.approx(share / 4, abs=0.02)


def test_the_ends_hold_when_nothing_or_everything_is_right(gpt, answers):
    nothing = fit_temperature(gpt, answers, [False] * 6)
    assert nothing == pytest.approx(float(TEMPERATURES[-1]))
    with pytest.raises(ValueError):
        fit_temperature(gpt, [], [])
