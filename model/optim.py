"""Muon for matrices, AdamW for the rest.

Muon (Jordan et al., 2024) replaces a matrix's momentum by the nearest semi-orthogonal matrix,
found with a few Newton-Schulz steps. `torch.optim.Muon` does this one matrix at a time and always
in bfloat16, which takes seconds a step on processors without it; here all matrices of one shape
are orthogonalised in one batched product, in the precision the machine is good at.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

# Quintic iteration coefficients of the Muon reference: fast at pulling singular values towards 1.
_A, _B, _C = 3.4445, -4.7750, 2.0315


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products are fast there (CPUs: only with AVX512-BF16 or AMX)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(supported())


def orthogonalise(matrices: Tensor, dtype: torch.dtype, steps: int = 5) -> Tensor:
    """Bring all singular values near 1: `(count, rows, columns)` to the same shape."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.to(dtype)
    x = x.transpose(-2, -1) if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(-2, -1)
        x = _A * x + (_B * gram + _C * (gram @ gram)) @ x
    return (x.transpose(-2, -1) if tall else x).to(matrices.dtype)


class MuonAdamW:
    """Both optimisers behind one `step`.

    Args:
        model: matrices inside blocks go to Muon; embedding and norms to AdamW. Stacked
            projections (query, key, value; gate, up) are orthogonalised one by one.
        muon_lr, adam_lr: peak learning rates.
    """

    def __init__(
        self, model: nn.Module, muon_lr: float, adam_lr: float, weight_decay: float = 0.01
    ) -> None:
        self.muon_lr, self.adam_lr, self.weight_decay = muon_lr, adam_lr, weight_decay
        named = dict(model.named_parameters())
        self._matrices = {n: p for n, p in named.items() if p.dim() == 2 and "embedding" not in n}
        rest = {n: p for n, p in named.items() if n not in self._matrices}
        self._momentum = {n: torch.zeros_like(p) for n, p in self._matrices.items()}
        self._rest_names = list(rest)
        self._adam = torch.optim.AdamW(
            list(rest.values()), lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0
        )
        device = next(iter(named.values())).device
        self._dtype = torch.bfloat16 if fast_bfloat16(device) else torch.float32

    @staticmethod
    def _split(name: str, matrix: Tensor) -> Tensor:
        """View a stacked projection as `(count, rows, columns)`."""
        parts = 3 if name.endswith("qkv.weight") else 2 if name.endswith("gate_up.weight") else 1
        return matrix.view(parts, matrix.shape[0] // parts, matrix.shape[1])

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Update every weight from its gradient; `scale` is the schedule's share of the peak."""
        by_shape: dict[tuple[int, int], list[tuple[str, Tensor]]] = defaultdict(list)
        for name, weight in self._matrices.items():
            momentum = self._momentum[name]
            momentum.lerp_(weight.grad, 0.05)
            nesterov = weight.grad.lerp(momentum, 0.95)
            split = self._split(name, nesterov)
            by_shape[tuple(split.shape[1:])].append((name, split))
        lr = self.muon_lr * scale
        for (rows, columns), group in by_shape.items():
            update = orthogonalise(torch.cat([split for _, split in group]), self._dtype)
            update *= max(1.0, rows / columns) ** 0.5
            start = 0
            for name, split in group:
                weight = self._matrices[name]
                weight.mul_(1 - lr * self.weight_decay)
                weight.sub_(update[start : start + len(split)].reshape(weight.shape), alpha=lr)
                start += len(split)
        for param_group in self._adam.param_groups:
            param_group["lr"] = self.adam_lr * scale
        self._adam.step()

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on, as named tensors."""
        out = {f"muon.{n}": m for n, m in self._momentum.items()}
        for i, state in self._adam.state_dict()["state"].items():
            for key, value in state.items():
                out[f"adam.{self._rest_names[i]}.{key}"] = torch.as_tensor(value)
        return out

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `state` gave.

        Raises:
            KeyError: when a tensor is missing.
        """
        for name, momentum in self._momentum.items():
            momentum.copy_(tensors[f"muon.{name}"])
        adam = self._adam.state_dict()
        keys = ("step", "exp_avg", "exp_avg_sq")
        if any(key.startswith("adam.") for key in tensors):
            adam["state"] = {
                i: {key: tensors[f"adam.{name}.{key}"].clone() for key in keys}
                for i, name in enumerate(self._rest_names)
            }
        self._adam.load_state_dict(adam)
