"""One configuration object for the network, readable by `transformers` as it stands.

The network is the Llama graph (Touvron et al., 2023): pre-norm RMSNorm, rotary positions,
SwiGLU, no biases, tied embeddings. `config.json` uses Llama's own key names, so that
`transformers`, llama.cpp and others open a checkpoint directory without code of ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# Our name -> the key `LlamaConfig` uses.
_LLAMA_KEYS = {
    "vocab_size": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
    "context": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
}


@dataclass(frozen=True)
class GPTConfig:
    """Shape of the network. Impossible combinations are refused at construction.

    Args:
        vocab_size: number of token ids.
        width: size of the residual stream (`hidden_size`).
        layers: number of Transformer blocks.
        heads: attention heads per block; must divide `width` into an even head size.
        mlp_width: inner size of the SwiGLU feed-forward network.
        context: longest sequence, in tokens, that the rotary table covers.
        rope_theta: base of the rotary frequencies (Su et al., 2021).
        norm_eps: epsilon of RMSNorm.
        dtype: dtype of the weights *on disk* ("float32", "float16", "bfloat16").

    Raises:
        ValueError: when the sizes cannot make a network.
    """

    vocab_size: int
    width: int = 256
    layers: int = 4
    heads: int = 8
    mlp_width: int = 704
    context: int = 512
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name in ("vocab_size", "width", "layers", "heads", "mlp_width", "context"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(
                f"width {self.width} must split into {self.heads} heads of an even size"
            )
        if self.dtype not in ("float32", "float16", "bfloat16"):
            raise ValueError(f"dtype {self.dtype!r} is not float32, float16 or bfloat16")

    @property
    def head_size(self) -> int:
        """Size of one head's query, key and value vectors."""
        return self.width // self.heads

    def parameter_count(self) -> int:
        """Number of weights, the shared embedding counted once."""
        block = 4 * self.width**2 + 3 * self.width * self.mlp_width + 2 * self.width
        return self.vocab_size * self.width + self.layers * block + self.width

    def to_llama(self, special: dict[str, int]) -> dict[str, Any]:
        """The content of `config.json`. `special` gives bos/eos/pad token ids."""
        ours = asdict(self)
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            **{theirs: ours[name] for name, theirs in _LLAMA_KEYS.items()},
            "num_key_value_heads": self.heads,
            "head_dim": self.head_size,
            "hidden_act": "silu",
            "rope_theta": self.rope_theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": True,
            "torch_dtype": self.dtype,
            **special,
        }

    @classmethod
    def from_llama(cls, raw: dict[str, Any]) -> GPTConfig:
        """Read `config.json`.

        Raises:
            ValueError: when it describes a network that this code does not build.
        """
        if raw.get("model_type") != "llama" or not raw.get("tie_word_embeddings"):
            raise ValueError("config.json is not a Llama graph with tied embeddings")
        missing = [key for key in _LLAMA_KEYS.values() if key not in raw]
        if missing:
            raise ValueError(f"config.json lacks {', '.join(missing)}")
        if raw.get("num_key_value_heads", raw["num_attention_heads"]) != raw["num_attention_heads"]:
            raise ValueError("grouped-query attention is not built here")
        return cls(
            **{name: raw[theirs] for name, theirs in _LLAMA_KEYS.items()},
            rope_theta=float(raw.get("rope_theta", 10_000.0)),
            dtype=raw.get("torch_dtype", "float32"),
        )
