"""Which glossary entry an answer's text agrees with, and how closely.

Read from the text alone, after the model has spoken; nothing here changes what it said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz, process

from tutor.answers import Answer

AGREES = 0.75


@dataclass(frozen=True)
class Grounding:
    """What a text agrees with.

    Attributes:
        answer: the closest known text; None when nothing comes close.
        similarity: 0–1, share of characters that the two have in common in order (1 - normalised
            Indel distance).
    """

    answer: Answer | None
    similarity: float

    @property
    def exact(self) -> bool:
        """Whether the text is that answer, letter by letter."""
        return self.similarity == 1.0


class Grounder:
    """Compares texts with everything the tutor was taught to say."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = list(answers)
        self._texts = [answer.text for answer in self.answers]
        self._exact = {text: i for i, text in reversed(list(enumerate(self._texts)))}

    def ground(self, text: str) -> Grounding:
        """The closest known text, when at least `AGREES` alike."""
        text = text.strip()
        if text in self._exact:
            return Grounding(self.answers[self._exact[text]], 1.0)
        best = process.extractOne(text, self._texts, scorer=fuzz.ratio)
        if best is None:
            return Grounding(None, 0.0)
        similarity = round(best[1] / 100, 4)
        return Grounding(self.answers[best[2]] if similarity >= AGREES else None, similarity)
