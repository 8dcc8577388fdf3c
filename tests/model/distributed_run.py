"""A tiny training that test_distributed.py runs alone, and under `torch.distributed.run`."""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.distributed as dist
from safetensors.torch import save_file

import model.optim
import model.train
from model.config import GPTConfig
from model.gpt import GPT
from model.train import Example, Stage, Trainer, TrainSettings, process_rank, start_processes


def sample(rng: random.Random) -> Example:
    start, size = rng.randrange(8, 60), rng.randrange(2, 14)
    return Example([start + i for i in range(size)], [True] * size)


def train(folder: Path) -> None:
    device = start_processes()
    network = GPT(GPTConfig(97, 32, 2, 4, 48, 64)).to(device)
    network.initialise(1)
    # A dozen documents for two processes in each step of one stage; in the other a single one,
    # which leaves one process with nothing to learn.
    settings = TrainSettings(batch_tokens=80)
    Trainer(network, [Stage("chat", 6, sample)], settings, folder, "same").run()
    save_file(network.state_dict(), folder / f"rank{process_rank()[0]}.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for module in (model.optim, model.train):
        module.fast_bfloat16 = lambda device: False  # its rounding would hide a real difference
    train(Path(sys.argv[1]))
    dist.barrier()  # none leaves while another still talks to it
    dist.destroy_process_group()
