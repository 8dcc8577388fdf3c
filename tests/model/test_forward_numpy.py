"""The whole forward pass once more, in NumPy float64, from the weights file alone.

Nothing of `model` computes the expected numbers; only the file's names and config.json are read.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def recompute(folder, ids):
    """Logits `(token, vocab)` and attention `(layer, head, query, key)` in float64."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = {
        name: tensor.astype(np.float64)
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    heads, width = config["num_attention_heads"], config["hidden_size"]
    size, n = width // heads, len(ids)

    def norm(x, name):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"]) * weights[name]

    def split(x):
        return x.reshape(n, heads, size).transpose(1, 0, 2)

    def turn(x):  # dimension i pairs with i + size / 2: a complex number, turned by its angle
        half = size // 2
        rate = config["rope_theta"] ** (-2.0 * np.arange(half) / size)
        turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * np.arange(n)[:, None] * rate)
        return np.concatenate((turned.real, turned.imag), -1)

    x = weights["model.embed_tokens.weight"][ids]
    maps = []
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        h = norm(x, p + "input_layernorm.weight")
        q, k, v = (split(h @ weights[f"{p}self_attn.{w}_proj.weight"].T) for w in "qkv")
        score = turn(q) @ turn(k).transpose(0, 2, 1) / np.sqrt(size)
        score[:, np.triu(np.ones((n, n), dtype=bool), 1)] = -np.inf
        a = softmax(score)
        maps.append(a)
        mixed = (a @ v).transpose(1, 0, 2).reshape(n, width)
        x = x + mixed @ weights[p + "self_attn.o_proj.weight"].T
        h = norm(x, p + "post_attention_layernorm.weight")
        gate = h @ weights[p + "mlp.gate_proj.weight"].T
        up = h @ weights[p + "mlp.up_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weights[p + "mlp.down_proj.weight"].T
    return norm(x, "model.norm.weight") @ weights["model.embed_tokens.weight"].T, np.stack(maps)


def test_forward_equals_numpy(checkpoint, make_ids):
    ids = make_ids(1, 40, vocab=3000)
    logits, maps = recompute(checkpoint.directory, ids[0].numpy())
    with torch.inference_mode():
        np.testing.assert_allclose(checkpoint.model(ids)[0].numpy(), logits, atol=2e-4)
    np.testing.assert_allclose(checkpoint.model.attention(ids)[1][:, 0].numpy(), maps, atol=1e-5)


@pytest.mark.parametrize("question", ["RNN은 왜 앞 내용을 잊어버려?", "뷁 🙂"])
def test_what_a_trace_shows_equals_numpy(tutor, question):
    messages = [{"role": "user", "content": question}]
    reply = tutor.reply(messages)
    for step in reply:
        if step.position > 40:
            reply.cancel()
    trace = reply.trace
    ids = np.array([t.id for t in trace.prompt] + [s.token for s in trace.steps])
    logits, maps = recompute(tutor.checkpoint.directory, ids)
    logits[:, :7] = -np.inf  # special tokens but <|end|> are never chosen
    probabilities = softmax(logits)
    assert len(trace.steps) > 5
    for i, step in enumerate(trace.steps):
        p = step.position
        # The row of a token is that of the position before it, and has p keys.
        np.testing.assert_allclose(trace.attention(i), maps[:, :, p - 1, :p], atol=1e-5)
        assert step.token == probabilities[p - 1].argmax()
        assert step.probability == pytest.approx(probabilities[p - 1, step.token], abs=1e-5)
        for token, probability in step.candidates:
            assert probability == pytest.approx(probabilities[p - 1, token], abs=1e-5)
