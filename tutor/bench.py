"""How fast it is, as ratios against other programs on the same weights, in one run.

Every contender gets the same weights, prompts, lengths and cores, is warmed up first, and is
measured in turn with the others, round after round; what is shown are medians. Nothing here
draws: `BenchReport.tables` gives text, and the command line puts it on the screen.
"""

from __future__ import annotations

import copy
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.checkpoint import load_checkpoint, to_llama
from model.config import GPTConfig
from model.engine import Engine
from model.gpt import GPT
from model.optim import fast_bfloat16
from model.tokenizer import SPECIAL_NAMES
from model.train import Example, Stage, Trainer, TrainSettings, draw, pack
from tutor.glossary import load_glossary
from tutor.paths import GLOSSARY, WEIGHTS
from tutor.retrain import Curriculum

BATCH = 16
Sample = Callable[[random.Random], Example]
Continue = Callable[[list[list[int]], int], Any]
"""Continues every prompt (all of one length) by exactly so many tokens, greedily."""


@dataclass(frozen=True)
class Row:
    """One measured number.

    Attributes:
        key: a stable name for tests and documents.
        section: the table that it belongs to.
        unit: "ms", "토큰/초", "GFLOP/s", "%" or "배".
        goal: what it should reach: at least for "배", at most for "ms"; None when there is none.
        detail: threads, precision, lengths.
    """

    key: str
    section: str
    name: str
    value: float
    unit: str
    goal: float | None = None
    detail: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.unit == "ms" else self.value >= self.goal

    def cells(self) -> list[str]:
        """Name, value, goal and verdict, detail: as one line of a table."""
        digits = 0 if self.value >= 1000 else 1 if self.value >= 100 else 2
        goal = ""
        if self.goal is not None:
            sign = "≤" if self.unit == "ms" else "≥"
            goal = f"{sign} {self.goal:g} {'✓' if self.passed else '✗'}"
        return [self.name, f"{self.value:,.{digits}f} {self.unit}", goal, self.detail]


