"""A glossary in, a checked new model out.

Two stages, as GPT became ChatGPT: pre-training on prose only, then chat tuning with the loss on
the answers only. Both checkpoints are kept, because learners compare them.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from model.calibration import divide_logits, fit_temperature
from model.checkpoint import (
    UNFINISHED,
    CheckpointError,
    load_checkpoint,
    refuse_foreign_folder,
    save_checkpoint,
)
from model.engine import Engine
from model.gpt import GPT
from model.tokenizer import Tokenizer
from model.train import (
    Progress,
    Stage,
    Trainer,
    agree,
    process_rank,
    seconds_per_step,
    settings_fingerprint,
    start_processes,
)
from tutor.answers import Answer, glossary_answers, load_replies
from tutor.chat import GLOSSARY_FILE, REPLIES_FILE
from tutor.dialogues import DialogueMaker, chat_example, prose_example, prose_sampler
from tutor.glossary import Glossary, save_glossary
from tutor.grounding import Grounder
from tutor.paths import DATA, PROSE, QUESTIONS
from tutor.questions import load_questions
from tutor.recipe import Recipe

PRETRAINED = "pretrained"
# A glossary of few terms has few different questions.
_CALIBRATION_QUESTIONS, _CALIBRATION_QUESTIONS_A_TERM = 400, 8


@dataclass(frozen=True)
class Recall:
    """What a model knows by heart.

    Attributes:
        exact: share of definition questions answered word for word.
        held_out: share of held-out wordings answered with the right term and facet.
        by_term: for each term, the share of its answers said word for word.
        not_learnt: ids of terms whose definition is not said word for word.
    """

    exact: float
    held_out: float
    by_term: dict[str, float]
    not_learnt: list[str]

    def to_json(self) -> dict[str, Any]:
        """For `training.json`."""
        return {
            "exact_definitions": round(self.exact, 4),
            "held_out_wordings": round(self.held_out, 4),
            "recall_by_term": {k: round(v, 3) for k, v in self.by_term.items()},
            "not_learnt": self.not_learnt,
        }


def greedy_answers(
    model: GPT, tokenizer: Tokenizer, conversations: Sequence[Sequence[dict[str, str]]]
) -> list[str]:
    """The model's greedy answers to the last message of each conversation."""
    return [
        tokenizer.decode(answer) for _, answer in greedy_tokens(model, tokenizer, conversations)
    ]


def greedy_tokens(
    model: GPT, tokenizer: Tokenizer, conversations: Sequence[Sequence[dict[str, str]]]
) -> list[tuple[list[int], list[int]]]:
    """(ids of the conversation, ids of the model's greedy answer), for each conversation."""
    engine = Engine(model, max_batch=32)
    prompts = [
        [token.id for token in tokenizer.chat(messages, prompt=True)] for messages in conversations
    ]
    generations = [engine.submit(ids, max_new_tokens=160, capture=False) for ids in prompts]
    answers = [[step.token for step in generation] for generation in generations]
    engine.close()
    return list(zip(prompts, answers, strict=True))


