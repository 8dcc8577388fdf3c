from __future__ import annotations

import pytest
import torch

from model.gpt import causal_attention, dropout, rotary_table, rotate


def close(a, b, tolerance=2e-4):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def test_attention_rows_sum_to_one_and_never_look_ahead(gpt, make_ids):
    _, weights = gpt.attention(make_ids(3, 20))
    assert weights.shape == (2, 3, 4, 20, 20)
    close(weights.sum(-1), torch.ones(2, 3, 4, 20), 1e-5)
    assert weights.min() >= 0
    assert weights.triu(1).abs().max() == 0
    # The heads are peaked and different, so that a mixed-up head could not go unseen.
    assert weights[..., -1, :].max() > 0.3
    assert (weights[0, 0, 0] - weights[0, 0, 1]).abs().max() > 0.05


@pytest.mark.parametrize("path", ["forward", "attention"])
def test_a_later_token_changes_no_earlier_logits(gpt, make_ids, path):
    run = gpt if path == "forward" else lambda x: gpt.attention(x)[0]
    ids = make_ids(1, 16)
    changed = ids.clone()
    changed[0, 10] = 8 if ids[0, 10] != 8 else 9
    with torch.inference_mode():
        before, after = run(ids)[0], run(changed)[0]
    close(before[:10], after[:10], 1e-5)
    assert (before[10:] - after[10:]).abs().amax(-1).min() > 1e-3


def test_sdpa_path_equals_open_weights_path(gpt, make_ids):
    ids = make_ids(2, 33)
    with torch.inference_mode():
        close(gpt(ids), gpt.attention(ids)[0])


def test_packed_documents_never_see_each_other(gpt, make_ids):
    sizes = [9, 9, 9, 5, 5, 1]
    documents = [make_ids(1, size, seed=i) for i, size in enumerate(sizes)]
    ids = torch.cat(documents, dim=1)
    positions = torch.tensor([[p for size in sizes for p in range(size)]])
    with torch.inference_mode():
        packed = gpt.logits(gpt.hidden(ids, positions, [(3, 9), (2, 5), (1, 1)]))
        apart = torch.cat([gpt(document) for document in documents], dim=1)
        mixed = gpt(ids)
    close(packed, apart)
    assert (mixed - apart).abs().max() > 0.1


def test_half_precision_attention_agrees_with_the_fused_kernel():
    states = [
        torch.randn(2, 3, 17, 8, generator=torch.Generator().manual_seed(i)) for i in (1, 2, 3)
    ]
    halves = [state.bfloat16() for state in states]
    exact = causal_attention(*(half.float() for half in halves))
    close(causal_attention(*halves).float(), exact, 0.03)
    assert (exact - states[2]).abs().max() > 0.3


def test_rows_of_different_lengths_in_the_cache_equal_whole_sequences(gpt, make_ids):
    full = make_ids(3, 24)
    lengths = [11, 3, 7]
    capacity = 64
    cache = gpt.new_cache(3, capacity)
    with torch.inference_mode():
        prompt = torch.zeros(3, max(lengths), dtype=torch.long)
        for row, length in enumerate(lengths):
            prompt[row, :length] = full[row, :length]
        hidden, _ = gpt.extend(prompt, cache, [0] * 3)
        for row, length in enumerate(lengths):
            close(gpt.logits(hidden[row, :length]), gpt(full[row : row + 1, :length])[0])
        for _ in range(8):
            new = torch.stack([full[row, n : n + 1] for row, n in enumerate(lengths)])
            hidden, weights = gpt.extend(new, cache, lengths)
            lengths = [n + 1 for n in lengths]
            for row, n in enumerate(lengths):
                want, maps = gpt.attention(full[row : row + 1, :n])
                close(gpt.logits(hidden[row, 0]), want[0, -1])
                for layer, seen in enumerate(weights):
                    close(seen[row, :, 0, :n], maps[layer, 0, :, -1], 1e-5)
                    assert seen[row, :, 0, n:].abs().sum() == 0


def test_several_new_tokens_at_once_in_the_middle(gpt, make_ids):
    """Equal and unequal lengths take different ways through the cache."""
    ids = make_ids(2, 20)
    with torch.inference_mode():
        want = gpt(ids)
        cache = gpt.new_cache(2, 40)
        gpt.extend(ids[:, :6], cache, [0, 0])
        close(gpt.logits(gpt.extend(ids[:, 6:11], cache, [6, 6])[0]), want[:, 6:11])
        ragged = torch.stack((ids[0, 4:8], ids[1, 11:15]))
        got = gpt.logits(gpt.extend(ragged, cache, [4, 11])[0])
        close(got[0], want[0, 4:8])
        close(got[1], want[1, 11:15])


def test_a_reused_cache_row_forgets_who_was_there(gpt, make_ids):
    long, short = make_ids(1, 30, seed=1), make_ids(1, 6, seed=2)
    cache = gpt.new_cache(1, 40)
    with torch.inference_mode():
        gpt.extend(long, cache, [0])
        hidden, _ = gpt.extend(short[:, :5], cache, [0])
        close(gpt.logits(hidden), gpt(short[:, :5]))
        hidden, _ = gpt.extend(short[:, 5:], cache, [5])
        close(gpt.logits(hidden)[:, 0], gpt(short)[:, -1])


def test_rotation_depends_on_distance_alone_and_keeps_length(gpt):
    cos, sin = rotary_table(gpt.config)
    generator = torch.Generator().manual_seed(1)
    q, k = torch.randn(2, gpt.config.head_size, generator=generator)

    def score(i, j):
        return float(rotate(q, cos[i], sin[i]) @ rotate(k, cos[j], sin[j]))

    assert score(5, 2) == pytest.approx(score(43, 40), abs=1e-4)
    assert abs(score(5, 2) - score(5, 4)) > 1e-3
    close(rotate(q, cos[50], sin[50]).norm(), q.norm(), 1e-5)


def test_fresh_weights_come_from_the_seed(make_gpt):
    models = [make_gpt() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        model.initialise(seed)
    a, b, c = (dict(m.named_parameters())["blocks.0.attention.out.weight"] for m in models)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    embedding = models[0].embedding.weight.detach()
    assert float(embedding.std()) == pytest.approx(0.02, rel=0.1)
    assert float(a.detach().std()) == pytest.approx(0.02 / 2, rel=0.15)  # 1/sqrt(2 · 2 layers)


def test_dropout_leaves_out_its_share_and_keeps_the_mean():
    torch.manual_seed(1)
    out = dropout(torch.ones(499, 601), 0.2)
    assert set(out.unique().tolist()) == {0.0, 1.25}
    assert (out == 0).float().mean() == pytest.approx(0.2, abs=0.005)
    assert torch.equal(dropout(torch.ones(3, 5), 0.0), torch.ones(3, 5))


def test_dropout_is_for_training_only(make_gpt):
    gpt = make_gpt(40)
    ids = torch.arange(12)[None]
    plain = gpt.eval()(ids)
    gpt.dropout = 0.5
    assert torch.equal(gpt(ids), plain)
    assert not torch.allclose(gpt.train()(ids), plain)
