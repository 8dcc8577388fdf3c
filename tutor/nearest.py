"""The known term that a message comes nearest to, letter by letter.

Used beside an answer only ("혹시 '어텐션'을 물으셨나요?"), never to change one.
"""

from __future__ import annotations

import re
import unicodedata

from rapidfuzz import fuzz

from tutor.glossary import Entry, Glossary

# Likeness from which a name counts as meant, 0 to 100; one slip in five letters is about 90.
_MEANT = 86
# Names with fewer letters (jamo or Latin) stand in half of all words.
_SHORTEST = 5


def letters(text: str) -> str:
    """Jamo and Latin letters in lower case, without blanks and marks: "키 값" → "ㅋㅣㄱㅏㅄ"."""
    parts = unicodedata.normalize("NFD", text.lower())
    return re.sub(r"[\W_]", "", parts)


class NearestTerm:
    """Finds names in messages in spite of typos."""

    def __init__(self, glossary: Glossary) -> None:
        self._names = [
            (spelt, entry)
            for entry in glossary
            for name in entry.names
            if len(spelt := letters(name)) >= _SHORTEST
        ]

    def __call__(self, message: str) -> Entry | None:
        """The entry whose name is most nearly in the message, longer names first; or None."""
        typed = letters(message)
        best: tuple[float, int] = (0.0, 0)
        found = None
        for spelt, entry in self._names:
            if len(spelt) > len(typed) + 1:
                continue
            likeness = fuzz.partial_ratio(spelt, typed, score_cutoff=_MEANT)
            if likeness and (likeness, len(spelt)) > best:
                best, found = (likeness, len(spelt)), entry
        return found
