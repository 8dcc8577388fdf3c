"""The training loop. It knows examples (ids and which of them to learn), not where they come from.

Every batch is a function of (seed, stage, step) alone, so a resumed run sees what an uninterrupted
one would have seen, and any number of processes share one and the same global batch. What dropout
leaves out depends on the process as well.
"""

from __future__ import annotations

import copy
import ctypes
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from model.checkpoint import CheckpointError, write_atomically
from model.gpt import GPT
from model.loss import summed_cross_entropy
from model.optim import MuonAdamW, fast_bfloat16

# Documents at least this share of the longest one's length are padded to it.
_SAME_LENGTH = 0.7

RESUME_FILE, METRICS_FILE = "resume.safetensors", "metrics.jsonl"


@dataclass(frozen=True)
class Example:
    """Token ids of one document; `learn[i]` says whether the model is to learn to say `ids[i]`."""

    ids: list[int]
    learn: list[bool]


@dataclass(frozen=True)
class Stage:
    """A part of the training with data of its own. `sample` draws one example with the given rng."""

    name: str
    steps: int
    sample: Callable[[random.Random], Example]


@dataclass(frozen=True)
class TrainSettings:
    """Knobs of the loop.

    Args:
        batch_tokens: tokens a step, over all processes.
        muon_lr, adam_lr: peak learning rates.
        dropout: share of each block's output that is left out.
        warmup, decay: shares of a stage's steps in which the rate rises, and falls to zero.
        save_every: steps between two resume points.
        evaluate_every: steps between two evaluations.
    """

    seed: int = 1
    batch_tokens: int = 3072
    muon_lr: float = 0.01
    adam_lr: float = 0.003
    dropout: float = 0.0
    warmup: float = 0.02
    decay: float = 0.8
    clip: float = 1.0
    save_every: int = 300
    evaluate_every: int = 300


@dataclass(frozen=True)
class Batch:
    """Whole documents one after another in a single row; `ids`, `targets`, `positions` `(token,)`.

    Attributes:
        ids: the documents' tokens without the last of each.
        targets: the token that follows each; -1 where it is not to be learnt.
        positions: place of each token in its document.
        documents: how the row is divided, as `GPT.hidden` takes it.
    """

    ids: Tensor
    targets: Tensor
    positions: Tensor
    documents: list[tuple[int, int]]

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        tensors = (t.to(device) for t in (self.ids, self.targets, self.positions))
        return Batch(*tensors, self.documents)


@dataclass
class Progress:
    """What a progress bar or a plot wants to know."""

    stage: str
    step: int
    steps: int
    done: float
    loss: float
    tokens_per_second: float
    seconds_left: float
    metrics: dict[str, Any] = field(default_factory=dict)


class Interrupted(Exception):
    """Training stopped on request; it can be resumed."""


def draw(stage: Stage, step: int, settings: TrainSettings, context: int) -> list[Example]:
    """The examples of one step: the same for every process and every repetition.

    The one that reaches `batch_tokens` is the last, and whole. Those too long for the context, or
    with nothing to predict, are left out.

    Raises:
        ValueError: when nothing that is drawn can be used.
    """
    rng = random.Random(f"{settings.seed}/{stage.name}/{step}")
    examples: list[Example] = []
    room, misses = settings.batch_tokens, 0
    while room > 0:
        example = stage.sample(rng)
        size = len(example.ids) - 1
        if 1 <= size <= context:
            examples.append(example)
            room -= size
            misses = 0
        elif (misses := misses + 1) == 1000:
            raise ValueError(f"no document of stage {stage.name!r} fits into {context} tokens")
    return examples


def pack(examples: Sequence[Example]) -> Batch:
    """Lay examples out by length; neighbours of nearly one length are padded to the same.

    Targets stand one place before the token they name, as next-token prediction has it.
    """
    ordered = sorted(examples, key=lambda example: len(example.ids), reverse=True)
    documents: list[tuple[int, int]] = []
    ids: list[int] = []
    targets: list[int] = []
    positions: list[int] = []
    length = 0
    for example in ordered:
        size = len(example.ids) - 1
        if size < _SAME_LENGTH * length or not documents:
            length = size
            documents.append((0, length))
        documents[-1] = (documents[-1][0] + 1, length)
        padding = [0] * (length - size)
        ids += example.ids[:-1] + padding
        wanted = zip(example.ids[1:], example.learn[1:], strict=True)
        targets += [token if learn else -1 for token, learn in wanted] + [-1] * len(padding)
        positions += range(length)
    return Batch(torch.tensor(ids), torch.tensor(targets), torch.tensor(positions), documents)


