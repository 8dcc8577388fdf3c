from __future__ import annotations

import pytest

from model.config import GPTConfig
from model.gpt import GPT

SPECIAL = {"bos_token_id": 2, "eos_token_id": [7, 3], "pad_token_id": 0}


def test_llama_keys_round_trip():
    config = GPTConfig(300, 48, 3, 4, 64, 128, 20_000.0, 1e-6, "float16")
    raw = config.to_llama(SPECIAL)
    assert GPTConfig.from_llama(raw) == config
    assert raw["model_type"] == "llama"
    assert raw["hidden_size"] == 48
    assert raw["num_key_value_heads"] == raw["num_attention_heads"] == 4
    assert raw["head_dim"] == 12
    assert raw["tie_word_embeddings"] is True
    assert raw["eos_token_id"] == [7, 3]


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 30, "heads": 4},
        {"width": 36, "heads": 4},  # heads of an odd size cannot be rotated in halves
        {"layers": 0},
        {"vocab_size": -1},
        {"context": 1.5},
        {"dtype": "int8"},
    ],
)
def test_impossible_shapes_are_refused(wrong):
    with pytest.raises(ValueError):
        GPTConfig(**{"vocab_size": 100} | wrong)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "gpt2"},
        {"tie_word_embeddings": False},
        {"num_key_value_heads": 1},
        {"hidden_size": "64"},
    ],
)
def test_networks_that_are_not_built_here_are_refused(change):
    raw = GPTConfig(100, 64).to_llama(SPECIAL)
    with pytest.raises(ValueError):
        GPTConfig.from_llama(raw | change)
    with pytest.raises(ValueError, match="lacks hidden_size"):
        GPTConfig.from_llama({k: v for k, v in raw.items() if k != "hidden_size"})


def test_parameter_count_is_the_networks():
    config = GPTConfig(123, 32, 3, 4, 40)
    assert config.parameter_count() == sum(p.numel() for p in GPT(config).parameters())
