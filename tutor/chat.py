"""A conversation: turns in, a stream of steps out.

What enters the model is the chat template, the person's text and the earlier turns, nothing else.
Whatever rules and look-ups add, they add afterwards and beside the answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from model.engine import Engine, Generation
from model.generate import GREEDY, Sampling, Step, distribution
from model.tokenizer import ChatToken
from tutor.answers import glossary_answers, load_replies
from tutor.glossary import FACET_NAMES, Glossary, GlossaryError, load_glossary
from tutor.grounding import Grounder, Grounding
from tutor.josa import attach
from tutor.nearest import NearestTerm
from tutor.paths import WEIGHTS
from tutor.trace import Trace

GLOSSARY_FILE, REPLIES_FILE = "glossary.jsonl", "replies.jsonl"
ANSWER_TOKENS = 192
MESSAGE_LIMIT = 500
# Declining for these reasons may be a misreading of a term that is known.
_MISREAD = ("term", "everyday", "unclear")


class MessageError(ValueError):
    """The message cannot be answered; the text is one Korean sentence for the person."""


@dataclass(frozen=True)
class Result:
    """One finished answer, as `tutor ask --json` and the API give it."""

    answer: str
    kind: str
    terms: list[str]
    facet: str
    similarity: float | None
    probability: float
    note: str | None
    tokens: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The fields as they are printed."""
        return asdict(self)


def check_message(text: str) -> str:
    """The message without blanks around it.

    Raises:
        MessageError: when it is empty or too long to read.
    """
    text = text.strip()
    if not text:
        raise MessageError("질문이 비어 있어요. 궁금한 말을 적어 주세요.")
    if len(text) > MESSAGE_LIMIT:
        raise MessageError(
            f"질문이 {len(text):,}자예요. 저는 작아서 {MESSAGE_LIMIT}자까지만 읽을 수 있어요. "
            "조금 줄여서 다시 물어봐 주세요."
        )
    return text


class Reply:
    """An answer in the making: iterate for its steps; `trace` grows with them.

    Attributes:
        trace: everything recorded so far.
    """

    def __init__(self, generation: Generation, trace: Trace) -> None:
        self._generation, self.trace = generation, trace
        self._start = time.perf_counter()
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Step]:
        for step in self._generation:
            self.trace.steps.append(step)
            self.seconds = time.perf_counter() - self._start
            yield step

    def cancel(self) -> None:
        """Stop after the token in progress."""
        self._generation.cancel()


