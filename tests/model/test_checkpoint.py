from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint import (
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
    write_atomically,
)

FILES = ("config.json", "model.safetensors", "tokenizer.model")


@pytest.fixture
def folder(tmp_path, weights_folder):
    """A copy of a good checkpoint, to be damaged."""
    return Path(shutil.copytree(weights_folder, tmp_path / "weights"))


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refusal(folder):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    message = str(caught.value)
    assert any("가" <= letter <= "힣" for letter in message)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_round_trip(tmp_path, make_gpt, make_ids, tokenizer, dtype):
    model = make_gpt(len(tokenizer), seed=5)
    training = {"seed": 1, "결과": [0.5]}
    save_checkpoint(tmp_path / "out", model, tokenizer, training, dtype=dtype)
    read = load_checkpoint(tmp_path / "out")
    kind = getattr(torch, dtype)
    for name, tensor in model.state_dict().items():
        assert torch.equal(read.model.state_dict()[name], tensor.to(kind).float()), name
    assert read.training == training
    assert read.model.config.dtype == dtype
    assert read.tokenizer.model == tokenizer.model
    assert not read.model.training
    with torch.inference_mode():
        model.load_state_dict({n: t.to(kind).float() for n, t in model.state_dict().items()})
        ids = make_ids(1, 12)
        assert torch.equal(read.model(ids), model(ids))


def test_the_file_has_llamas_names_and_shapes(weights_folder):
    tensors = load_file(weights_folder / "model.safetensors")
    wanted = {"model.embed_tokens.weight": (3000, 32), "model.norm.weight": (32,)}
    for i in (0, 1):
        p = f"model.layers.{i}."
        wanted |= {f"{p}self_attn.{w}_proj.weight": (32, 32) for w in "qkvo"}
        wanted |= {f"{p}mlp.{w}_proj.weight": (48, 32) for w in ("gate", "up")}
        wanted |= {f"{p}mlp.down_proj.weight": (32, 48)}
        wanted |= {f"{p}input_layernorm.weight": (32,)}
        wanted |= {f"{p}post_attention_layernorm.weight": (32,)}
    assert {name: tuple(t.shape) for name, t in tensors.items()} == wanted
    assert {t.dtype for t in tensors.values()} == {torch.float16}
    config = json.loads((weights_folder / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (
        2,
        [7, 3],
        0,
    )


def test_the_hash_names_the_weights(folder, make_gpt, tokenizer):
    first = load_checkpoint(folder).hash
    assert load_checkpoint(folder).hash == first
    save_checkpoint(folder, make_gpt(len(tokenizer), seed=9), tokenizer, {})
    assert load_checkpoint(folder).hash != first


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert name in refusal(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 1, 7, 0.1, 0.5, 0.9, -1])
def test_a_cut_off_file_is_said(folder, name, keep):
    raw = (folder / name).read_bytes()
    end = int(len(raw) * keep) if isinstance(keep, float) else keep
    if name == "config.json" and keep == -1:
        end = -4  # the last line break alone is no loss
    (folder / name).write_bytes(raw[:end])
    assert str(folder) in refusal(folder)


@pytest.mark.parametrize("name", [*FILES, "training.json"])
@pytest.mark.parametrize(
    "raw", [b"\x80\x02\xff" * 500, b"<html>404</html>", b"version https://git-lfs.github.com/spec"]
)
def test_a_foreign_file_is_said(folder, name, raw):
    (folder / name).write_bytes(raw)
    assert name in refusal(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "bert"},
        {"tie_word_embeddings": False},
        {"hidden_size": "32"},
        {"hidden_size": 0},
        {"num_attention_heads": 3},
        {"num_key_value_heads": 2},
        {"num_hidden_layers": 3},
        {"num_hidden_layers": 1},
        {"intermediate_size": 64},
        {"hidden_size": 64},
        {"hidden_size": 2**24},
        {"vocab_size": 2999},
        {"vocab_size": None},
        {"rope_theta": None},
        {"torch_dtype": "int4"},
    ],
)
def test_a_config_that_does_not_fit_is_said(folder, change):
    path = folder / "config.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(raw | change), encoding="utf-8")
    refusal(folder)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"', "{}", "{"])
def test_a_config_that_is_no_object_is_said(folder, text):
    (folder / "config.json").write_text(text, encoding="utf-8")
    assert "config.json" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("model.layers.0.self_attn.k_proj.weight", torch.zeros(32, 16)),
        ("model.layers.0.self_attn.k_proj.weight", torch.zeros(())),
        ("model.layers.0.mlp.up_proj.weight", torch.zeros(48)),
        ("model.embed_tokens.weight", torch.zeros(10, 32)),
        ("model.norm.weight", torch.zeros(31)),
        ("model.layers.1.mlp.down_proj.weight", None),
    ],
)
def test_a_tensor_of_another_shape_is_said(folder, name, tensor):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    save_file(tensors, path)
    assert "model.safetensors" in refusal(folder)


