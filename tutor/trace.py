"""What one answer recorded (tokens, attention, candidates), and its one encoding.

Row convention: the attention row of a generated token is that of the position *before* it, the one
that chose it. A row at position p therefore has p keys, 0 … p-1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.generate import Sampling, Step
from model.tokenizer import END, ChatToken, Tokenizer

FORMAT = 1
ROLE_NAMES = {"system": "안내", "user": "질문", "assistant": "답"}


@dataclass(frozen=True)
class TraceToken:
    """One token of the sequence that the model reads.

    Attributes:
        piece: readable piece; for a byte of a longer character, that character stands on the first
            token of the group and the others are empty.
        group: number of the readable group; bytes of one character share it.
        turn: 0 for the system text, then 1, 2, … for each message.
        special: role, begin and end marks.
    """

    id: int
    piece: str
    group: int
    role: str
    turn: int
    position: int
    special: bool

    @property
    def label(self) -> str:
        """What a person calls it: the text, or the name of the mark."""
        if not self.special:
            return self.piece.strip() or ("␣" if self.piece else "글자의 일부")
        name = ROLE_NAMES[self.role]
        return {"<bos>": "처음", "<|end|>": f"{name} 끝"}.get(self.piece, f"{name} 시작")


def encode_attention(weights: np.ndarray) -> bytes:
    """uint8 as `round(255·sqrt(weight))`; linear steps would lose most of the small weights."""
    return np.rint(255 * np.sqrt(np.clip(weights, 0, 1))).astype(np.uint8).tobytes()


def decode_attention(raw: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Back to weights; off by at most 0.004."""
    return (np.frombuffer(raw, np.uint8).reshape(shape).astype(np.float32) / 255) ** 2


@dataclass
class Trace:
    """One answer, opened up.

    Attributes:
        prompt: the tokens that were there before the answer.
        steps: the answer's tokens as they were chosen, `<|end|>` included when it came.
        dropped_turns: messages that no longer fitted the window and were left out whole.
    """

    model_hash: str
    sampling: Sampling
    tokenizer: Tokenizer
    layers: int
    heads: int
    context: int
    prompt: list[ChatToken]
    steps: list[Step] = field(default_factory=list)
    dropped_turns: int = 0

    @property
    def tokens(self) -> list[TraceToken]:
        """Prompt and answer, every token in the order in which the model reads it."""
        turn = self.prompt[-1].turn
        chat = [(t.id, t.role, t.turn, t.special) for t in self.prompt]
        chat += [(s.token, "assistant", turn, s.token == END) for s in self.steps]
        out: list[TraceToken] = []
        group = 0
        run: list[int] = []

        def flush() -> None:
            nonlocal group
            for text, size in self.tokenizer.groups(run):
                for i in range(size):
                    position = len(out)
                    _, role, where, _ = chat[position]
                    piece = text if i == 0 else ""
                    out.append(
                        TraceToken(chat[position][0], piece, group, role, where, position, False)
                    )
                group += 1
            run.clear()

        for token, role, where, special in chat:
            if special:
                flush()
                piece = self.tokenizer.piece(token)
                out.append(TraceToken(token, piece, group, role, where, len(out), True))
                group += 1
            else:
                run.append(token)
        flush()
        return out

    @property
    def question(self) -> str:
        """The message that is answered, as the model read it."""
        last = max(t.turn for t in self.prompt if t.role == "user")
        asked = [t.id for t in self.prompt if t.turn == last and not t.special]
        return self.tokenizer.decode(asked)

    @property
    def text(self) -> str:
        """The answer so far; a character whose bytes are not all there yet is withheld."""
        return self.tokenizer.decode([s.token for s in self.steps])

    @property
    def probability(self) -> float:
        """Geometric mean of the chosen tokens' probabilities: the answer's, length-normalised."""
        if not self.steps:
            return 0.0
        return float(np.exp(np.mean([np.log(max(s.probability, 1e-12)) for s in self.steps])))

    def attention(self, step: int) -> np.ndarray:
        """Row of one generated token, `(layer, head, key)` float32; keys are all tokens before it.

        Raises:
            IndexError: when there is no such step.
            ValueError: when attention was not captured.
        """
        if step < 0:
            raise IndexError(step)
        row = self.steps[step].attention
        if row is None:
            raise ValueError("attention was not captured")
        return row

    def step_line(self, step: int) -> dict[str, Any]:
        """One generated token without its attention, ready for JSON."""
        it = self.steps[step]
        return {
            "step": step,
            "id": it.token,
            "position": it.position,
            "probability": it.probability,
            "candidates": [
                {"id": i, "piece": self.tokenizer.piece(i), "probability": p}
                for i, p in it.candidates
            ],
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, attention as float lists; the format of `tutor ask --trace`."""
        return {
            "format": FORMAT,
            "model": self.model_hash,
            "template": "<bos><|system|>…<|end|>(<|role|>text<|end|>)*<|assistant|>",
            "seed": self.sampling.seed,
            "sampling": {
                "temperature": self.sampling.temperature,
                "top_k": self.sampling.top_k,
                "top_p": self.sampling.top_p,
                "repetition_penalty": self.sampling.repetition_penalty,
            },
            "layers": self.layers,
            "heads": self.heads,
            "context": self.context,
            "row": "attention of the position before the generated token",
            "dropped_turns": self.dropped_turns,
            "tokens": [
                {
                    "id": t.id,
                    "piece": t.piece,
                    "group": t.group,
                    "role": t.role,
                    "turn": t.turn,
                    "position": t.position,
                    "special": t.special,
                }
                for t in self.tokens
            ],
            "steps": [
                self.step_line(i)
                | {"attention": None if s.attention is None else s.attention.tolist()}
                for i, s in enumerate(self.steps)
            ],
        }