def summed_loss(model: GPT, batch: Batch) -> Tensor:
    """Cross-entropy in nats, summed over the tokens to learn; logits only where there is a loss."""
    hidden = model.hidden(batch.ids[None], batch.positions[None], batch.documents)[0]
    wanted = batch.targets >= 0
    return summed_cross_entropy(hidden[wanted], model.embedding.weight, batch.targets[wanted])


def schedule(step: int, steps: int, settings: TrainSettings) -> float:
    """Share of the peak rate: linear rise, level, linear fall."""
    rise = max(1, round(steps * settings.warmup))
    fall = max(1, round(steps * settings.decay))
    return min(1.0, (step + 1) / rise, (steps - step) / fall)


class Trainer:
    """Runs stages one after another; can be stopped anywhere and resumed.

    Args:
        model: on its device; trained in place.
        folder: where `resume.safetensors` and `metrics.jsonl` go.
        fingerprint: names data and settings; a resume point of another one is refused.
        on_progress: called after every step.
        evaluate: called now and then with (model, stage name); its numbers join the metrics.
        on_stage_end: called with (model, stage name) when a stage is complete.
        should_stop: asked after every step.
    """

    def __init__(
        self,
        model: GPT,
        stages: list[Stage],
        settings: TrainSettings,
        folder: Path,
        fingerprint: str,
        *,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        evaluate: Callable[[GPT, str], dict[str, Any]] | None = None,
        on_stage_end: Callable[[GPT, str], None] = lambda model, stage: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.model, self.stages, self.settings = model, stages, settings
        model.dropout = settings.dropout
        self.folder, self.fingerprint = Path(folder), fingerprint
        self.on_progress, self.evaluate = on_progress, evaluate
        self.on_stage_end, self.should_stop = on_stage_end, should_stop
        self.rank, self.world = process_rank()
        self.device = next(model.parameters()).device
        self.optimizer = self._fresh_optimizer()
        self.stage_index = self.step = 0
        self.seconds = 0.0
        self._updating = False  # True while the weights are ahead of `step`

    def _fresh_optimizer(self) -> MuonAdamW:
        return MuonAdamW(self.model, self.settings.muon_lr, self.settings.adam_lr)

    def _share(self, examples: Sequence[Example]) -> list[Example]:
        """What this process computes; one that is left without reads a document and learns none."""
        share = list(examples[self.rank :: self.world])
        return share or [replace(examples[0], learn=[False] * len(examples[0].learn))]

    def train_step(self, stage: Stage, step: int) -> float:
        """One update. Returns the mean loss in nats per learnt token."""
        examples = draw(stage, step, self.settings, self.model.config.context)
        count = sum(sum(example.learn[1:]) for example in examples)
        if self.settings.dropout:
            place = f"{self.settings.seed}/{stage.name}/{step}/{self.rank}"
            torch.manual_seed(random.Random(place).getrandbits(63))
        mine = pack(self._share(examples)).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, fast_bfloat16(self.device)):
            loss = summed_loss(self.model, mine) / max(1, count)
        self.model.zero_grad()
        loss.backward()
        total = loss.detach()
        if self.world > 1:
            for parameter in self.model.parameters():
                dist.all_reduce(parameter.grad)
            dist.all_reduce(total)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self._updating = True
        self.optimizer.step(schedule(step, stage.steps, self.settings))
        return float(total)

    def run(self, *, resume: bool = False) -> None:
        """Train all stages. The last resume point stays, for the case that storing the result fails.

        Raises:
            Interrupted: when `should_stop` said so or Ctrl+C came; a resume point is written first.
            CheckpointError: when a resume point cannot be read, fits other data, or cannot be
                written.
        """
        if resume:
            self._load()
        elif self.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / METRICS_FILE).unlink(missing_ok=True)
        self.model.train()
        try:
            while self.stage_index < len(self.stages):
                self._run_stage(self.stages[self.stage_index])
                if self.rank == 0:
                    self.on_stage_end(self.model, self.stages[self.stage_index].name)
                self.stage_index, self.step = self.stage_index + 1, 0
                self.optimizer = self._fresh_optimizer()
                self.save()
        except (KeyboardInterrupt, Interrupted):
            if not self._updating:  # half an update is no resume point; the last one stands
                self.save()
            raise Interrupted from None
        finally:
            self.model.eval()

    def _run_stage(self, stage: Stage) -> None:
        total = sum(s.steps for s in self.stages)
        before = sum(s.steps for s in self.stages[: self.stage_index])
        rate = None
        while self.step < stage.steps:
            start = time.perf_counter()
            loss = self.train_step(stage, self.step)
            took = time.perf_counter() - start
            self.step += 1
            self._updating = False
            self.seconds += took
            rate = took if rate is None else 0.95 * rate + 0.05 * took
            metrics: dict[str, Any] = {}
            last = self.step == stage.steps
            if self.evaluate and (self.step % self.settings.evaluate_every == 0 or last):
                self.model.eval()
                with torch.inference_mode():
                    metrics = self.evaluate(self.model, stage.name)
                self.model.train()
            done = before + self.step
            progress = Progress(
                stage.name,
                self.step,
                stage.steps,
                done / total,
                loss,
                self.settings.batch_tokens / rate,
                rate * (total - done),
                metrics,
            )
            if self.rank == 0:
                self._record(progress)
                self.on_progress(progress)
            if self.should_stop():
                raise Interrupted
            if self.step % self.settings.save_every == 0:
                self.save()

    def _record(self, progress: Progress) -> None:
        line = {
            "stage": progress.stage,
            "step": progress.step,
            "loss": round(progress.loss, 5),
            "seconds": round(self.seconds, 2),
            **progress.metrics,
        }
        with open(self.folder / METRICS_FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def save(self) -> None:
        """Write the resume point, whole or not at all."""
        if self.rank:
            return
        tensors = {f"model.{n}": p.detach().cpu() for n, p in self.model.named_parameters()}
        tensors |= {f"optim.{n}": t.cpu() for n, t in self.optimizer.state().items()}
        meta = {
            "stage": str(self.stage_index),
            "step": str(self.step),
            "seconds": str(self.seconds),
            "fingerprint": self.fingerprint,
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            content = save({n: t.contiguous() for n, t in tensors.items()}, metadata=meta)
            write_atomically(self.folder / RESUME_FILE, content)
        except OSError as error:
            raise CheckpointError(
                f"학습 중간 저장을 {self.folder}에 쓰지 못했어요: {error.strerror or error}. "
                "쓰던 모델은 그대로 있어요."
            ) from error

    def _load(self) -> None:
        path = self.folder / RESUME_FILE
        if not path.is_file():
            raise CheckpointError(f"이어서 할 학습이 없어요: {path} 파일이 없어요.")
        try:
            with safe_open(path, framework="pt") as file:
                meta = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} 파일이 깨져서 이어서 할 수 없어요.") from error
        if meta.get("fingerprint") != self.fingerprint:
            raise CheckpointError(
                f"{path}은(는) 다른 용어집이나 설정으로 하던 학습이에요. "
                "같은 용어집과 설정으로 이어 주세요."
            )
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors[f"model.{name}"])
        optimizer = {n.removeprefix("optim."): t for n, t in tensors.items() if n[:6] == "optim."}
        self.optimizer.load_state(optimizer)
        self.stage_index, self.step = int(meta["stage"]), int(meta["step"])
        self.seconds = float(meta["seconds"])
        if self.rank == 0:
            self._forget_metrics_after_resume_point()

    def _forget_metrics_after_resume_point(self) -> None:
        path = self.folder / METRICS_FILE
        order = {stage.name: i for i, stage in enumerate(self.stages)}
        kept = []
        with suppress(FileNotFoundError):
            for text in path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, KeyError):
                    line = json.loads(text)
                    if (order[line["stage"]], line["step"]) <= (self.stage_index, self.step):
                        kept.append(text)
            write_atomically(path, "".join(f"{text}\n" for text in kept).encode())


