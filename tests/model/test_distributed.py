from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from distributed_run import train
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("distributed_run.py")


def losses(folder):
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return torch.tensor([json.loads(line)["loss"] for line in text.splitlines()])


def test_two_processes_train_like_one(tmp_path, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    for module in ("optim", "train"):
        monkeypatch.setattr(f"model.{module}.fast_bfloat16", lambda device: False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    train(one)
    launcher = "-m torch.distributed.run --standalone --nproc_per_node=2".split()
    done = subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), str(two)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    torch.testing.assert_close(losses(two), losses(one), atol=1e-4, rtol=0)
    alone, first, second = (
        load_file(path) for path in (one / "rank0.safetensors", *sorted(two.glob("rank*")))
    )
    for name, tensor in alone.items():
        torch.testing.assert_close(first[name], tensor, atol=1e-3, rtol=0)
        assert torch.equal(first[name], second[name])