@dataclass
class BenchReport:
    """Everything that one run measured."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, key: str) -> Row:
        return next(row for row in self.rows if row.key == key)

    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """(title, headings, lines of cells), one a section."""
        sections = dict.fromkeys(row.section for row in self.rows)
        headings = ["무엇을", "중앙값", "목표", "조건"]
        return [
            (section, headings, [row.cells() for row in self.rows if row.section == section])
            for section in sections
        ]

    def to_json(self) -> dict[str, Any]:
        """The same for machines."""
        return {"rows": [asdict(r) | {"passed": r.passed} for r in self.rows], "notes": self.notes}


@dataclass(frozen=True)
class Lengths:
    """How long everything is.

    Args:
        prompt, new: tokens read and tokens written; together the context that is measured.
        short_prompt, short_new: the same for an everyday conversation.
        first: tokens of the prompt whose first answered token is timed.
        rounds: measurements that a median is taken of.
        batch_tokens: tokens of one training step.
        row_tokens: length of the plain loop's rows.
        matrix: side of the product that the machine's peak is measured with.
    """

    prompt: int = 192
    new: int = 64
    short_prompt: int = 40
    short_new: int = 64
    first: int = 60
    rounds: int = 5
    batch_tokens: int = 3072
    row_tokens: int = 256
    matrix: int = 2048


QUICK = Lengths(16, 16, 8, 8, 10, 3, 256, 64, 128)


@contextmanager
def threads(count: int):
    """PyTorch on so many threads, then as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seconds(work: Callable[[], Any]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def medians(works: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Measure all in turn, round after round, after one round that does not count."""
    results: dict[str, list[float]] = {key: [] for key in works}
    for turn in range(rounds + 1):
        for key, work in works.items():
            value = work()
            if turn:
                results[key].append(value)
    return {key: statistics.median(values) for key, values in results.items()}


def token_seconds(go_on: Continue, prompts: list[list[int]], new: int) -> Callable[[], float]:
    """Measures the seconds from one token to the next; reading the prompt is taken out."""

    def measure() -> float:
        one = seconds(lambda: go_on(prompts, 1))
        return max(seconds(lambda: go_on(prompts, new + 1)) - one, 1e-9) / new

    return measure


# --- the contenders -------------------------------------------------------------------------


def ours(engine: Engine, capture: bool) -> Continue:
    """Our engine, streaming; with `capture`, every step carries every head's attention row."""

    def go_on(prompts: list[list[int]], new: int) -> list[list[int]]:
        running = [engine.submit(p, max_new_tokens=new, capture=capture) for p in prompts]
        said = [[step.token for step in generation] for generation in running]
        if any(len(tokens) != new for tokens in said):
            raise RuntimeError("an answer ended early")
        return said

    return go_on


def without_cache(gpt: GPT) -> Continue:
    """The loop of a first tutorial: the whole text through the network for every token."""

    @torch.inference_mode()
    def go_on(prompts: list[list[int]], new: int) -> Tensor:
        ids = torch.tensor(prompts)
        for _ in range(new):
            best = gpt.logits(gpt.hidden(ids)[:, -1:]).argmax(dim=-1)
            ids = torch.cat((ids, best), dim=1)
        return ids

    return go_on


def as_transformers(gpt: GPT, attention: str) -> Any:
    """The same weights, not copied, as a `LlamaForCausalLM`."""
    transformers = import_module("transformers")
    config = transformers.LlamaConfig(
        **gpt.config.to_llama({"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0})
    )
    config.dtype = torch.float32
    config._attn_implementation = attention
    llama = transformers.LlamaForCausalLM(config).eval()
    state = {n: t.detach() for n, t in to_llama(gpt.state_dict()).items()}
    llama.load_state_dict(state, strict=False, assign=True)
    llama.tie_weights()
    return llama


def with_transformers(gpt: GPT, attention: bool) -> Continue:
    """`transformers` `generate`, greedy; with `attention` it returns the attention weights."""
    llama = as_transformers(gpt, "eager" if attention else "sdpa")
    more = {"output_attentions": True, "return_dict_in_generate": True} if attention else {}

    @torch.inference_mode()
    def go_on(prompts: list[list[int]], new: int) -> Any:
        ids = torch.tensor(prompts)
        mask = torch.ones_like(ids)
        out = llama.generate(ids, attention_mask=mask, max_new_tokens=new, do_sample=False, **more)
        tokens = out.sequences if attention else out
        if tokens.shape[1] != ids.shape[1] + new:
            raise RuntimeError("an answer ended early")
        return tokens

    return go_on


def with_ctranslate2(gpt: GPT) -> Continue:
    """CTranslate2 in float32 on one thread. It returns no attention."""
    ctranslate2 = import_module("ctranslate2")
    specs = import_module("ctranslate2.specs")
    c = gpt.config
    spec = specs.TransformerDecoderModelSpec.from_config(
        c.layers,
        c.heads,
        activation=specs.common_spec.Activation.SWISH,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,
        rotary_interleave=False,
        rotary_base=c.rope_theta,
    )
    whole = spec.decoder
    whole.scale_embeddings = False
    whole.embeddings.weight = whole.projection.weight = _array(gpt.embedding.weight)
    whole.layer_norm.gamma = _array(gpt.norm.weight)
    for theirs, block in zip(whole.layer, gpt.blocks, strict=True):
        theirs.self_attention.layer_norm.gamma = _array(block.attention_norm.weight)
        theirs.self_attention.linear[0].weight = _array(block.attention.qkv.weight)
        theirs.self_attention.linear[1].weight = _array(block.attention.out.weight)
        theirs.ffn.layer_norm.gamma = _array(block.mlp_norm.weight)
        gate, up = np.split(_array(block.mlp.gate_up.weight), 2)
        theirs.ffn.linear_0.weight, theirs.ffn.linear_0_noact.weight = gate, up
        theirs.ffn.linear_1.weight = _array(block.mlp.down.weight)
    names = [f"<{i}>" for i in range(c.vocab_size)]
    spec.register_vocabulary(names)
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = names[:3]
    spec.config.layer_norm_epsilon = c.norm_eps
    spec.validate()
    spec.optimize(quantization="float32")
    with tempfile.TemporaryDirectory() as folder:
        spec.save(folder)
        generator = ctranslate2.Generator(folder, compute_type="float32", intra_threads=1)

    def go_on(prompts: list[list[int]], new: int) -> Any:
        return generator.generate_batch(
            [[names[i] for i in prompt] for prompt in prompts],
            max_length=new,
            min_length=new,
            include_prompt_in_result=False,
            end_token=[],
        )

    return go_on


def with_onnxruntime(gpt: GPT) -> Continue:
    """ONNX Runtime in float32 on one thread, with its own fused attention and cache in place."""
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        onnx_graph(gpt), options, providers=["CPUExecutionProvider"]
    )
    c = gpt.config
    binding = session.io_binding()
    shape = (1, c.heads, c.context, c.head_size)
    for name in (f"{kind}{layer}" for layer in range(c.layers) for kind in ("key", "value")):
        cache = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
        binding.bind_ortvalue_input(f"past_{name}", cache)
        binding.bind_ortvalue_output(f"present_{name}", cache)
    binding.bind_output("next")

    def go_on(prompts: list[list[int]], new: int) -> list[int]:
        (ids,), said, length = prompts, [], 0
        for _ in range(new):
            length += len(ids)
            binding.bind_cpu_input("ids", np.array([ids], np.int64))
            binding.bind_cpu_input("last", np.array([length - 1], np.int32))
            binding.bind_cpu_input("length", np.array(length, np.int32))
            session.run_with_iobinding(binding)
            ids = [int(binding.get_outputs()[-1].numpy().item())]
            said += ids
        return said

    return go_on


def onnx_graph(gpt: GPT) -> bytes:
    """One step as an ONNX model: ids and the cache in, the likeliest next id and the cache out."""
    import_module("onnx")
    from onnx import TensorProto, helper, numpy_helper

    c = gpt.config
    nodes, constants = [], []
    int64, int32, float32 = TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT
    inputs = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("ids", int64, [1, "new"]),
            ("last", int32, [1]),
            ("length", int32, []),
        )
    ]
    outputs = []

    def constant(value: Any) -> str:
        name = f"constant{len(constants)}"
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(kind: str, *given: str, out: Sequence[str] = (), domain: str = "", **more: Any) -> str:
        out = list(out) or [f"{kind}{len(nodes)}"]
        nodes.append(helper.make_node(kind, given, out, domain=domain, **more))
        return out[0]

    def norm(x: str, weight: Tensor) -> str:
        scale = constant(_array(weight))
        return add("SimplifiedLayerNormalization", x, scale, axis=-1, epsilon=c.norm_eps)

    def linear(x: str, weight: np.ndarray) -> str:
        return add("MatMul", x, constant(weight.T))

    half = c.head_size // 2
    cos, sin = constant(_array(gpt.cos[:, :half])), constant(_array(gpt.sin[:, :half]))
    x = add("Gather", constant(_array(gpt.embedding.weight)), "ids")
    for i, block in enumerate(gpt.blocks):
        shape = [1, c.heads, c.context, c.head_size]
        for kind in ("key", "value"):
            inputs.append(helper.make_tensor_value_info(f"past_{kind}{i}", float32, shape))
            outputs.append(helper.make_tensor_value_info(f"present_{kind}{i}", float32, shape))
        qkv = linear(norm(x, block.attention_norm.weight), _array(block.attention.qkv.weight))
        cache = (f"past_key{i}", f"past_value{i}")
        mixed = add(
            "GroupQueryAttention",
            *(qkv, "", "", *cache, "last", "length", cos, sin),
            out=[f"mixed{i}", f"present_key{i}", f"present_value{i}"],
            domain="com.microsoft",
            num_heads=c.heads,
            kv_num_heads=c.heads,
            do_rotary=1,
        )
        x = add("Add", x, linear(mixed, _array(block.attention.out.weight)))
        h = norm(x, block.mlp_norm.weight)
        gate, up = (linear(h, w) for w in np.split(_array(block.mlp.gate_up.weight), 2))
        h = add("Mul", add("Mul", gate, add("Sigmoid", gate)), up)
        x = add("Add", x, linear(h, _array(block.mlp.down.weight)))
    x = add("Gather", x, constant(np.array([-1])), axis=1)
    logits = linear(norm(x, gpt.norm.weight), _array(gpt.embedding.weight))
    add("ArgMax", logits, out=["next"], axis=-1, keepdims=0)
    outputs.append(helper.make_tensor_value_info("next", int64, [1, 1]))
    graph = helper.make_graph(nodes, "gpt", inputs, outputs, constants)
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=9)
    return model.SerializeToString()


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().numpy()


