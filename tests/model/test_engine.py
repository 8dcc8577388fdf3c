from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from model.engine import Engine, TooLong
from model.generate import Sampling
from model.tokenizer import END


@pytest.fixture
def engine(gpt):
    engine = Engine(gpt, max_batch=3)
    yield engine
    engine.close()


def prompt(make_ids, size, seed=0):
    return make_ids(size, seed=seed).tolist()


def greedy_without_cache(model, ids, count):
    """The reference: the whole sequence again for every token."""
    ids = list(ids)
    with torch.inference_mode():
        for _ in range(count):
            logits = model(torch.tensor([ids]))[0, -1]
            logits[:END] = -torch.inf
            ids.append(int(logits.argmax()))
            if ids[-1] == END:
                break
    return ids[-count:] if END not in ids else ids


def tokens(generation):
    return [step.token for step in generation]


def test_greedy_equals_a_loop_without_cache(engine, gpt, make_ids):
    ids = prompt(make_ids, 9)
    assert tokens(engine.submit(ids, max_new_tokens=30)) == greedy_without_cache(gpt, ids, 30)


def test_steps_carry_position_probability_candidates_and_rows(engine, gpt, make_ids):
    ids = prompt(make_ids, 9)
    steps = list(engine.submit(ids, max_new_tokens=6))
    _, maps = gpt.attention(torch.tensor([ids + [s.token for s in steps]]))
    for i, step in enumerate(steps):
        assert step.position == 9 + i
        assert step.attention.shape == (2, 4, 9 + i)
        assert step.attention.dtype == np.float32
        want = maps[:, 0, :, step.position - 1, : step.position].numpy()
        np.testing.assert_allclose(step.attention, want, atol=1e-5)
        assert step.candidates[0] == (step.token, pytest.approx(step.probability))
        assert len(step.candidates) == 10
    assert all(s.attention is None for s in engine.submit(ids, max_new_tokens=3, capture=False))


def test_company_changes_nothing(gpt, make_ids):
    """Seven conversations of different lengths on three places: they join and leave all the time."""
    jobs = [(prompt(make_ids, 3 + 4 * i, seed=i), 4 + 3 * (i % 4)) for i in range(7)]
    alone = []
    for ids, count in jobs:
        engine = Engine(gpt, max_batch=1)
        alone.append(list(engine.submit(ids, max_new_tokens=count)))
        engine.close()
    engine = Engine(gpt, max_batch=3)
    running = [engine.submit(ids, max_new_tokens=count) for ids, count in jobs]
    together = [list(generation) for generation in running]
    engine.close()
    for (ids, count), a, b in zip(jobs, alone, together, strict=True):
        assert len(a) == count
        assert [s.token for s in a] == [s.token for s in b]
        assert [s.token for s in a] == greedy_without_cache(gpt, ids, count)
        for x, y in zip(a, b, strict=True):
            assert x.probability == pytest.approx(y.probability, abs=1e-5)
            np.testing.assert_allclose(x.attention, y.attention, atol=1e-5)


def test_joining_while_others_are_speaking(engine, gpt, make_ids):
    first = engine.submit(prompt(make_ids, 20), max_new_tokens=40)
    said = []
    late = []
    for step in first:
        said.append(step.token)
        if len(said) in (2, 5):
            ids = prompt(make_ids, 4 + len(said), seed=len(said))
            late.append((ids, engine.submit(ids, max_new_tokens=8)))
    assert said == greedy_without_cache(gpt, prompt(make_ids, 20), 40)
    for ids, generation in late:
        assert tokens(generation) == greedy_without_cache(gpt, ids, 8)


def test_cancel_stops_early_and_the_others_go_on(make_gpt, make_ids):
    model = make_gpt(context=512)
    engine = Engine(model, max_batch=3)
    ids = [prompt(make_ids, 5, seed=i) for i in range(3)]
    kept = [engine.submit(ids[0], max_new_tokens=60), engine.submit(ids[1], max_new_tokens=60)]
    stopped = engine.submit(ids[2], max_new_tokens=500)
    first = next(iter(stopped))
    stopped.cancel()
    rest = tokens(stopped)
    assert len(rest) < 499
    assert [first.token, *rest] == greedy_without_cache(model, ids[2], 1 + len(rest))
    for i, generation in enumerate(kept):
        assert tokens(generation) == greedy_without_cache(model, ids[i], 60)
    engine.close()


def test_a_seed_draws_the_same_again_and_another_seed_something_else(engine, make_ids):
    def draw(seed, company):
        others = [engine.submit(prompt(make_ids, 7 + i, seed=9)) for i in range(company)]
        sampling = Sampling(temperature=1.5, seed=seed)
        drawn = tokens(engine.submit(prompt(make_ids, 6), sampling, max_new_tokens=25))
        for other in others:
            other.cancel()
            tokens(other)
        return drawn

    alone = draw(3, 0)
    assert draw(3, 0) == alone
    assert draw(3, 2) == alone
    assert draw(4, 0) != alone


def test_it_stops_at_end(make_gpt, make_ids):
    """The row of `<|end|>` is turned towards the state of the fifth token, so that it wins there."""
    model = make_gpt()
    ids = prompt(make_ids, 8)
    before = greedy_without_cache(model, ids, 12)
    with torch.inference_mode():
        hidden = model.hidden(torch.tensor([ids + before]))[0, 7:]  # states that choose tokens
        best = model.logits(hidden)[:, 8:].max(-1).values
    for fifth in range(4, 12):
        direction = hidden[fifth]
        row = direction * (best[fifth] * 1.02 / (direction @ direction))
        if all(hidden[i] @ row < best[i] for i in range(fifth)):
            break
    else:
        pytest.fail("no step can be singled out")
    with torch.no_grad():
        model.embedding.weight[END] = row
    engine = Engine(model, max_batch=2)
    steps = list(engine.submit(ids, max_new_tokens=40))
    engine.close()
    assert [s.token for s in steps] == [*before[:fifth], END]


def test_the_context_is_never_left(engine, gpt, make_ids):
    context = gpt.config.context
    for size in (context - 1, context - 3):
        steps = list(engine.submit(prompt(make_ids, size), max_new_tokens=99))
        assert [s.position for s in steps] == list(range(size, context))
    with pytest.raises(TooLong):
        engine.submit(prompt(make_ids, context))
    with pytest.raises(TooLong):
        engine.submit([])
    assert len(tokens(engine.submit(prompt(make_ids, 4), max_new_tokens=2))) == 2


def test_an_error_reaches_its_listener_and_the_engine_lives_on(engine, gpt, make_ids):
    with pytest.raises(IndexError):
        tokens(engine.submit([5, 10_000]))
    ids = prompt(make_ids, 5)
    assert tokens(engine.submit(ids, max_new_tokens=5)) == greedy_without_cache(gpt, ids, 5)


def test_close_finishes_what_is_running_and_takes_nothing_more(gpt, make_ids):
    engine = Engine(gpt, max_batch=1)
    running = [engine.submit(prompt(make_ids, 5, seed=i), max_new_tokens=9) for i in range(3)]
    engine.close()
    assert [len(tokens(generation)) for generation in running] == [9, 9, 9]
    with pytest.raises(RuntimeError):
        engine.submit([9])
    assert not any(t.name == "engine" and t is engine._thread for t in threading.enumerate())