def load_passages(path: Path, glossary: Glossary) -> list[str]:
    """The written prose whose terms are all in the glossary."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [row["text"] for row in rows if all(term in glossary for term in row["terms"])]


class Curriculum:
    """All that a training needs, derived from a glossary and the wordings.

    Args:
        glossary: what is to be taught.
        seed: shapes the held-out questions and the draws.
    """

    def __init__(self, glossary: Glossary, seed: int, recipe: Recipe | None = None) -> None:
        self.glossary, self.seed, self.recipe = glossary, seed, recipe or Recipe()
        self.replies = load_replies(QUESTIONS / REPLIES_FILE, glossary)
        questions = load_questions(QUESTIONS)
        learn, held = questions.split(self.recipe.held_out)
        self.maker = DialogueMaker(glossary, learn, self.replies)
        self.held_maker = DialogueMaker(glossary, held, self.replies)
        self.passages = load_passages(PROSE / "passages.jsonl", glossary)
        self.prose = prose_sampler(glossary, self.passages)
        self.grounder = Grounder([*glossary_answers(glossary), *self.replies])
        rng = random.Random(f"{seed}/held-out")
        self.held_out = [self.held_maker.turn(rng) for _ in range(96)]
        self.wordings = list(questions.texts())

    def tokenizer_texts(self) -> list[str]:
        """What the tokenizer is trained on: answers, prose, names and wordings."""
        texts = [a.naming("").text for a in self.grounder.answers] * 4 + self.passages
        texts += [name for entry in self.glossary for name in entry.names] * 4
        return texts + self.wordings

    def data_hash(self) -> str:
        """Changes whenever anything that is learnt from changes."""
        digest = hashlib.sha256()
        for answer in self.grounder.answers:
            digest.update(f"{answer.terms}{answer.facet}{answer.text}\n".encode())
        for text in (*self.wordings, *self.passages):
            digest.update(f"{text}\n".encode())
        return digest.hexdigest()[:16]

    def stages(self, tokenizer: Tokenizer, steps: dict[str, int], context: int) -> list[Stage]:
        """The stages of a training, with their samplers."""

        def prose(rng: random.Random):
            return prose_example(self.prose(rng), tokenizer)

        def chat(rng: random.Random):
            while True:
                messages = self.maker.conversation(rng)
                r = self.recipe
                example = chat_example(
                    messages, tokenizer, r.bpe_dropout, rng, brief=r.brief, blank=r.blank
                )
                if len(example.ids) <= context:
                    return example

        samplers = {"pretrain": prose, "chat": chat}
        return [Stage(name, count, samplers[name]) for name, count in steps.items()]

    def accuracy(self, model: GPT, tokenizer: Tokenizer) -> float:
        """Share of held-out questions answered with the right term and facet."""
        conversations = [[{"role": "user", "content": q}] for q, _ in self.held_out]
        texts = greedy_answers(model, tokenizer, conversations)
        good = [
            same_answer(self.grounder.ground(text).answer, answer)
            for text, (_, answer) in zip(texts, self.held_out, strict=True)
        ]
        return sum(good) / len(good)

    def temperature(self, model: GPT, tokenizer: Tokenizer) -> float:
        """What to divide the logits by, so that answers are as probable as they are right.

        Measured on questions in wordings that were held back, other draws than `accuracy`'s.
        """
        rng = random.Random(f"{self.seed}/calibration")
        count = min(_CALIBRATION_QUESTIONS, _CALIBRATION_QUESTIONS_A_TERM * len(self.glossary))
        asked = [self.held_maker.turn(rng) for _ in range(count)]
        conversations = [[{"role": "user", "content": question}] for question, _ in asked]
        said = greedy_tokens(model, tokenizer, conversations)
        right = [
            same_answer(self.grounder.ground(tokenizer.decode(answer)).answer, wanted)
            for (_, answer), (_, wanted) in zip(said, asked, strict=True)
        ]
        return fit_temperature(model, [(ids + answer, len(ids)) for ids, answer in said], right)

    def recall(self, model: GPT, tokenizer: Tokenizer) -> Recall:
        """Ask for every facet of every term and compare word for word."""
        rng = random.Random(f"{self.seed}/recall")
        asked: list[tuple[str, str, str]] = []
        for entry in self.glossary:
            for facet in self.maker.questions.frames:
                answer = self.maker.answer(entry.id, facet)
                if answer and facet != "reverse":
                    question = self.maker.questions_for(entry, facet, 1, rng)
                    asked += [(entry.id, facet, q) for q in question]
        texts = greedy_answers(
            model, tokenizer, [[{"role": "user", "content": q}] for _, _, q in asked]
        )
        hits: dict[str, list[bool]] = defaultdict(list)
        definitions: dict[str, bool] = {}
        for (term, facet, _), text in zip(asked, texts, strict=True):
            hit = text == self.maker.answer(term, facet).text
            hits[term].append(hit)
            if facet == "definition":
                definitions[term] = hit
        return Recall(
            exact=sum(definitions.values()) / max(1, len(definitions)),
            held_out=self.accuracy(model, tokenizer),
            by_term={term: sum(h) / len(h) for term, h in hits.items()},
            not_learnt=[term for term, hit in definitions.items() if not hit],
        )


def same_answer(said: Answer | None, wanted: Answer) -> bool:
    """Whether two answers are about the same thing, in the same respect."""
    if said is None or said.kind != wanted.kind:
        return False
    return set(said.terms) == set(wanted.terms) and said.facet == wanted.facet


def plan_steps(full: dict[str, int], seconds: dict[str, float], minutes: float) -> dict[str, int]:
    """Shorten all stages alike so that they fit into the minutes."""
    wanted = sum(full[name] * seconds[name] for name in full)
    share = min(1.0, minutes * 60 / wanted)
    return {name: max(10, round(count * share)) for name, count in full.items()}


def retrain(
    glossary: Glossary,
    out: Path,
    *,
    start: Path | None,
    seed: int = 1,
    steps: int | None = None,
    minutes: float | None = None,
    resume: bool = False,
    recipe: Recipe | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_plan: Callable[[dict[str, int]], None] = lambda plan: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Recall:
    """Train and check a model; `out` is written only when it is complete.

    Args:
        glossary: what to teach.
        out: the checkpoint directory to write; what is unfinished stays in `out`/.training.
        start: checkpoint to go on from; None starts from scratch.
        steps: chat steps; otherwise the recipe's, shortened to `minutes` when given.
        recipe: how; the shipped weights' recipe when left out.

    Raises:
        CheckpointError: in one Korean sentence, when reading or writing fails.
        Interrupted: when stopped; `resume=True` goes on from there to the same result.
    """
    recipe = recipe or Recipe()
    settings = recipe.settings(seed)
    device = start_processes()
    curriculum = Curriculum(glossary, seed, recipe)
    refuse_foreign_folder(out)
    work = Path(out) / UNFINISHED
    if start is None:
        tokenizer = Tokenizer.train(curriculum.tokenizer_texts(), recipe.vocabulary)
        model = GPT(recipe.config(len(tokenizer)))
        model.initialise(seed)
        plan, origin = recipe.scratch_steps, "scratch"
    else:
        checkpoint = load_checkpoint(start)
        model, tokenizer = checkpoint.model, checkpoint.tokenizer
        origin = f"{start} ({checkpoint.hash})"
        plan = {"chat": recipe.tune_steps}
    model.to(device)
    context = model.config.context
    plan_file = work / "plan.json"
    if resume:
        plan = _read_plan(plan_file, plan)
    elif steps is not None:
        share = steps / plan["chat"]
        plan = {name: max(1, round(count * share)) for name, count in plan.items()}
    else:
        minutes = minutes or recipe.minutes
        trial = curriculum.stages(tokenizer, plan, context)
        seconds = {s.name: seconds_per_step(model, s, settings, work) for s in trial}
        plan = agree(plan_steps(plan, seconds, minutes))
    if process_rank()[0] == 0 and not resume:
        _write_plan(plan_file, plan)
    on_plan(plan)

    data_hash = curriculum.data_hash()
    fingerprint = settings_fingerprint(
        settings,
        data=data_hash,
        steps=plan,
        origin=origin,
        shape=asdict(model.config),
        recipe=asdict(recipe),
    )

    def taught(folder: Path) -> None:
        save_glossary(glossary, folder / GLOSSARY_FILE)
        (folder / REPLIES_FILE).write_bytes((QUESTIONS / REPLIES_FILE).read_bytes())

    def stage_end(trained: GPT, stage: str) -> None:
        if stage == "pretrain":
            info = {"stage": stage, "data": data_hash, "seed": seed, "steps": plan}
            save_checkpoint(work / PRETRAINED, trained, tokenizer, info, extra=taught)

    def evaluate(trained: GPT, stage: str) -> dict[str, Any]:
        return (
            {"held_out": round(curriculum.accuracy(trained, tokenizer), 4)}
            if (stage == "chat" and process_rank()[0] == 0)
            else {}
        )

    trainer = Trainer(
        model,
        curriculum.stages(tokenizer, plan, context),
        settings,
        work,
        fingerprint,
        on_progress=on_progress,
        evaluate=evaluate,
        on_stage_end=stage_end,
        should_stop=should_stop,
    )
    trainer.run(resume=resume)
    if process_rank()[0]:
        return Recall(0.0, 0.0, {}, [])
    return _finish(trainer, curriculum, tokenizer, Path(out), plan, origin, taught)


def _read_plan(path: Path, stages: dict[str, int]) -> dict[str, int]:
    """The steps that an interrupted training had planned for these stages."""
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))["steps"]
        if list(plan) != list(stages) or not all(isinstance(n, int) for n in plan.values()):
            raise ValueError
    except FileNotFoundError as error:
        raise CheckpointError(f"이어서 할 학습이 없어요: {path} 파일이 없어요.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} 파일이 이 학습의 계획이 아니에요.") from error
    return plan


def _write_plan(path: Path, plan: dict[str, int]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"steps": plan}) + "\n", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(
            f"학습 폴더 {path.parent}에 쓸 수 없어요: {error.strerror or error}."
        ) from error


def _finish(
    trainer: Trainer,
    curriculum: Curriculum,
    tokenizer: Tokenizer,
    out: Path,
    plan: dict[str, int],
    origin: str,
    taught: Callable[[Path], None],
) -> Recall:
    """Calibrate, measure the weights as they will be stored, then put the checkpoint in its place."""
    work = out / UNFINISHED
    model = trainer.model.cpu()
    temperature = curriculum.temperature(model, tokenizer)
    divide_logits(model, temperature)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    recall = curriculum.recall(model, tokenizer)
    training = {
        "stage": "chat",
        "from": origin,
        "data": curriculum.data_hash(),
        "seed": curriculum.seed,
        "steps": plan,
        "recipe": asdict(curriculum.recipe),
        "seconds": round(trainer.seconds),
        "temperature": round(temperature, 4),
        "parameters": model.config.parameter_count(),
        "terms": len(curriculum.glossary),
        "results": recall.to_json(),
    }

    def extra(folder: Path) -> None:
        taught(folder)
        (folder / "metrics.jsonl").write_bytes((work / "metrics.jsonl").read_bytes())
        (folder / "README.md").write_text(_model_card(training), encoding="utf-8")
        pretrained = work / PRETRAINED
        if pretrained.is_dir():
            (folder / PRETRAINED).mkdir()
            for file in pretrained.iterdir():
                (folder / PRETRAINED / file.name).write_bytes(file.read_bytes())

    save_checkpoint(out, model, tokenizer, training, extra=extra)
    shutil.rmtree(out / work.name, ignore_errors=True)
    return recall


def _model_card(training: dict[str, Any]) -> str:
    results = training["results"]
    return f"""---
language: ko
license: mit
pipeline_tag: text-generation
---
# 꼬마GPT

용어집 {training["terms"]}개 낱말의 질문과 답으로 처음부터 학습한 작은 한국어 GPT예요
(파라미터 {training["parameters"]:,}개). 용어집 밖의 일은 배우지 않았어요.

- 학습: {training["steps"]} 단계, 씨앗 {training["seed"]}, 데이터 {training["data"]}
- 뜻을 묻는 질문에 글자까지 똑같이 답한 비율: {results["exact_definitions"]:.1%}
- 따로 떼어 둔 말투의 질문에 맞는 용어와 측면으로 답한 비율: {results["held_out_wordings"]:.1%}

`pretrained/`는 대화를 배우기 전, 글만 읽은 모델이에요. 만든 명령: `tutor train --from scratch`.
"""


def default_out() -> Path:
    """A new dated directory for a training without `--out`."""
    from datetime import datetime

    return DATA.parent / "models" / datetime.now().strftime("%Y%m%d-%H%M%S")