# --- decoding -------------------------------------------------------------------------------


def _prompts(config: GPTConfig, count: int, tokens: int) -> list[list[int]]:
    rng = random.Random(1)
    ordinary = range(len(SPECIAL_NAMES), config.vocab_size)
    return [rng.choices(ordinary, k=tokens) for _ in range(count)]


def bench_decoding(gpt: GPT, lengths: Lengths, cores: int) -> BenchReport:
    """Our streaming against the others, our batch against one conversation, the first token."""
    report = BenchReport()
    engine = Engine(gpt, BATCH, 1, end=None)  # all contenders write equally much
    contenders: dict[str, tuple[str, Continue]] = {
        "ours": ("우리: 스트리밍 + 모든 어텐션", ours(engine, True)),
        "no_cache": ("캐시 없는 반복문", without_cache(gpt)),
    }
    prompts = _prompts(gpt.config, BATCH, lengths.prompt)
    short = _prompts(gpt.config, BATCH, lengths.short_prompt)
    first = _prompts(gpt.config, 1, lengths.first)
    peers = [
        ("transformers", "transformers generate", lambda: with_transformers(gpt, False)),
        ("transformers_attention", "transformers + 어텐션", lambda: with_transformers(gpt, True)),
        ("ctranslate2", "CTranslate2 fp32 (어텐션 없음)", lambda: with_ctranslate2(gpt)),
        ("onnxruntime", "ONNX Runtime fp32 (어텐션 없음)", lambda: with_onnxruntime(gpt)),
    ]
    for key, name, make in peers:
        try:
            go_on = make()
            go_on(first, 2)
            contenders[key] = (name, go_on)
        except ImportError as error:
            report.notes.append(
                f"{name}은(는) 빼고 쟀어요: {error.name or error} 꾸러미가 없어요. "
                'pip install -e ".[bench]"로 넣을 수 있어요.'
            )
        except Exception as error:  # another program's trouble is no reason to measure nothing
            report.notes.append(f"{name}은(는) 이 모델로 돌지 않아서 빼고 쟀어요: {error}")
    with threads(1):
        alone = {
            key: token_seconds(go_on, prompts[:1], lengths.new)
            for key, (_, go_on) in contenders.items()
        }
        one = medians(alone, lengths.rounds)
        starts = {
            key: (lambda go_on=go_on: seconds(lambda: go_on(first, 1)))
            for key, (_, go_on) in contenders.items()
        }
        start = medians(starts, max(lengths.rounds, 3))
    section = f"글 잇기: 프롬프트 {lengths.prompt} + 생성 {lengths.new} 토큰, 한 사람, 스레드 1개"
    for key, (name, _) in contenders.items():
        speed = f"{1 / one[key]:,.0f} 토큰/초"
        report.rows.append(Row(f"token.{key}", section, name, one[key] * 1e3, "ms", detail=speed))
    section = "배율: 우리가 몇 배 빠른가 (토큰 하나, 스레드 1개)"
    goals = {"transformers": 1.0, "transformers_attention": 1.4, "no_cache": 3.5}
    for key, (name, _) in contenders.items():
        if key != "ours":
            detail = "" if key in goals else "다음에 넘을 표시"
            ratio = one[key] / one["ours"]
            report.rows.append(
                Row(f"ratio.{key}", section, name, ratio, "배", goals.get(key), detail)
            )

    engine.close()
    section = f"여럿이 함께: {BATCH}명 ÷ 한 사람 (초당 토큰)"
    for count in range(1, min(cores, 2) + 1):
        with threads(1):
            engine = Engine(gpt, BATCH, count, end=None)
            run = ours(engine, True)
            works = {}
            for name, texts, new in (
                ("context", prompts, lengths.new),
                ("everyday", short, lengths.short_new),
            ):
                works[f"{name}.one"] = token_seconds(run, texts[:1], new)
                works[f"{name}.all"] = token_seconds(run, texts, new)
            took = medians(works, lengths.rounds)
            engine.close()
        for name, label, read, new in (
            ("context", "긴 문맥", lengths.prompt, lengths.new),
            ("everyday", "보통 대화", lengths.short_prompt, lengths.short_new),
        ):
            alone_rate, rate = 1 / took[f"{name}.one"], BATCH / took[f"{name}.all"]
            detail = f"{alone_rate:,.0f} → {rate:,.0f} 토큰/초"
            title = f"{label} {read}+{new}, 스레드 {count}개"
            key = f"batch.{name}.{count}"
            report.rows.append(Row(key, section, title, rate / alone_rate, "배", 5.0, detail))

    section = f"첫 토큰까지: 프롬프트 {lengths.first} 토큰, 스레드 1개"
    for key, (name, _) in contenders.items():
        goal = 50.0 if key == "ours" else None
        report.rows.append(Row(f"first.{key}", section, name, start[key] * 1e3, "ms", goal))
    return report


