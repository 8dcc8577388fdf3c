"""The checkpoint directory: write it whole or not at all, open it without running anything.

`model.safetensors` holds Llama's tensor names, so that other engines read it as it is; our stacked
projections are split on the way out and joined on the way in.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from model.config import GPTConfig
from model.gpt import GPT
from model.tokenizer import BOS, CHAT_TEMPLATE, END, EOS, PAD, Tokenizer

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.model"
UNFINISHED = ".training"  # folder inside a checkpoint directory where a training keeps its work
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class CheckpointError(Exception):
    """The directory cannot be used. The message is one Korean sentence for the person."""


@dataclass
class Checkpoint:
    """A model as read from a directory."""

    model: GPT
    tokenizer: Tokenizer
    directory: Path
    hash: str
    training: dict[str, Any]


def to_llama(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our parameter names to Llama's; stacked projections are split."""
    out = {}
    for name, tensor in state.items():
        if name == "embedding.weight":
            out["model.embed_tokens.weight"] = tensor
        elif name == "norm.weight":
            out["model.norm.weight"] = tensor
        else:
            _, layer, *rest = name.split(".")
            prefix, part = f"model.layers.{layer}.", ".".join(rest)
            if part == "attention.qkv.weight":
                for letter, piece in zip("qkv", tensor.chunk(3), strict=True):
                    out[f"{prefix}self_attn.{letter}_proj.weight"] = piece
            elif part == "mlp.gate_up.weight":
                for which, piece in zip(("gate", "up"), tensor.chunk(2), strict=True):
                    out[f"{prefix}mlp.{which}_proj.weight"] = piece
            else:
                theirs = {
                    "attention_norm.weight": "input_layernorm.weight",
                    "attention.out.weight": "self_attn.o_proj.weight",
                    "mlp_norm.weight": "post_attention_layernorm.weight",
                    "mlp.down.weight": "mlp.down_proj.weight",
                }[part]
                out[prefix + theirs] = tensor
    return out


