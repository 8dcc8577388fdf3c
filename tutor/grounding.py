"""Which glossary entry an answer's text agrees with, and how closely.

Read from the text alone, after the model has spoken; nothing here changes what it said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz, process

from tutor.answers import NAME, Answer

AGREES = 0.75


@dataclass(frozen=True)
class Grounding:
    """What a text agrees with.

    Attributes:
        answer: the closest known text; None when nothing comes close.
        similarity: 0–1, share of characters that the two have in common in order (1 - normalised
            Indel distance).
        name: what the text names back, where the answer has a place for it.
    """

    answer: Answer | None
    similarity: float
    name: str = ""

    @property
    def exact(self) -> bool:
        """Whether the text is that answer, letter by letter."""
        return self.similarity == 1.0


class Grounder:
    """Compares texts with everything the tutor was taught to say.

    An answer that names what was asked about is recognised whatever the name.
    """

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = list(answers)
        self._texts = [answer.naming("").text for answer in self.answers]
        self._exact = {text: i for i, text in reversed(list(enumerate(self._texts)))}
        self._naming = [
            (re.compile(re.escape(answer.text).replace(re.escape(NAME), "(.{1,80}?)")), i)
            for i, answer in enumerate(self.answers)
            if NAME in answer.text
        ]

    def ground(self, text: str) -> Grounding:
        """The closest known text, when at least `AGREES` alike."""
        text = text.strip()
        if text in self._exact:
            return Grounding(self.answers[self._exact[text]], 1.0)
        for pattern, i in self._naming:
            if match := pattern.fullmatch(text):
                return Grounding(self.answers[i], 1.0, match[1])
        best = process.extractOne(text, self._texts, scorer=fuzz.ratio)
        if best is None:
            return Grounding(None, 0.0)
        similarity = round(best[1] / 100, 4)
        return Grounding(self.answers[best[2]] if similarity >= AGREES else None, similarity)