# --- training -------------------------------------------------------------------------------


class PlainGPT(nn.Module):
    """A GPT-2 as nanoGPT has it: LayerNorm, GELU, learnt positions, tied head.

    Width, depth, heads and vocabulary are `config`'s; its feed-forward layer, two matrices
    instead of SwiGLU's three, is made so wide that the number of weights is the same.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        width, inner = config.width, config.mlp_width * 3 // 2
        self.heads = config.heads
        self.tokens = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Embedding(config.context, width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(width),
                    "qkv": nn.Linear(width, 3 * width),
                    "out": nn.Linear(width, width),
                    "norm2": nn.LayerNorm(width),
                    "mlp": nn.Sequential(
                        nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width)
                    ),
                }
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """`(row, token)` ids to `(row, token, vocab)` logits."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            qkv = block["qkv"](block["norm1"](x)).unflatten(-1, (3, self.heads, -1))
            query, key, value = qkv.permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + block["out"](mixed.transpose(1, 2).flatten(2))
            x = x + block["mlp"](block["norm2"](x))
        return F.linear(self.norm(x), self.tokens.weight)


def plain_step(model: PlainGPT, optimizer: torch.optim.Optimizer, ids: Tensor, half: bool) -> None:
    """One step of nanoGPT's loop: loss on every token, clipping, AdamW."""
    with torch.autocast("cpu", torch.bfloat16, half):
        logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def training_flops(
    config: GPTConfig, documents: Sequence[tuple[int, int]], learnt: int, width: int = 3
) -> float:
    """Floating-point operations of one step's products, forward and backward.

    Six operations a weight and token for matrices; the vocabulary's projection only for the
    `learnt` tokens; attention as computed, the masked half included. Norms, softmax, the
    optimiser and Muon's orthogonalisation are not counted, so the true share is a little higher.

    Args:
        documents: `(count, length)` of the rows that were computed.
    """
    c = config
    tokens = sum(count * length for count, length in documents)
    squares = sum(count * length**2 for count, length in documents)
    blocks = c.layers * (4 * c.width**2 + width * c.width * c.mlp_width)
    attention = 12 * c.layers * c.width * squares
    return 6 * blocks * tokens + 6 * c.vocab_size * c.width * learnt + attention


