"""What could be written better in a glossary that can be used.

Reading a glossary (`tutor.glossary`) finds what is broken. Here are the things that a careful
editor marks: endings, length, 조사, repetition, an abbreviation that is never spelt out. A remark
never stops anything.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rapidfuzz import fuzz

from tutor.glossary import FACET_NAMES, TEXT_FACETS, Entry, Glossary
from tutor.josa import attach

LONGEST, SHORTEST = 220, 6
# Share of characters in common from which two texts of an entry count as the same one.
_SAME = 0.9
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_POLITE = re.compile(r"(요|죠)[.!?]?$")
_ABBREVIATION = re.compile(r"^[A-Z][A-Za-z]*[A-Z][A-Za-z]*(-\d+)?$")
# 조사 by the form after a consonant; what may follow them is a blank or a mark.
_PARTICLES = {
    "은": "은는", "는": "은는", "을": "을를", "를": "을를", "과": "과와", "와": "과와",
    "이에요": ("이에요", "예요"), "예요": ("이에요", "예요"), "으로": ("으로", "로"), "로": ("으로", "로"),
    "이라는": ("이라는", "라는"), "라는": ("이라는", "라는"),
}  # fmt: skip
_AFTER = "|".join(sorted(_PARTICLES, key=len, reverse=True))
# No Korean word but one with a wrong 조사 ends so: "값를", "것와".
_CLOSED_THEN = re.compile(r"[가-힣]+(를|와)(?=[ ,.!?]|$)")


@dataclass(frozen=True)
class Remark:
    """One thing to improve in one field of one entry."""

    term: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"'{self.term}'의 {self.field}: {self.message}"


def texts_of(entry: Entry) -> Iterator[tuple[str, str]]:
    """(name of the field, text) of everything in an entry that is said to a learner."""
    for facet in TEXT_FACETS:
        if text := getattr(entry, facet):
            yield FACET_NAMES[facet], text
    for comparison in entry.compare:
        yield FACET_NAMES["compare"], comparison.text
    for check in entry.checks:
        yield FACET_NAMES["check"], check.text


def lint(glossary: Glossary) -> list[Remark]:
    """All remarks, in the glossary's order."""
    remarks: list[Remark] = []
    names = sorted({n for e in glossary for n in e.names if len(n) > 1}, key=len, reverse=True)
    seen: dict[str, tuple[str, str]] = {}
    owners: dict[str, list[str]] = defaultdict(list)
    for entry in glossary:

        def remark(field: str, message: str, term: str = entry.term) -> None:
            remarks.append(Remark(term, field, message))

        for name in entry.names:
            owners[name.lower()].append(entry.term)
        for field, text in texts_of(entry):
            _one_text(text, names, lambda message, field=field: remark(field, message))
            if text in seen:
                where = "·".join(seen[text])
                remark(field, f"{where}에 똑같은 글이 있어요.")
            seen.setdefault(text, (entry.term, field))
        _one_entry(entry, remark)
        if unknown := [r for r in entry.related if r not in glossary]:
            remark(FACET_NAMES["related"], f"용어집에 없는 말이에요: {', '.join(unknown)}")
    for name, terms in owners.items():
        if len(set(terms)) > 1:
            listed = ", ".join(dict.fromkeys(terms))
            remarks.append(
                Remark(terms[0], "이름", f"'{name}'이(가) 여러 용어의 이름이에요: {listed}")
            )
    return remarks


def _one_text(text: str, names: list[str], remark: Callable[[str], None]) -> None:
    if len(text) > LONGEST:
        remark(f"{len(text)}자예요. {LONGEST}자 안으로 줄이면 더 잘 외워요.")
    if len(text) < SHORTEST:
        remark(f"{len(text)}자뿐이에요.")
    for sentence in _SENTENCE_END.split(text):
        bare = re.sub(r"[\s)'\"]+$", "", sentence)
        if bare and not _POLITE.search(bare):
            remark(f"해요체로 끝나지 않아요: …{bare[-15:]}")
    for wrong, right in wrong_particles(text, names):
        remark(f"조사가 맞지 않아요: '{wrong}' → '{right}'")


def wrong_particles(text: str, names: list[str]) -> list[tuple[str, str]]:
    """(as written, as it should be) for 조사 that do not fit what stands before them.

    Args:
        names: glossary names, longest first; how they end when spoken is known even when they
            are written in Latin letters.
    """
    out = []
    for match in _CLOSED_THEN.finditer(text):
        word, particle = match[0][:-1], match[1]
        if word and (ord(word[-1]) - 0xAC00) % 28:
            out.append((match[0], word + {"를": "을", "와": "과"}[particle]))
    if not names:
        return out
    listed = "|".join(re.escape(name) for name in names)
    pattern = re.compile(rf"(?<![A-Za-z가-힣])({listed})({_AFTER})(?=[ ,.!?]|$)")
    for match in pattern.finditer(text):
        name, particle = match[1], match[2]
        fitting = attach(name, _PARTICLES[particle][0])
        if fitting != match[0] and (match[0], fitting) not in out:
            out.append((match[0], fitting))
    return out


def _one_entry(entry: Entry, remark: Callable[[str, str], None]) -> None:
    named = any(name.lower() in entry.definition.lower() for name in entry.names)
    if not named:
        remark(FACET_NAMES["definition"], "용어의 이름이 나오지 않아요.")
    short = [name for name in entry.names if _ABBREVIATION.match(name)]
    if short and not entry.expansion:
        remark(FACET_NAMES["expansion"], f"줄임말 '{short[0]}'의 풀이가 없어요.")
    texts = [(field, text) for field, text in texts_of(entry)]
    for i, (field, text) in enumerate(texts):
        for other_field, other in texts[:i]:
            if text != other and fuzz.ratio(text, other) >= 100 * _SAME:
                remark(field, f"'{other_field}'의 글과 거의 같아요.")
