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
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import GPTConfig

# How a packed row is divided: `count` documents of `length` tokens each, for each pair in turn.
Documents = Sequence[tuple[int, int]] | None


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


def decoding_table(cos: Tensor, sin: Tensor) -> Tensor:
    """`rotary_table` for a stacked query, key and value: `(context, 2, 3, 1, head_size)`.

    Entry 0 is multiplied with the vectors, entry 1 with the vectors whose halves have changed
    places. Queries also get the `1/sqrt(head_size)` of the attention score; values stay as they
    are. So one product and one sum rotate and scale everything that a layer needs.
    """
    half = cos.shape[-1] // 2
    signed = torch.cat((-sin[:, :half], sin[:, half:]), dim=-1)
    scale = 1 / math.sqrt(cos.shape[-1])
    straight = torch.stack((cos * scale, cos, torch.ones_like(cos)), dim=1)
    swapped = torch.stack((signed * scale, signed, torch.zeros_like(sin)), dim=1)
    return torch.stack((straight, swapped), dim=1)[:, :, :, None]


def product(x: Tensor, matrix: Tensor) -> Tensor:
    """`x @ matrix` for decoding, without gradients: `(row, in)` by `(in, out)` to `(row, out)`.

    PyTorch gives float32 products to MKL, which on AMD processors reaches half of what oneDNN
    does; elsewhere they are alike.
    """
    one_row = len(x) == 1  # bound by reading the matrix, not by computing
    if one_row or x.device.type != "cpu" or x.dtype != torch.float32 or not _ONEDNN:
        return x @ matrix
    return torch.ops.mkldnn._linear_pointwise(x, matrix.t(), None, "none", [], "")


_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Slots:
    """A shared key/value cache, and where each conversation's newest tokens stand in it.

    Row *b* already holds `lengths[b]` tokens; its `new` tokens go to the columns after them.
    Made once a step; every layer takes its views from here.

    Args:
        cache: `(layer, 2, row, head, capacity, head_size)`, keys and values.
        lengths: `(batch,)` tokens already in the cache, one entry a row.
        new: number of tokens that are added to every row.

    Attributes:
        columns: `(batch, new)`, place and position of each new token.
        keys: a layer, `(batch * head, head_size, end)`.
        values: a layer, `(batch * head, end, head_size)`.
        mask: `(batch, 1, new, end)`, added to the scores: minus infinity for what a token must
            not see; None when no column needs hiding.
    """

    def __init__(self, cache: Tensor, lengths: Sequence[int], new: int) -> None:
        device = cache.device
        end = max(lengths) + new
        cache = cache[:, :, : len(lengths)]
        used = cache.flatten(2, 3)[..., :end, :]
        self.keys = used[:, 0].transpose(-1, -2).unbind(0)
        self.values = used[:, 1].unbind(0)
        self.columns = torch.tensor(lengths, device=device)[:, None]
        if new > 1:
            self.columns = self.columns + torch.arange(new, device=device)
        self.mask = None
        if new > 1 or min(lengths) != max(lengths):
            later = torch.arange(end, device=device) > self.columns[:, :, None]
            self.mask = torch.zeros(later.shape, device=device).masked_fill_(later, -torch.inf)
            self.mask = self.mask[:, None]
        self._rows = None
        if min(lengths) == max(lengths):  # one rectangle of the cache
            self._targets = cache[..., end - new : end, :].permute(0, 2, 4, 1, 3, 5).unbind(0)
        else:
            self._targets = cache.unbind(0)
            self._rows = torch.arange(len(lengths), device=device)[:, None]

    def write(self, layer: int, states: Tensor) -> None:
        """Put the new tokens' keys and values `(batch, new, 2, head, head_size)` into the cache."""
        if self._rows is None:
            self._targets[layer].copy_(states)
        else:
            self._targets[layer][:, self._rows, :, self.columns] = states


