from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from model.loss import summed_cross_entropy


@pytest.mark.parametrize("tokens", [0, 1, 128, 300])
def test_loss_and_gradients_are_those_of_cross_entropy(tokens):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(tokens, 16, generator=generator)
    weight = torch.randn(50, 16, generator=generator)
    targets = torch.randint(0, 50, (tokens,), generator=generator)
    results = []
    for loss_of in (
        lambda h, w: summed_cross_entropy(h, w, targets),
        lambda h, w: F.cross_entropy(h @ w.t(), targets, reduction="sum"),
    ):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        loss = loss_of(h, w)
        (loss * 0.3).backward()
        results.append((loss.detach(), h.grad, w.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_half_precision_keeps_the_loss_in_float32():
    hidden, weight = torch.randn(9, 16), torch.randn(50, 16)
    targets = torch.arange(9)
    with torch.autocast("cpu", torch.bfloat16):
        loss = summed_cross_entropy(hidden, weight, targets)
    exact = summed_cross_entropy(hidden, weight, targets)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(exact), rel=0.02)
    assert float(loss) != float(exact)