class Tutor:
    """A checkpoint that can be talked to.

    Args:
        checkpoint: an opened checkpoint.
        glossary: what it was taught.
        grounder: recognises what it was taught to say.
        max_batch: conversations that are answered at the same time.
        threads: processor threads for many of them (`Engine`).
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        glossary: Glossary,
        grounder: Grounder,
        max_batch: int = 16,
        threads: int | None = None,
    ) -> None:
        self.checkpoint, self.glossary, self.grounder = checkpoint, glossary, grounder
        self.model, self.tokenizer = checkpoint.model, checkpoint.tokenizer
        self.engine = Engine(self.model, max_batch, threads)
        self._nearest = NearestTerm(glossary)

    @classmethod
    def open(
        cls, directory: Path = WEIGHTS, max_batch: int = 16, threads: int | None = None
    ) -> Tutor:
        """Open a checkpoint directory with its glossary and replies.

        Raises:
            CheckpointError: when something is missing or broken, in one Korean sentence.
        """
        directory = Path(directory)
        checkpoint = load_checkpoint(directory)
        try:
            glossary = load_glossary(directory / GLOSSARY_FILE)
            replies = load_replies(directory / REPLIES_FILE, glossary)
        except GlossaryError as error:
            raise CheckpointError(f"모델과 함께 둔 용어집을 읽을 수 없어요: {error}") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{directory / REPLIES_FILE} 파일을 읽을 수 없어요.") from error
        grounder = Grounder([*glossary_answers(glossary), *replies])
        return cls(checkpoint, glossary, grounder, max_batch, threads)

    def close(self) -> None:
        """Stop the engine's thread."""
        self.engine.close()

    def window(self, messages: Sequence[dict[str, str]]) -> tuple[list[ChatToken], int]:
        """The newest turns that fit, and how many of the oldest were left out, always whole.

        Raises:
            MessageError: when even the last message alone does not fit.
        """
        messages = [m for m in messages if m["role"] in ("user", "assistant")]
        room = self.model.config.context - ANSWER_TOKENS
        for dropped in range(0, len(messages)):
            if messages[dropped]["role"] != "user":
                continue
            tokens = self.tokenizer.chat(messages[dropped:], prompt=True)
            if len(tokens) <= room:
                return tokens, dropped
        raise MessageError(
            f"질문이 토큰 {len(tokens)}개예요. 저는 작아서 한 번에 {room}개까지만 읽을 수 있어요. "
            "조금 줄여서 다시 물어봐 주세요."
        )

    def reply(
        self,
        messages: Sequence[dict[str, str]],
        sampling: Sampling = GREEDY,
        *,
        capture: bool = True,
    ) -> Reply:
        """Answer the last message of a conversation (`role`/`content` dicts, oldest first).

        Raises:
            MessageError: when the last message is empty or too long.
        """
        if not messages or messages[-1]["role"] != "user":
            raise MessageError("마지막 말이 질문이어야 해요.")
        question = {"role": "user", "content": check_message(messages[-1]["content"])}
        messages = [*messages[:-1], question]
        tokens, dropped = self.window(messages)
        config = self.model.config
        trace = Trace(
            self.checkpoint.hash,
            sampling,
            self.tokenizer,
            config.layers,
            config.heads,
            config.context,
            tokens,
            dropped_turns=dropped,
        )
        generation = self.engine.submit(
            [t.id for t in tokens], sampling, max_new_tokens=ANSWER_TOKENS, capture=capture
        )
        return Reply(generation, trace)

    def ground(self, text: str) -> Grounding:
        """What the text of an answer agrees with."""
        return self.grounder.ground(text)

    def source(self, grounding: Grounding) -> str:
        """The line under a bubble: where in the glossary the answer stands, or that it does not."""
        answer = grounding.answer
        if answer is None:
            return "용어집에서 확인되지 않은 답이에요. 그대로 믿지 말고 다시 확인해 주세요."
        if answer.kind != "answer":
            return ""
        names = "·".join(self.glossary[term].term for term in answer.terms)
        share = int(round(grounding.similarity * 100, 2))  # 100 % is said of the very text only
        return f"용어집의 {names} · {attach(FACET_NAMES[answer.facet], '과')} {share} % 일치"

    def hint(self, question: str, grounding: Grounding) -> str:
        """Beside an answer that declines: a known term that may have been meant; often nothing."""
        answer = grounding.answer
        if answer is None or answer.kind != "decline" or answer.topic not in _MISREAD:
            return ""
        entry = self._nearest(question)
        quoted = attach(f"'{entry.term}'", "을") if entry else ""
        return f"혹시 {quoted} 물으셨나요?" if entry else ""

    def result(self, trace: Trace, seconds: float) -> Result:
        """Read kind, terms and facet off a finished answer's text."""
        grounding = self.ground(trace.text)
        answer = grounding.answer
        note = self.hint(trace.question, grounding) or None
        if answer is None:
            note = self.source(grounding)
        return Result(
            answer=trace.text,
            kind=answer.kind if answer else "answer",
            terms=list(answer.terms) if answer else [],
            facet=answer.facet if answer else "",
            similarity=grounding.similarity,
            probability=round(self.score(trace), 4),
            note=note,
            tokens=len(trace.steps),
            seconds=round(seconds, 4),
        )

    @torch.inference_mode()
    def score(self, trace: Trace) -> float:
        """The answer's length-normalised probability, from one pass over it alone.

        Computed apart from the decoding, so that it is the same to the last digit whoever else was
        being answered at the time.
        """
        prompt = [t.id for t in trace.prompt]
        said = [s.token for s in trace.steps]
        if not said:
            return 0.0
        logits = self.model(torch.tensor([prompt + said[:-1]]))[0, len(prompt) - 1 :]
        total = 0.0
        for i, token in enumerate(said):
            p = distribution(logits[i], trace.sampling, said[:i])[token]
            total += float(p.clamp_min(1e-12).log())
        return float(torch.tensor(total / len(said)).exp())

    def ask(
        self, turns: Sequence[str], sampling: Sampling = GREEDY, *, capture: bool = False
    ) -> tuple[Result, Trace]:
        """Answer a learner's turns one after another; the last answer comes back.

        Raises:
            MessageError: when a turn is empty or too long.
        """
        messages: list[dict[str, str]] = []
        for i, turn in enumerate(turns):
            messages.append({"role": "user", "content": check_message(turn)})
            last = i == len(turns) - 1
            reply = self.reply(messages, sampling, capture=capture and last)
            for _ in reply:
                pass
            messages.append({"role": "assistant", "content": reply.trace.text})
        if not turns:
            raise MessageError("질문이 비어 있어요. 궁금한 말을 적어 주세요.")
        return self.result(reply.trace, reply.seconds), reply.trace
