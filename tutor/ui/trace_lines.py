"""A recording as lines of JSON for the attention panel, append-only while the answer grows.

Nested JSON freezes the page; one string that only grows travels as a short difference. Lines:

- `open`: which recording, the shape of its attention, and how tokens were drawn
- `tok`: one token at a position; a later line for the same position replaces it (bytes that turn
  out to spell a character)
- `step`: one generated token's probability and candidates
- `close`: the answer is complete
"""

from __future__ import annotations

import json
from typing import Any

from model.generate import Sampling
from model.tokenizer import END, Tokenizer
from tutor.attention import percent
from tutor.trace import ROLE_NAMES, Trace, TraceToken


def candidate_name(tokenizer: Tokenizer, token: int) -> str:
    """What a person reads for one possible next token; a space before it shows as "␣"."""
    if token == END:
        return f"{ROLE_NAMES['assistant']} 끝"
    piece = tokenizer.piece(token)
    if tokenizer.is_byte(token):
        return f"글자 조각 {piece[3:5]}"
    bare = piece.lstrip(" ")
    return "␣" * (len(piece) - len(bare)) + bare.replace("\n", "⏎")


def chance(share: float) -> str:
    """A candidate's probability; what would round to nothing says so."""
    return percent(share) if share >= 0.0005 else "< 0.1 %"


def sampling_note(sampling: Sampling) -> str:
    """How the tokens were drawn, in words."""
    if sampling.temperature == 0:
        return "매번 확률이 가장 높은 조각을 골랐어요."
    return f"확률에 따라 제비를 뽑듯 골랐어요(온도 {sampling.temperature:g})."


def _line(kind: str, **values: Any) -> str:
    return json.dumps({"k": kind, **values}, ensure_ascii=False) + "\n"


class TraceLines:
    """Writes one recording, as far as it has grown.

    Args:
        trace_id: under which the routes give its attention.
        answer: number of the answer in its conversation, from 1.
    """

    def __init__(self, trace: Trace, trace_id: str, answer: int) -> None:
        self.trace = trace
        self._sent: list[TraceToken] = []
        self._steps = 0
        self.text = _line(
            "open",
            id=trace_id,
            answer=answer,
            layers=trace.layers,
            heads=trace.heads,
            context=trace.context,
            dropped=trace.dropped_turns,
            drawn=sampling_note(trace.sampling),
        )

    def grow(self) -> str:
        """Add lines for whatever is new; the whole text so far."""
        tokens = self.trace.tokens
        lines = []
        for token in tokens:
            known = token.position < len(self._sent)
            if not known or self._sent[token.position] != token:
                lines.append(
                    _line(
                        "tok",
                        p=token.position,
                        text=token.label,
                        space=token.piece.startswith(" "),
                        group=token.group,
                        role=token.role,
                        turn=token.turn,
                        special=token.special,
                    )
                )
        self._sent = tokens
        prompt = len(self.trace.prompt)
        for index in range(self._steps, len(tokens) - prompt):
            lines.append(self._step(index, prompt))
        self._steps = len(tokens) - prompt
        self.text += "".join(lines)
        return self.text

    def _step(self, index: int, prompt: int) -> str:
        step = self.trace.steps[index]
        name = self.trace.tokenizer
        return _line(
            "step",
            s=index,
            p=prompt + index,
            best=[
                [candidate_name(name, token), round(share, 4), chance(share), token == step.token]
                for token, share in step.candidates
            ],
        )

    def close(self) -> str:
        """Add the last line; the whole text."""
        self.text = self.grow() + _line("close")
        return self.text


def whole(trace: Trace, trace_id: str, answer: int) -> str:
    """A finished recording in one go."""
    return TraceLines(trace, trace_id, answer).close()
