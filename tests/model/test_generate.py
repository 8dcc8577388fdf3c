from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from model.generate import Sampling, best_candidates, choose, distribution, truncate
from model.tokenizer import END, SPECIAL_NAMES

SPECIAL_BUT_END = [i for i in range(len(SPECIAL_NAMES)) if i != END]
logits_arrays = nps.arrays(
    np.float32,
    st.integers(12, 60),
    elements=st.floats(-50, 50, width=32),
)
temperatures = st.one_of(st.just(0.0), st.floats(0, 5))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(logits_arrays, temperatures, st.floats(0.1, 10), st.data())
def test_a_distribution_is_one_and_gives_special_tokens_nothing(logits, temperature, penalty, data):
    said = data.draw(st.lists(st.integers(8, len(logits) - 1), max_size=5))
    sampling = Sampling(temperature, repetition_penalty=penalty)
    p = distribution(torch.tensor(logits), sampling, said)
    assert float(p.sum()) == pytest.approx(1, abs=1e-4)
    assert float(p.min()) >= 0
    assert p[SPECIAL_BUT_END].abs().sum() == 0


@given(logits_arrays)
def test_temperature_one_and_greedy_show_the_models_own_softmax(logits):
    wanted = np.exp(logits.astype(np.float64) - logits.max())
    wanted[SPECIAL_BUT_END] = 0
    wanted /= wanted.sum()
    for temperature in (0, 1):
        p = distribution(torch.tensor(logits), Sampling(temperature))
        np.testing.assert_allclose(p.numpy(), wanted, atol=1e-5)


@given(logits_arrays, st.floats(0.3, 0.9), st.floats(1.1, 4))
def test_heat_flattens_and_keeps_the_order(logits, cold, hot):
    t = torch.tensor(logits)
    sharp = distribution(t, Sampling(cold))
    own = distribution(t, Sampling(1))
    flat = distribution(t, Sampling(hot))
    assert sharp.max() >= own.max() - 1e-6 >= flat.max() - 2e-6
    order = own.argsort(stable=True)
    assert (flat[order].diff() >= -1e-6).all()


@given(logits_arrays, st.floats(1.01, 5), st.data())
def test_the_penalty_lowers_what_was_said_and_nothing_else(logits, penalty, data):
    said = data.draw(st.lists(st.integers(8, len(logits) - 1), min_size=1, max_size=4))
    t = torch.tensor(logits)
    with np.errstate(divide="ignore"):
        own = distribution(t, Sampling()).log()
        low = distribution(t, Sampling(repetition_penalty=penalty), said).log()
    others = [i for i in range(7, len(logits)) if i not in said]
    for i in said:
        for j in others:
            if math.isfinite(own[j]) and math.isfinite(low[j]):
                assert low[i] - low[j] <= own[i] - own[j] + 1e-3
    before = t.clone()
    distribution(t, Sampling(repetition_penalty=penalty), said)
    assert torch.equal(before, t)


@given(logits_arrays, st.integers(0, 70), st.floats(0.01, 1))
def test_truncate_keeps_the_smallest_best_set(logits, k, p):
    full = distribution(torch.tensor(logits), Sampling(1))
    kept = truncate(full, k, p)
    inside = kept > 0
    assert float(kept.sum()) == pytest.approx(1, abs=1e-5)
    assert inside[full.argmax()]
    if k:
        assert int(inside.sum()) <= k
    if inside.any() and (~inside).any():
        assert full[inside].min() >= full[~inside].max()
    # Without its least token the set would not reach p, unless k cut first.
    mass = float(full[inside].sum())
    assert mass - float(full[inside].min()) < p + 1e-5
    if not k or int(inside.sum()) < min(k, int((full > 0).sum())):
        assert mass >= p - 1e-5
    ratio = kept[inside] / full[inside]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=1e-4)


def test_truncate_by_hand():
    p = torch.tensor([0.1, 0.4, 0.2, 0.3])
    assert truncate(p, 2, 1).tolist() == pytest.approx([0, 4 / 7, 0, 3 / 7])
    assert truncate(p, 0, 0.5).tolist() == pytest.approx([0, 4 / 7, 0, 3 / 7])
    assert truncate(p, 0, 0.4).tolist() == pytest.approx([0, 1, 0, 0])
    assert truncate(p, 0, 1e-9).tolist() == pytest.approx([0, 1, 0, 0])
    assert truncate(p, 3, 0.95).tolist() == pytest.approx([0, 4 / 9, 2 / 9, 3 / 9])


def test_top_p_one_and_no_top_k_leave_everything():
    logits = torch.randn(6000, generator=generator(1)) * 2
    p = distribution(logits, Sampling(1))
    assert torch.equal(truncate(p, 0, 1.0) > 0, p > 0)


@given(logits_arrays, st.integers(0, 2**62))
def test_greedy_takes_the_likeliest_whatever_else_is_set(logits, seed):
    p = distribution(torch.tensor(logits), Sampling())
    greedy = Sampling(0, top_k=3, top_p=0.5, seed=seed)
    assert p[choose(p, greedy, generator(seed))] == p.max()


@given(logits_arrays, st.floats(0, 5), st.integers(0, 10), st.floats(0.05, 1), st.integers(0, 99))
def test_nothing_impossible_is_drawn(logits, temperature, k, p, seed):
    sampling = Sampling(temperature, k, p, seed=seed)
    full = distribution(torch.tensor(logits), sampling)
    token = choose(full, sampling, generator(seed))
    assert token not in SPECIAL_BUT_END
    if temperature:
        assert truncate(full, k, p)[token] > 0


def test_special_tokens_lose_even_with_the_best_logits():
    logits = torch.zeros(20)
    logits[SPECIAL_BUT_END] = 100
    logits[END] = 5
    p = distribution(logits, Sampling())
    assert choose(p, Sampling(), generator()) == END
    assert {choose(p, Sampling(5), generator(s)) for s in range(200)} <= set(range(7, 20))


def test_draws_follow_the_distribution():
    p = torch.tensor([0.0, 0.5, 0.2, 0.3])
    g = generator(5)
    drawn = np.bincount([choose(p, Sampling(1), g) for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(drawn, p.numpy(), atol=0.03)


def test_best_candidates_are_sorted_and_no_more_than_there_are():
    p = torch.tensor([0.1, 0.4, 0.2, 0.3])
    assert [i for i, _ in best_candidates(p)] == [1, 3, 2, 0]
    assert best_candidates(p, 1) == [(1, pytest.approx(0.4))]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 5.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", math.nan),
        ("seed", -1),
        ("seed", 2**63),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"^{field}$"):
        Sampling(**{field: value})
