"""New questions out of written ones: another term in the same place, another story before it.

A network that has read every question hundreds of times knows it by heart, term, story and all. Put
together anew, the parts have to be understood one by one: which term, and what about it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from tutor.glossary import TEXT_FACETS, Entry, Glossary
from tutor.questions import Questions

# Particles that change with the word before them, each with its form after a consonant.
_PARTICLES = {
    "은": "은", "는": "은", "이": "이", "가": "이", "을": "을", "를": "을", "과": "과", "와": "과",
    "으로": "으로", "로": "으로", "이랑": "이랑", "랑": "이랑", "이나": "이나", "나": "이나",
    "이란": "이란", "란": "이란", "이라는": "이라는", "라는": "이라는", "이라고": "이라고",
    "라고": "이라고", "이에요": "이에요", "예요": "이에요", "이야": "이야", "야": "이야",
}  # fmt: skip
_PARTICLE = re.compile(rf"({'|'.join(sorted(_PARTICLES, key=len, reverse=True))})(?![가-힣])")
_LATIN = re.compile("[a-z0-9-]")
_SENTENCE_END = re.compile(r"(?<=[가-힣][.!?]) ")
_LEAD_IN_LETTERS = 60


def slotted(text: str, entry: Entry, slot: str) -> str | None:
    """The question with a slot for the entry's name; None when it is not named as a word of its own.

    `slotted("LSTM은 왜 나왔어?", lstm, "A")` gives `"{A:은} 왜 나왔어?"`.
    """
    lower = text.lower()
    for name in sorted(entry.names, key=len, reverse=True):
        out, done, start = "", 0, 0
        while (at := lower.find(name.lower(), start)) >= 0:
            start = end = at + len(name)
            if lower[at - 1 : at].isalnum() or lower[at - 1 : at] == "-":
                continue
            if _LATIN.match(lower, end):
                continue
            particle = _PARTICLE.match(text, end)
            notation = f":{_PARTICLES[particle[1]]}" if particle else ""
            out += f"{text[done:at]}{{{slot}{notation}}}"
            done = particle.end() if particle else end
        if out:
            return out + text[done:]
    return None


def borrowed_frames(questions: Questions, glossary: Glossary) -> dict[str, list[str]]:
    """Whole questions as wordings with slots, by facet; those that name a third term are left out."""
    frames: dict[str, list[str]] = {}
    names_term = _finder(name for entry in glossary for name in entry.names if len(name) > 2)
    for whole in questions.whole:
        fits = whole.facet in TEXT_FACETS if len(whole.terms) == 1 else whole.facet == "compare"
        if whole.claim or not fits or any(term not in glossary for term in whole.terms):
            continue
        text: str | None = whole.text
        for slot, term in zip("AB", whole.terms, strict=False):
            text = text and slotted(text, glossary[term], slot)
        if text and len(whole.terms) <= 2 and not names_term(text):
            frames.setdefault(whole.facet, []).append(text)
    return frames


def lead_ins(questions: Questions, glossary: Glossary) -> list[str]:
    """First sentences of stories that neither name a term nor ask anything."""
    names_term = _finder(name for entry in glossary for name in entry.names if len(name) > 1)
    texts = [text for group in questions.frames.values() for text in group]
    texts += [w.text for w in questions.whole if w.facet in TEXT_FACETS and not w.claim]
    out = []
    for text in texts:
        first, *rest = _SENTENCE_END.split(text, maxsplit=1)
        fits = rest and 8 <= len(first) <= _LEAD_IN_LETTERS and not re.search(r"[{?]", first)
        if fits and not names_term(first):
            out.append(first)
    return sorted(set(out))


def _finder(names: Iterable[str]) -> Callable[[str], bool]:
    """A function that says whether a text holds one of the names."""
    lower = sorted({name.lower() for name in names})

    def found(text: str) -> bool:
        text = text.lower()
        return any(name in text for name in lower)

    return found
