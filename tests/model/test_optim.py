from __future__ import annotations

import pytest
import torch

from model.optim import MuonAdamW, orthogonalise


def matrix_with(singular, rows, columns, seed=0):
    """A matrix with the given singular values, and its two sets of directions."""
    g = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(rows, len(singular), generator=g)).Q
    v = torch.linalg.qr(torch.randn(columns, len(singular), generator=g)).Q
    return u @ torch.diag(singular) @ v.T, u, v


@pytest.mark.parametrize(("rows", "columns"), [(24, 24), (48, 16), (16, 48), (1, 8)])
def test_orthogonalise_brings_all_singular_values_near_one(rows, columns):
    singular = torch.logspace(-1.5, 1, min(rows, columns))
    x, u, v = matrix_with(singular, rows, columns)
    y = orthogonalise(x[None] * 1e-3, torch.float32)[0]  # the size of x does not matter
    values = torch.linalg.svdvals(y)
    assert values.min() > 0.6
    assert values.max() < 1.3
    # The directions stay: in the basis of x's own singular vectors y is diagonal.
    inner = u.T @ y @ v
    assert (inner - torch.diag(inner.diag())).abs().max() < 0.02


def test_orthogonalise_a_batch_is_one_by_one():
    x = torch.randn(3, 10, 6, generator=torch.Generator().manual_seed(1))
    together = orthogonalise(x, torch.float32)
    for i in range(3):
        torch.testing.assert_close(together[i], orthogonalise(x[i : i + 1], torch.float32)[0])
    assert orthogonalise(torch.zeros(1, 4, 4), torch.float32).abs().max() == 0


def with_gradients(model, seed):
    g = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=g)
    return model


def test_stacked_projections_are_orthogonalised_one_by_one(make_gpt):
    plain, loud = with_gradients(make_gpt(), 1), with_gradients(make_gpt(), 1)
    width = plain.config.width
    loud.blocks[0].attention.qkv.weight.grad[width : 2 * width] *= 1024  # the keys only
    loud.blocks[0].mlp.gate_up.weight.grad[: plain.config.mlp_width] *= 1024  # the gate only
    before = {n: p.detach().clone() for n, p in plain.named_parameters()}
    for model in (plain, loud):
        MuonAdamW(model, 0.02, 0.003, weight_decay=0.0).step(1.0)
    after, other = (dict(m.named_parameters()) for m in (plain, loud))
    for name in ("blocks.0.attention.qkv.weight", "blocks.0.mlp.gate_up.weight"):
        torch.testing.assert_close(after[name], other[name], atol=1e-5, rtol=0)
    update = (
        before["blocks.0.attention.qkv.weight"] - after["blocks.0.attention.qkv.weight"]
    ) / 0.02
    for part in update.detach().chunk(3):
        values = torch.linalg.svdvals(part)
        assert values.max() < 1.3
        assert values.median() > 0.6


def test_muon_takes_the_matrices_and_adam_the_rest(make_gpt):
    model = with_gradients(make_gpt(), 2)
    names = MuonAdamW(model, 0.02, 0.003).state()
    muon = {n.removeprefix("muon.") for n in names if n.startswith("muon.")}
    assert muon == {n for n, p in model.named_parameters() if p.dim() == 2 and n[:6] == "blocks"}
    optimizer = MuonAdamW(model, 0.02, 0.003)
    before = model.embedding.weight.detach().clone()
    optimizer.step(0.5)
    change = (before - model.embedding.weight).abs()
    # Adam's first step is the learning rate itself, in the direction of the gradient's sign.
    torch.testing.assert_close(change, torch.full_like(change, 0.0015), rtol=1e-3, atol=1e-6)


def test_a_rate_of_zero_changes_nothing(make_gpt):
    model = with_gradients(make_gpt(), 3)
    before = [p.detach().clone() for p in model.parameters()]
    MuonAdamW(model, 0.02, 0.003).step(0.0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_state_round_trip_goes_on_bit_for_bit(make_gpt):
    model, twin = make_gpt(), make_gpt()
    optimizer = MuonAdamW(model, 0.02, 0.003)
    for seed in range(3):
        with_gradients(model, seed)
        optimizer.step(1.0)
    saved = {n: t.clone() for n, t in optimizer.state().items()}
    twin.load_state_dict(model.state_dict())
    restored = MuonAdamW(twin, 0.02, 0.003)
    restored.load_state(saved)
    for m, o in ((model, optimizer), (twin, restored)):
        with_gradients(m, 9)
        o.step(0.7)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True)
    )
    with pytest.raises(KeyError):
        restored.load_state({n: t for n, t in saved.items() if "qkv" not in n})


def test_state_before_the_first_step_is_a_state_too(make_gpt):
    model = make_gpt()
    fresh = MuonAdamW(model, 0.02, 0.003)
    MuonAdamW(make_gpt(), 0.02, 0.003).load_state(fresh.state())
