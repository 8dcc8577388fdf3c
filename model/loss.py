"""Cross-entropy over the vocabulary, with its gradient computed on the spot.

Kept apart, softmax, loss and their backward passes write the `(token, vocab)` table half a dozen
times, and on a CPU that takes longer than the products around them. Here the table is written
once: the gradient of cross-entropy is the softmax less the one-hot target, so the forward pass
leaves it in place of the logits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Rows at a time: what is computed of them stays in the processor's cache.
_ROWS = 128


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        loss = hidden.new_zeros((), dtype=torch.float32)
        table = hidden.new_empty(len(hidden), len(weight))
        for part, rows, wanted in zip(
            table.split(_ROWS), hidden.split(_ROWS), targets[:, None].split(_ROWS), strict=True
        ):
            logits = (rows @ weight.t()).float()
            log_sum = logits.logsumexp(dim=1, keepdim=True)
            loss += (log_sum - logits.gather(1, wanted)).sum()
            part.copy_(logits.sub_(log_sum).exp_())
            part.scatter_add_(1, wanted, part.new_full(wanted.shape, -1.0))
        ctx.save_for_backward(table, hidden, weight)
        return loss

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, Tensor, None]:
        table, hidden, weight = ctx.saved_tensors
        scale = scale.to(table.dtype)
        return (table @ weight).mul_(scale), (table.t() @ hidden).mul_(scale), None


def summed_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats of `softmax(hidden @ weight.T)`, summed over tokens, in float32.

    Args:
        hidden: `(token, width)`.
        weight: `(vocab, width)`, one row for each entry of the vocabulary.
        targets: `(token,)` the wanted entries.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    with torch.autocast(hidden.device.type, enabled=False):
        return _SummedCrossEntropy.apply(hidden, weight, targets)
