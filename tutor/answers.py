"""Everything the tutor may rightly say: each text with what it is about.

Training teaches these texts, grounding recognises them, evaluation scores against them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from tutor.glossary import TEXT_FACETS, Check, Entry, Glossary
from tutor.josa import attach, fill

# Where a reply names what was asked about.
NAME = "{A}"


@dataclass(frozen=True)
class Answer:
    """A text to say.

    Attributes:
        text: the words; `NAME` in them stands for whatever the learner asked about.
        kind: "answer", "decline" or "smalltalk".
        terms: ids of the entries it is about; none for declining and small talk.
        facet: what about them ("refuse" and "smalltalk" for the other kinds).
        topic: for declining and small talk, which kind of message it replies to.
    """

    text: str
    kind: str = "answer"
    terms: tuple[str, ...] = ()
    facet: str = ""
    topic: str = ""

    def naming(self, name: str) -> Answer:
        """The same with the name put in; without a name, the words that lead to it fall away."""
        text = self.text.replace(NAME, name) if name else self.text.replace(f"{NAME} ", "")
        return replace(self, text=text)


def related_answer(glossary: Glossary, entry: Entry) -> Answer:
    """The sentence that names the neighbours of a term."""
    names = [glossary[other].term for other in entry.related]
    listed = ", ".join([*names[:-1], attach(names[-1], "이에요")])
    text = f"{attach(entry.term, '과')} 함께 알아 두면 좋은 말은 {listed}."
    return Answer(text, terms=(entry.id,), facet="related")


def reverse_answer(entry: Entry) -> Answer:
    """The answer to "what is that called?"."""
    text = f"찾으시는 말은 {attach(entry.term, '이에요')}. {entry.summary or entry.definition}"
    return Answer(text, terms=(entry.id,), facet="reverse")


def check_answer(entry: Entry, check: Check) -> Answer:
    """The yes or no to a belief; its facet is the side of the term that the belief is about."""
    return Answer(check.text, terms=(entry.id,), facet=check.facet, topic="check")


def glossary_answers(glossary: Glossary) -> list[Answer]:
    """Every answer that the glossary holds."""
    out = []
    for entry in glossary:
        for facet in TEXT_FACETS:
            if text := getattr(entry, facet):
                out.append(Answer(text, terms=(entry.id,), facet=facet))
        for comparison in entry.compare:
            terms = (entry.id, comparison.other)
            out.append(Answer(comparison.text, terms=terms, facet="compare"))
        out += [check_answer(entry, check) for check in entry.checks]
        if entry.related:
            out.append(related_answer(glossary, entry))
        out.append(reverse_answer(entry))
    return out


def offered(glossary: Glossary, count: int = 3) -> list[str]:
    """The terms with the most links to others: what to ask about instead."""
    links = {entry.id: 0 for entry in glossary}
    for entry in glossary:
        for other in (*entry.related, *(c.other for c in entry.compare)):
            links[entry.id] += 1
            links[other] += 1
    best = sorted(glossary, key=lambda entry: -links[entry.id])
    return [entry.term for entry in best[:count]]


def load_replies(path: Path, glossary: Glossary) -> list[Answer]:
    """Replies that are tied to no term: declining and small talk (`replies.jsonl`).

    A slot `{B}` is filled with terms that the glossary does know.
    """
    known = ", ".join(offered(glossary))
    out = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            facet = "refuse" if row["kind"] == "decline" else "smalltalk"
            text = fill(row["text"], A=NAME, B=known)
            out.append(Answer(text, row["kind"], (), facet, row["topic"]))
    return out
