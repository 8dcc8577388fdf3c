from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("distributed_run.py")


def losses(folder):
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return torch.tensor([json.loads(line)["loss"] for line in text.splitlines()])


def start(folder, *launcher):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_train_like_one(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    start(one)
    start(two, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    torch.testing.assert_close(losses(two), losses(one), atol=1e-4, rtol=0)
    alone, first, second = (
        load_file(path) for path in (one / "rank0.safetensors", *sorted(two.glob("rank*")))
    )
    for name, tensor in alone.items():
        torch.testing.assert_close(first[name], tensor, atol=1e-3, rtol=0)
        assert torch.equal(first[name], second[name])
