"""The decoder-only Transformer, whole, in one file.

Token ids go in; logits over the next token come out. Two paths lead there and agree
(tests/model/test_gpt.py): the training path uses `scaled_dot_product_attention`, which is fast
and never shows its weights; the decoding path computes the softmax openly, keeps keys and
values in a cache and returns every head's attention.

Shapes are written `(batch, head, query, key)`; `width = heads * head_size`.
References: Vaswani et al. 2017 (attention), Radford et al. 2018 (decoder-only language model),
Su et al. 2021 (rotary positions), Shazeer 2020 (SwiGLU), Zhang & Sennrich 2019 (RMSNorm).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import GPTConfig


def rotary_table(config: GPTConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles, each `(context, head_size)`.

    The two halves of a head are rotated against each other (Llama's layout), so each
    frequency stands twice in a row.
    """
    half = config.head_size // 2
    frequency = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(config.context, dtype=torch.float64)[:, None] * frequency
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate query or key vectors by their position's angles.

    `x` is `(..., head_size)`; `cos` and `sin` broadcast against it.
    """
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def attention_weights(query: Tensor, key: Tensor, visible: Tensor | None) -> Tensor:
    """Scaled dot-product attention weights, each row summing to 1.

    Args:
        query: `(batch, head, query, head_size)`.
        key: `(batch, head, key, head_size)`.
        visible: boolean, broadcastable to `(batch, head, query, key)`; False is never looked at.

    Returns:
        `(batch, head, query, key)`.
    """
    score = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]))
    if visible is not None:
        score = score.masked_fill(~visible, -torch.inf)
    return score.softmax(dim=-1)


class Slots:
    """Where each conversation's newest tokens stand in a shared key/value cache.

    Row *b* already holds `lengths[b]` tokens; its `new` tokens go to the columns after them.

    Args:
        lengths: `(batch,)` tokens already in the cache, one entry a row.
        new: number of tokens that are added to every row.
    """

    def __init__(self, lengths: Sequence[int], new: int, device: torch.device) -> None:
        self.new = new
        self.end = max(lengths) + new
        self.start = lengths[0] if len(set(lengths)) == 1 else None
        self.columns = torch.tensor(lengths, device=device)[:, None] + torch.arange(
            new, device=device
        )  # (batch, new)

    def visible(self) -> Tensor | None:
        """Causal mask `(batch, 1, new, end)`; None when no column needs hiding."""
        if self.new == 1 and self.start is not None:
            return None
        key = torch.arange(self.end, device=self.columns.device)
        return (key <= self.columns[:, :, None])[:, None]

    def write(self, cache: Tensor, states: Tensor) -> None:
        """Put `states` `(batch, head, new, head_size)` into `(batch, head, capacity, head_size)`."""
        if self.start is not None:
            cache[:, :, self.start : self.end] = states
        else:
            rows = torch.arange(len(states), device=cache.device)[:, None]
            cache[rows, :, self.columns] = states.transpose(1, 2)


class RMSNorm(nn.Module):
    """Divide by the root mean square, then scale: `(..., width)` to the same shape."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Causal self-attention. Query, key and value come out of one matrix product."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.heads, self.head_size = config.heads, config.head_size
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def heads_of(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries, rotated keys, values: each `(batch, head, token, head_size)`."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, self.head_size)
        query_key, value = qkv[:, :, :2], qkv[:, :, 2]
        query_key = rotate(query_key, cos, sin).permute(2, 0, 3, 1, 4)
        return query_key[0], query_key[1], value.transpose(1, 2)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, visible: Tensor | None) -> Tensor:
        query, key, value = self.heads_of(x, cos, sin)
        mixed = F.scaled_dot_product_attention(
            query, key.to(query.dtype), value, attn_mask=visible, is_causal=visible is None
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def cached(
        self, x: Tensor, cos: Tensor, sin: Tensor, visible: Tensor | None, cache: Tensor, at: Slots
    ) -> tuple[Tensor, Tensor]:
        """Like `forward` for the newest tokens only, with open weights.

        Args:
            x: `(batch, new, width)`.
            visible: `(batch, 1, new, end)`, or None when all columns before `end` may be seen.
            cache: `(2, batch, head, capacity, head_size)`, keys and values; written in place.
            at: where the new tokens stand in the cache.

        Returns:
            the mixed values `(batch, new, width)` and the weights `(batch, head, new, end)`.
        """
        query, key, value = self.heads_of(x, cos, sin)
        at.write(cache[0], key)
        at.write(cache[1], value)
        weights = attention_weights(query, cache[0, :, :, : at.end], visible)
        mixed = weights @ cache[1, :, :, : at.end]
        return self.out(mixed.transpose(1, 2).flatten(2)), weights


class FeedForward(nn.Module):
    """SwiGLU: a gated two-layer network applied to each token alone."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.width, 2 * config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Block(nn.Module):
    """Attention, then feed-forward, each added onto the residual stream."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_eps)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.width, config.norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, visible: Tensor | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cos, sin, visible)
        return x + self.mlp(self.mlp_norm(x))


class GPT(nn.Module):
    """The network. `model(ids)` gives logits `(batch, token, vocab)`."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        cos, sin = rotary_table(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def initialise(self, seed: int) -> None:
        """Draw fresh weights: normal(0, 0.02), output projections shrunk with depth (GPT-2)."""
        generator = torch.Generator().manual_seed(seed)
        shrink = 1 / math.sqrt(2 * self.config.layers)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.dim() == 2:
                    scale = 0.02 * (shrink if name.endswith(("out.weight", "down.weight")) else 1)
                    weight.copy_(torch.randn(weight.shape, generator=generator) * scale)

    def _angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines `(batch, token, 1, 1, head_size)` for `(batch, token)` positions."""
        return self.cos[positions][:, :, None, None], self.sin[positions][:, :, None, None]

    def hidden(
        self, ids: Tensor, positions: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        """The last block's normalised output, `(batch, token, width)`.

        Args:
            ids: `(batch, token)`.
            positions: `(batch, token)` position of each token within its own document.
            documents: `(batch, token)` document number of each token. With it, rows may hold
                several documents packed one after another, and none sees into another.
        """
        batch, tokens = ids.shape
        if positions is None:
            positions = torch.arange(tokens, device=ids.device).expand(batch, tokens)
        visible = None
        if documents is not None:
            same = documents[:, :, None] == documents[:, None, :]
            visible = (same & same.new_ones(tokens, tokens).tril())[:, None]
        cos, sin = self._angles(positions)
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, cos, sin, visible)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Project onto the vocabulary with the tied embedding: `(..., width)` to `(..., vocab)`."""
        return F.linear(hidden, self.embedding.weight)

    def forward(self, ids: Tensor) -> Tensor:
        return self.logits(self.hidden(ids))

    @torch.inference_mode()
    def attention(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and every attention map of whole sequences.

        Returns:
            logits `(batch, token, vocab)` and weights `(layer, batch, head, query, key)`.
        """
        batch, tokens = ids.shape
        hidden, weights = self.extend(ids, self.new_cache(batch, tokens), [0] * batch)
        return self.logits(hidden), torch.stack(weights)

    def new_cache(self, batch: int, capacity: int) -> Tensor:
        """Room for keys and values: `(layer, 2, batch, head, capacity, head_size)`."""
        c = self.config
        return self.cos.new_zeros(c.layers, 2, batch, c.heads, capacity, c.head_size)

    def extend(
        self, ids: Tensor, cache: Tensor, lengths: Sequence[int]
    ) -> tuple[Tensor, list[Tensor]]:
        """Run the newest tokens of several conversations through the network.

        Args:
            ids: `(batch, new)`; a row with fewer new tokens is padded on the right, and what the
                padding leaves in the cache is overwritten before anything may look at it.
            cache: from `new_cache`, at least `batch` rows; written in place.
            lengths: how many tokens each row already holds.

        Returns:
            normalised hidden states `(batch, new, width)` and, per layer, the attention
            weights `(batch, head, new, end)` with `end = max(lengths) + new`.
        """
        batch, new = ids.shape
        at = Slots(lengths, new, ids.device)
        visible = at.visible()
        cos, sin = self._angles(at.columns)
        x = self.embedding(ids)
        weights = []
        for layer, block in enumerate(self.blocks):
            mixed, seen = block.attention.cached(
                block.attention_norm(x), cos, sin, visible, cache[layer, :, :batch], at
            )
            x = x + mixed
            x = x + block.mlp(block.mlp_norm(x))
            weights.append(seen)
        return self.norm(x), weights