def matmul_peak(side: int, dtype: torch.dtype, rounds: int) -> float:
    """GFLOP/s of a square product."""
    a = torch.randn(side, side).to(dtype)
    best = medians({"": lambda: seconds(lambda: a @ a)}, rounds)[""]
    return 2 * side**3 / best / 1e9


def bench_training(gpt: GPT, sample: Sample, lengths: Lengths, cores: int) -> BenchReport:
    """Our optimisation step on packed conversations against a plain loop on random rows."""
    report = BenchReport()
    c, count = gpt.config, min(cores, 2)
    half = fast_bfloat16(torch.device("cpu"))
    settings = TrainSettings(batch_tokens=lengths.batch_tokens)
    stage = Stage("bench", 10_000, sample)
    steps = [draw(stage, step, settings, c.context) for step in range(4)]
    batches = [pack(examples) for examples in steps]
    real = statistics.mean(sum(len(e.ids) - 1 for e in examples) for examples in steps)
    flops = statistics.mean(
        training_flops(c, b.documents, int((b.targets >= 0).sum())) for b in batches
    )
    row_tokens = min(lengths.row_tokens, c.context)
    rows = max(1, lengths.batch_tokens // row_tokens)
    plain_flops = training_flops(c, [(rows, row_tokens)], rows * row_tokens)
    ids = torch.randint(0, c.vocab_size, (rows, row_tokens + 1))

    def plain(half: bool) -> Callable[[], float]:
        model = PlainGPT(c)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95))
        return lambda: seconds(lambda: plain_step(model, optimizer, ids, half))

    with threads(count), tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(copy.deepcopy(gpt), [stage], settings, Path(folder), "")
        trainer.model.train()
        cycle = lambda: [trainer.train_step(stage, step) for step in range(4)]  # noqa: E731
        works = {"ours": lambda: seconds(cycle) / 4, "plain": plain(False)}
        if half:
            works["plain_half"] = plain(True)
        took = medians(works, lengths.rounds)
        peak = matmul_peak(lengths.matrix, torch.float32, lengths.rounds)
        peak_half = matmul_peak(lengths.matrix, torch.bfloat16, lengths.rounds) if half else None

    kind = "bf16(autocast)" if half else "fp32"
    section = f"배우기: 한 단계 {lengths.batch_tokens:,} 토큰, 스레드 {count}개"
    speed = {"ours": real / took["ours"], "plain": ids[:, 1:].numel() / took["plain"]}
    filled = real / statistics.mean(b.ids.numel() for b in batches)
    detail = f"{kind}, Muon+AdamW, 대화가 {filled:.0%}인 묶음, 빈칸은 세지 않음"
    add = report.rows.append
    add(Row("train.ours", section, "우리 학습", speed["ours"], "토큰/초", detail=detail))
    detail = f"fp32, AdamW, 무작위 {row_tokens}토큰 줄, 모든 토큰에 손실"
    add(Row("train.plain", section, "nanoGPT식 반복문", speed["plain"], "토큰/초", detail=detail))
    add(Row("ratio.train", section, "우리 ÷ nanoGPT식", speed["ours"] / speed["plain"], "배"))
    if half:
        fast = ids[:, 1:].numel() / took["plain_half"]
        name = "nanoGPT식, bf16으로"
        add(Row("train.plain_half", section, name, fast, "토큰/초", detail=kind))
        add(Row("ratio.train_half", section, "우리 ÷ 그것", speed["ours"] / fast, "배"))
    product = f"{lengths.matrix}² 행렬곱"
    add(Row("peak.fp32", section, f"이 컴퓨터의 최고: {product} fp32", peak, "GFLOP/s"))
    if peak_half:
        add(Row("peak.bf16", section, f"이 컴퓨터의 최고: {product} bf16", peak_half, "GFLOP/s"))
    done = flops / took["ours"] / 1e9
    detail = f"{done:,.0f} GFLOP/s"
    top = peak_half or peak
    name = f"우리 학습이 쓴 몫 (최고 {'bf16' if peak_half else 'fp32'} 대비)"
    add(Row("share.ours", section, name, 100 * done / top, "%", detail=detail))
    done = plain_flops / took["plain"] / 1e9
    name = "nanoGPT식이 쓴 몫 (최고 fp32 대비)"
    add(Row("share.plain", section, name, 100 * done / peak, "%", detail=f"{done:,.0f} GFLOP/s"))
    report.notes.append(
        "연산 수는 행렬곱만 셌어요: 가중치마다 토큰당 6번, 어휘로 보내는 곱은 손실이 있는 토큰만, "
        "어텐션은 가려진 반쪽까지. Muon의 직교화는 시간에만 들어 있어요."
    )
    return report