class RMSNorm(nn.Module):
    """Divide by the root mean square, then scale: `(..., width)` to the same shape."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """The normalised vectors."""
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


def causal_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Each token's mix of the values up to itself, all `(..., token, head_size)`.

    PyTorch's fused kernel, but for bfloat16 on a CPU: there its backward pass takes six times as
    long as the plain products.
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    tokens = query.shape[-2]
    later = query.new_full((tokens, tokens), -torch.inf).triu_(1)
    score = query / math.sqrt(query.shape[-1]) @ key.transpose(-1, -2)
    return (score + later).softmax(dim=-1) @ value


def dropout(x: Tensor, share: float) -> Tensor:
    """Leave out a share of the numbers and scale up the rest (Srivastava et al. 2014).

    On CPUs 16 random bits a number are drawn; `F.dropout` draws a float each, which takes ten
    times as long.
    """
    if not share or x.device.type != "cpu":
        return F.dropout(x, share)
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= round(share * 2**16) - 2**15
    return x * (kept / (1 - share)).to(x.dtype)


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
        query_key = rotate(query_key, cos, sin).to(value.dtype).permute(2, 0, 3, 1, 4)
        return query_key[0], query_key[1], value.transpose(1, 2)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, documents: Documents) -> Tensor:
        """Mixed values `(batch, token, width)` of whole sequences; the weights stay hidden."""
        query, key, value = self.heads_of(x, cos, sin)
        if documents is None:
            mixed = causal_attention(query, key, value)
        else:
            mixed = self._apart(query, key, value, documents)
        return self.out(mixed.transpose(1, 2).flatten(2))

    @staticmethod
    def _apart(query: Tensor, key: Tensor, value: Tensor, documents: Documents) -> Tensor:
        """Attention within each document of a packed row, `(1, head, token, head_size)`.

        Documents of one length are computed together, as if each were a row of its own.
        """
        sizes = [count * length for count, length in documents]
        groups = zip(
            documents, *(t[0].split(sizes, dim=1) for t in (query, key, value)), strict=True
        )
        mixed = []
        for (count, length), *states in groups:
            rows = (state.unflatten(1, (count, length)) for state in states)
            mixed.append(causal_attention(*rows).flatten(1, 2))
        return torch.cat(mixed, dim=1)[None]


class FeedForward(nn.Module):
    """SwiGLU: a gated two-layer network applied to each token alone."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.width, 2 * config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(..., width)` to the same shape."""
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

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, documents: Documents, left_out: float
    ) -> Tensor:
        """The residual stream `(batch, token, width)` after this block.

        `left_out` is the dropout share of what the two halves add to it.
        """
        x = x + dropout(self.attention(self.attention_norm(x), cos, sin, documents), left_out)
        return x + dropout(self.mlp(self.mlp_norm(x)), left_out)


class BlockWeights(NamedTuple):
    """One block's weights, as `DecodingWeights` describes them."""

    attention_norm: Tensor
    qkv: Tensor
    out: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor


class DecodingWeights:
    """Copies of all weights in the form that is fastest for decoding.

    Matrices are transposed to `(in, out)`: they are then read straight through, once, which takes
    two thirds of the time wherever they do not all stay in the processor's cache. Norms are
    multiplied by sqrt(width). Gathering them also saves finding them in modules for every token,
    which takes as long as using them.

    Attributes:
        blocks: one `BlockWeights` a layer.
        norm: the last norm's.
        head: the tied embedding as the projection onto the vocabulary, `(width, vocab)`.
        root_eps: `sqrt(width * eps)`, what the norms add under the root.
    """

    def __init__(self, model: GPT) -> None:
        self._parameters = list(model.parameters())
        self._state = self._now()
        scale = math.sqrt(model.config.width)
        with torch.inference_mode(False), torch.no_grad():
            self.blocks = [
                BlockWeights(
                    b.attention_norm.weight * scale,
                    b.attention.qkv.weight.t().contiguous(),
                    b.attention.out.weight.t().contiguous(),
                    b.mlp_norm.weight * scale,
                    b.mlp.gate_up.weight.t().contiguous(),
                    b.mlp.down.weight.t().contiguous(),
                )
                for b in model.blocks
            ]
            self.norm = model.norm.weight * scale
            self.head = model.embedding.weight.t().contiguous()
            self.root_eps = self.norm.new_tensor(scale * math.sqrt(model.config.norm_eps))

    def _now(self) -> list[tuple[int, int]]:
        """Where each parameter lies, and how often it has been written to."""
        return [(p.data_ptr(), p._version) for p in self._parameters]

    def current(self) -> bool:
        """Whether no parameter has moved or changed since; writing through `.data` goes unseen."""
        return self._now() == self._state


def decode_norm(x: Tensor, weight: Tensor, root_eps: Tensor) -> Tensor:
    """`RMSNorm` in half the time for a few rows: the root of two squares is a hypotenuse.

    x / sqrt(|x|^2 / width + eps) = x * sqrt(width) / hypot(|x|, sqrt(width * eps)).
    """
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x.div(length.hypot_(root_eps)).mul_(weight)