def process_rank() -> tuple[int, int]:
    """(rank, number of processes) as `torchrun` started us; (0, 1) when it did not."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def _keep_freed_memory() -> None:
    """Ask glibc to keep what a step frees for the next one, in one heap for all threads.

    Otherwise every step's activations are handed back to the system and fetched again, page by
    page, which costs up to a third of a step's time.
    """
    trim_threshold, mmap_threshold, arenas = -1, -3, -8
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 1 << 25)  # the highest it takes
        libc.mallopt(trim_threshold, (1 << 31) - 1)
        libc.mallopt(arenas, 1)


def start_processes() -> torch.device:
    """Join the processes that `torchrun` started, if any, and choose this one's device."""
    _, world = process_rank()
    device = torch.device("cpu")
    _keep_freed_memory()
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def agree(value: Any) -> Any:
    """Rank 0's value, in every process."""
    if process_rank()[1] == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def seconds_per_step(model: GPT, stage: Stage, settings: TrainSettings, folder: Path) -> float:
    """Time a step of this stage on this machine, on a copy of the model that is thrown away."""
    trial = Trainer(copy.deepcopy(model), [stage], settings, folder, "")
    trial.model.train()
    trial.train_step(stage, 0)
    start = time.perf_counter()
    for step in range(1, 5):
        trial.train_step(stage, step)
    return (time.perf_counter() - start) / 4


def settings_fingerprint(settings: TrainSettings, **more: Any) -> str:
    """A string that changes whenever anything that shapes the result changes."""
    knobs = asdict(settings)
    for free in ("save_every", "evaluate_every"):
        knobs.pop(free)
    return json.dumps({**knobs, **more}, sort_keys=True, ensure_ascii=False)