# --- all of it ------------------------------------------------------------------------------


def run_bench(gpt: GPT, sample: Sample, lengths: Lengths | None = None) -> BenchReport:
    """Measure a network.

    Args:
        gpt: float32, on the processor.
        sample: draws training conversations.
    """
    lengths = lengths or Lengths()
    c, cores = gpt.config, _cores()
    with threads(1):
        decoding = bench_decoding(gpt, lengths, cores)
    training = bench_training(gpt, sample, lengths, cores)
    shape = (
        f"모양: 조각 {c.vocab_size:,}개, 너비 {c.width}, 층 {c.layers}, 머리 {c.heads}, "
        f"SwiGLU {c.mlp_width}, 파라미터 {c.parameter_count() / 1e6:.2f}백만 개, float32"
    )
    where = (
        f"코어 {cores}개, PyTorch {torch.__version__}, 명령 집합 "
        f"{torch.backends.cpu.get_cpu_capability()}; 데운 뒤 번갈아 {lengths.rounds}번 잰 중앙값"
    )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    notes = [shape, where, *decoding.notes, *training.notes]
    if lengths != Lengths():
        notes.append("짧게 잰 값이에요. 목표는 --quick 없이 잰 길이에만 맞아요.")
    if load > cores + 1:
        notes.append(f"재는 동안 다른 일이 많았어요(부하 {load:.1f}). 배율만 믿어 주세요.")
    return BenchReport(decoding.rows + training.rows, notes)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def bench(model: Path = WEIGHTS, *, quick: bool = False) -> BenchReport:
    """What `tutor bench` prints: the weights of a checkpoint directory, real conversations.

    Raises:
        CheckpointError: when the directory cannot be used.
        GlossaryError: when the shipped glossary cannot.
    """
    with threads(1):  # helpers of this thread would get into the way of the engine's later
        checkpoint = load_checkpoint(model)
        curriculum = Curriculum(load_glossary(GLOSSARY), seed=1)
        context = checkpoint.model.config.context
        (stage,) = curriculum.stages(checkpoint.tokenizer, {"chat": 1}, context)
        return run_bench(checkpoint.model, stage.sample, QUICK if quick else None)