def decode_block(
    w: BlockWeights,
    layer: int,
    x: Tensor,
    turn: tuple[Tensor, Tensor],
    at: Slots,
    weights: Tensor,
    root_eps: Tensor,
) -> None:
    """`Block` for the newest tokens only, with a cache and open attention weights.

    Written with few, large operations: for a network this small, starting an operation takes
    longer than computing it.

    Args:
        x: the residual stream `(batch * new, width)`; this block is added in place.
        turn: the two halves of `decoding_table` at the tokens' positions, each
            `(batch, new, 3, 1, head_size)`.
        at: the cache and where the new tokens stand in it.
        weights: `(batch, head, new, end)`; the attention weights are written into it.
        root_eps: `DecodingWeights.root_eps`.
    """
    batch, heads, new, _ = weights.shape
    qkv = product(decode_norm(x, w.attention_norm, root_eps), w.qkv)
    qkv = qkv.view(batch, new, 3, heads, -1)
    half = qkv.shape[-1] // 2
    qkv = torch.addcmul(qkv * turn[0], qkv.roll(half, dims=-1), turn[1])
    at.write(layer, qkv[:, :, 1:])
    query = qkv[:, :, 0].transpose(1, 2).flatten(0, 1)
    score = torch.bmm(query, at.keys[layer]).view(weights.shape)
    if at.mask is not None:
        score.add_(at.mask)
    torch.softmax(score, dim=-1, out=weights)
    mixed = torch.bmm(weights.flatten(0, 1), at.values[layer])
    mixed = mixed.view(batch, heads, new, -1).transpose(1, 2).reshape(x.shape)
    x += product(mixed, w.out)
    gate, up = product(decode_norm(x, w.mlp_norm, root_eps), w.gate_up).chunk(2, dim=-1)
    x += product(F.silu(gate).mul_(up), w.down)


class GPT(nn.Module):
    """The network. `model(ids)` gives logits `(batch, token, vocab)`.

    Attributes:
        dropout: share of each block's output that is left out in training mode.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        cos, sin = rotary_table(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.register_buffer("turn", decoding_table(cos, sin), persistent=False)
        self._decoding: DecodingWeights | None = None
        self.dropout = 0.0

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
        self, ids: Tensor, positions: Tensor | None = None, documents: Documents = None
    ) -> Tensor:
        """The last block's normalised output, `(batch, token, width)`.

        Args:
            ids: `(batch, token)`.
            positions: `(batch, token)` position of each token within its own document.
            documents: with it, `ids` is one row `(1, token)` of whole documents, one after
                another, and none sees into another: first `count` documents of `length` tokens
                each for the first `(count, length)`, then those of the second, and so on.
        """
        batch, tokens = ids.shape
        if positions is None:
            positions = torch.arange(tokens, device=ids.device).expand(batch, tokens)
        cos, sin = self._angles(positions)
        x = self.embedding(ids)
        left_out = self.dropout if self.training else 0.0
        for block in self.blocks:
            x = block(x, cos, sin, documents, left_out)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Project onto the vocabulary with the tied embedding: `(..., width)` to `(..., vocab)`."""
        if torch.is_grad_enabled():
            return F.linear(hidden, self.embedding.weight)
        rows = hidden.reshape(-1, self.config.width)
        logits = product(rows, self._decoding_weights().head)
        return logits.view(*hidden.shape[:-1], self.config.vocab_size)

    def forward(self, ids: Tensor) -> Tensor:
        """`(batch, token)` ids to `(batch, token, vocab)` logits."""
        return self.logits(self.hidden(ids))

    @torch.inference_mode()
    def attention(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and every attention map of whole sequences.

        Returns:
            logits `(batch, token, vocab)` and weights `(layer, batch, head, query, key)`.
        """
        batch, tokens = ids.shape
        hidden, weights = self.extend(ids, self.new_cache(batch, tokens), [0] * batch)
        return self.logits(hidden), weights

    def new_cache(self, batch: int, capacity: int) -> Tensor:
        """Room for keys and values: `(layer, 2, batch, head, capacity, head_size)`."""
        c = self.config
        return self.cos.new_zeros(c.layers, 2, batch, c.heads, capacity, c.head_size)

    @torch.no_grad()
    def extend(self, ids: Tensor, cache: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Run the newest tokens of several conversations through the network.

        Args:
            ids: `(batch, new)`; a row with fewer new tokens is padded on the right, and what the
                padding leaves in the cache is overwritten before anything may look at it.
            cache: from `new_cache`, at least `batch` rows; written in place.
            lengths: how many tokens each row already holds.

        Returns:
            normalised hidden states `(batch, new, width)` and the attention weights
            `(layer, batch, head, new, end)` with `end = max(lengths) + new`.
        """
        batch, new = ids.shape
        at = Slots(cache, lengths, new)
        turn = self.turn[at.columns].unbind(2)
        w = self._decoding_weights()
        x = F.embedding(ids, self.embedding.weight).flatten(0, 1)
        heads, end = self.config.heads, at.values[0].shape[1]
        weights = x.new_empty(self.config.layers, batch, heads, new, end)
        for layer, (block, rows) in enumerate(zip(w.blocks, weights, strict=True)):
            decode_block(block, layer, x, turn, at, rows, w.root_eps)
        x = decode_norm(x, w.norm, w.root_eps)
        return x.view(batch, new, -1), weights

    def _decoding_weights(self) -> DecodingWeights:
        """The weights gathered for decoding; gathered again when training has changed them."""
        if self._decoding is None or not self._decoding.current():
            self._decoding = DecodingWeights(self)
        return self._decoding