def from_llama(tensors: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Llama's tensor names to ours.

    Raises:
        KeyError: when a tensor is missing.
    """
    out = {
        "embedding.weight": tensors["model.embed_tokens.weight"],
        "norm.weight": tensors["model.norm.weight"],
    }
    for layer in range(layers):
        theirs, ours = f"model.layers.{layer}.", f"blocks.{layer}."
        out[ours + "attention_norm.weight"] = tensors[theirs + "input_layernorm.weight"]
        out[ours + "attention.qkv.weight"] = torch.cat(
            [tensors[f"{theirs}self_attn.{letter}_proj.weight"] for letter in "qkv"]
        )
        out[ours + "attention.out.weight"] = tensors[theirs + "self_attn.o_proj.weight"]
        out[ours + "mlp_norm.weight"] = tensors[theirs + "post_attention_layernorm.weight"]
        out[ours + "mlp.gate_up.weight"] = torch.cat(
            [tensors[f"{theirs}mlp.{which}_proj.weight"] for which in ("gate", "up")]
        )
        out[ours + "mlp.down.weight"] = tensors[theirs + "mlp.down_proj.weight"]
    return out


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never half of it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_foreign_folder(directory: Path) -> None:
    """Make sure that writing a checkpoint there replaces nothing but a checkpoint.

    Raises:
        CheckpointError: when the directory holds other things, or is a file.
    """
    directory = Path(directory)
    if directory.is_file():
        raise CheckpointError(f"{directory}은(는) 폴더가 아니라 파일이에요. 다른 이름을 주세요.")
    if directory.is_dir() and not (directory / WEIGHTS).is_file():
        others = [child.name for child in directory.iterdir() if child.name != UNFINISHED]
        if others:
            raise CheckpointError(
                f"{directory} 폴더에 다른 파일({others[0]})이 있어요. 새 폴더 이름을 주세요."
            )


def save_checkpoint(
    directory: Path,
    model: GPT,
    tokenizer: Tokenizer,
    training: dict[str, Any],
    *,
    dtype: str = "float16",
    extra: Callable[[Path], None] | None = None,
) -> None:
    """Write a checkpoint directory; an existing one is replaced only once the new one is whole.

    Args:
        training: content of `training.json` (data hash, seed, steps, results).
        dtype: dtype of the weights on disk.
        extra: called with the unfinished directory to add files of its own.

    Raises:
        CheckpointError: when it cannot be written (a full disk, say); nothing is changed then.
    """
    directory = Path(directory).absolute()
    refuse_foreign_folder(directory)
    temporary = directory.with_name(f".{directory.name}.{uuid.uuid4().hex[:8]}")
    config = replace(model.config, dtype=dtype)
    tensors = {
        name: tensor.detach().to("cpu", _DTYPES[dtype]).contiguous()
        for name, tensor in to_llama(model.state_dict()).items()
    }
    special = {"bos_token_id": BOS, "eos_token_id": [END, EOS], "pad_token_id": PAD}
    try:
        temporary.mkdir(parents=True)
        (temporary / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
        _write_json(temporary / CONFIG, config.to_llama(special))
        (temporary / TOKENIZER).write_bytes(tokenizer.model)
        (temporary / "chat_template.jinja").write_text(CHAT_TEMPLATE + "\n", encoding="utf-8")
        _write_json(temporary / "training.json", training)
        if extra:
            extra(temporary)
        replace_directory(temporary, directory)
    except OSError as error:
        raise CheckpointError(
            f"모델을 {directory}에 저장하지 못했어요: {error.strerror or error}. "
            "쓰던 모델은 그대로 있어요."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_directory(new: Path, target: Path) -> None:
    """Put `new` in the place of `target`; sub-directories that only the old one has are kept."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(new, target)
        return
    old = target.with_name(f".{target.name}.old.{uuid.uuid4().hex[:8]}")
    for child in target.iterdir():
        if child.is_dir() and not (new / child.name).exists():
            shutil.copytree(child, new / child.name)
    os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def load_checkpoint(directory: Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Open a checkpoint directory. Nothing in it is executed.

    Raises:
        CheckpointError: when a file is missing, cut off, or does not fit the others.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise CheckpointError(f"모델 폴더 {directory}이(가) 없어요.")
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if not (directory / name).is_file():
            raise CheckpointError(f"{directory}은(는) 모델 폴더가 아니에요: {name} 파일이 없어요.")
    try:
        config = GPTConfig.from_llama(json.loads((directory / CONFIG).read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{directory / CONFIG} 파일을 읽을 수 없어요: {error}") from error
    try:
        tokenizer = Tokenizer.load(directory / TOKENIZER)
    except ValueError as error:
        raise CheckpointError(
            f"{directory / TOKENIZER} 파일이 이 프로젝트의 토크나이저가 아니거나 깨졌어요."
        ) from error
    if len(tokenizer) != config.vocab_size:
        raise CheckpointError(
            f"{directory}: 토크나이저는 {len(tokenizer)}조각인데 "
            f"config.json은 {config.vocab_size}조각이라고 해요."
        )
    try:
        tensors = load_file(directory / WEIGHTS)
        state = from_llama(tensors, config.layers)
    except (SafetensorError, KeyError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{directory / WEIGHTS} 파일이 깨졌거나 덜 받아졌어요. 다시 받아 주세요."
        ) from error
    try:
        model = GPT(config)
        if to_llama(state).keys() != tensors.keys():
            raise RuntimeError("tensors that config.json does not ask for")
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except RuntimeError as error:
        raise CheckpointError(
            f"{directory / WEIGHTS}의 크기가 config.json과 맞지 않아요."
        ) from error
    training = {}
    if (directory / "training.json").is_file():
        try:
            training = json.loads((directory / "training.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise CheckpointError(f"{directory / 'training.json'} 파일이 깨졌어요.") from error
    digest = hashlib.sha256((directory / WEIGHTS).read_bytes()).hexdigest()[:16]
    return Checkpoint(model.to(device).eval(), tokenizer, directory, digest, training)