def test_what_is_no_directory_is_said(tmp_path, folder):
    assert "없어요" in refusal(tmp_path / "nowhere")
    refusal(folder / "config.json")
    (tmp_path / "empty").mkdir()
    assert "모델 폴더가 아니에요" in refusal(tmp_path / "empty")


# -- writing ------------------------------------------------------------------------------------


class FullDisk:
    """Lets some writes through and fails the one after them."""

    def __init__(self, monkeypatch, good):
        self.left = good
        for kind in ("write_bytes", "write_text", "mkdir"):
            real = getattr(Path, kind)
            monkeypatch.setattr(Path, kind, self._wrapped(real))

    def _wrapped(self, real):
        def write(path, *args, **kwargs):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(path, *args, **kwargs)

        return write


@pytest.mark.parametrize("good", range(7))
@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk_leaves_everything_as_it_was(
    tmp_path, folder, make_gpt, tokenizer, monkeypatch, good, there
):
    target = folder if there else tmp_path / "new"
    before = contents(tmp_path)

    def extra(unfinished):
        (unfinished / "glossary.jsonl").write_text("{}", encoding="utf-8")

    model = make_gpt(len(tokenizer), seed=9)
    with monkeypatch.context() as patch:
        FullDisk(patch, good)
        with pytest.raises(CheckpointError, match="저장하지 못했어요") as caught:
            save_checkpoint(target, model, tokenizer, {}, extra=extra)
    assert "쓰던 모델은 그대로" in str(caught.value)
    assert contents(tmp_path) == before
    assert {p.name for p in tmp_path.iterdir()} == {"weights"}


def test_a_failing_swap_puts_the_old_one_back(folder, make_gpt, tokenizer, monkeypatch):
    before = contents(folder)
    real, calls = os.replace, []

    def second_fails(a, b):
        calls.append(a)
        if len(calls) == 2:
            raise OSError(errno.EIO, "input/output error")
        return real(a, b)

    monkeypatch.setattr("model.checkpoint.os.replace", second_fails)
    with pytest.raises(CheckpointError):
        save_checkpoint(folder, make_gpt(len(tokenizer), seed=9), tokenizer, {})
    assert contents(folder) == before
    assert {p.name for p in folder.parent.iterdir()} == {"weights"}


def test_a_new_checkpoint_replaces_the_files_and_keeps_other_folders(folder, make_gpt, tokenizer):
    (folder / "old.txt").write_text("x")
    (folder / ".training").mkdir()
    (folder / ".training" / "plan.json").write_text("{}")
    save_checkpoint(folder, make_gpt(len(tokenizer), seed=9), tokenizer, {"steps": 1})
    assert not (folder / "old.txt").exists()
    assert (folder / ".training" / "plan.json").read_text() == "{}"
    assert load_checkpoint(folder).training == {"steps": 1}
    assert {p.name for p in folder.parent.iterdir()} == {"weights"}


def test_write_atomically_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("model.checkpoint.os.fsync", fail)
        with pytest.raises(OSError):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
