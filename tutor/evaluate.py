"""Scores on questions that no training text contains or nearly contains.

A question file has lines `{"id", "turns", "terms", "facets", "style"}`, optionally "alt_terms" and
"kind". Out-of-scope questions have the facet "refuse", small talk "smalltalk".
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model.generate import GREEDY, Sampling
from tutor.chat import MessageError, Result, Tutor, check_message
from tutor.glossary import Glossary


class QuestionFileError(Exception):
    """The question file cannot be used; one Korean sentence says where and why."""


@dataclass(frozen=True)
class Question:
    """One question with what counts as a right answer."""

    id: str
    turns: list[str]
    terms: list[str] = field(default_factory=list)
    facets: list[str] = field(default_factory=list)
    style: str = ""
    alt_terms: list[str] = field(default_factory=list)
    kind: str = ""

    @property
    def scope(self) -> str:
        """ "answer", "decline" or "smalltalk": what kind of reply is right."""
        if "refuse" in self.facets:
            return "decline"
        return "smalltalk" if "smalltalk" in self.facets else "answer"


def read_questions(path: Path, *, labelled: bool = True) -> list[Question]:
    """Read a question file.

    Raises:
        QuestionFileError: naming file and line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise QuestionFileError(f"{path.name}: UTF-8 글자가 아니에요.") from error
    except OSError as error:
        raise QuestionFileError(f"{path}: 파일을 읽을 수 없어요.") from error
    out = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            turns = row["turns"]
            good = isinstance(turns, list) and turns and all(isinstance(t, str) for t in turns)
            if not good:
                raise ValueError
            keys = ("terms", "facets", "style", "alt_terms", "kind") if labelled else ()
            out.append(Question(str(row["id"]), turns, **{k: row[k] for k in keys if k in row}))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise QuestionFileError(
                f'{path.name} {number}번째 줄: {{"id": …, "turns": [질문, …]}} 모양이어야 해요.'
            ) from error
    if not out:
        raise QuestionFileError(f"{path.name}: 질문이 하나도 없어요.")
    return out


def taught(questions: Sequence[Question], glossary: Glossary) -> list[Question]:
    """Without the questions about terms that this model was never taught."""
    return [q for q in questions if all(term in glossary for term in q.terms)]


def answer_all(
    tutor: Tutor,
    questions: Sequence[Question],
    sampling: Sampling = GREEDY,
    on_done: Any = lambda count: None,
) -> list[Result]:
    """Answer every question's last turn; as many at once as the tutor's engine takes.

    Earlier turns are answered by the model itself. A turn that cannot be read gives a result with
    an empty answer and the reason as its note.
    """
    results: list[Result | None] = [None] * len(questions)
    histories: list[list[dict[str, str]]] = [[] for _ in questions]
    open_ = list(range(len(questions)))
    depth = 0
    while open_:
        replies = {}
        for i in open_:
            try:
                content = check_message(questions[i].turns[depth])
                histories[i].append({"role": "user", "content": content})
                replies[i] = tutor.reply(histories[i], sampling, capture=False)
            except MessageError as error:
                results[i] = Result("", "answer", [], "", None, 0.0, str(error), 0, 0.0)
        for i, reply in replies.items():
            for _ in reply:
                pass
            histories[i].append({"role": "assistant", "content": reply.trace.text})
            if depth == len(questions[i].turns) - 1:
                results[i] = tutor.result(reply.trace, reply.seconds)
        depth += 1
        open_ = [i for i in replies if results[i] is None]
        on_done(sum(r is not None for r in results))
    return results


@dataclass(frozen=True)
class Verdict:
    """How one answer fared."""

    term: bool
    facet: bool

    @property
    def right(self) -> bool:
        """The right thing in the right respect (or the right kind of reply)."""
        return self.term and self.facet


def judge(question: Question, result: Result) -> Verdict:
    """Compare an answer with what counts as right."""
    if question.scope != "answer":
        good = result.kind == question.scope
        return Verdict(good, good)
    said, wanted = set(result.terms), set(question.terms)
    term = (
        result.kind == "answer"
        and bool(said)
        and (said == wanted or bool(said & set(question.alt_terms)))
    )
    return Verdict(term, result.kind == "answer" and result.facet in question.facets)


@dataclass(frozen=True)
class Share:
    """A share with its count and a 95 % bootstrap interval."""

    right: int
    count: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself, 0 when nothing was counted."""
        return self.right / self.count if self.count else 0.0


def share(hits: Sequence[bool], seed: int = 0) -> Share:
    """Count hits; the interval comes from 1,000 bootstrap draws."""
    n = len(hits)
    if not n:
        return Share(0, 0, 0.0, 0.0)
    rng = random.Random(seed)
    draws = sorted(sum(rng.choices(hits, k=n)) / n for _ in range(1000))
    return Share(sum(hits), n, draws[25], draws[974])


@dataclass(frozen=True)
class Scores:
    """What `tutor eval` prints."""

    in_scope: Share
    term: Share
    facet: Share
    declined: Share
    wrongly_declined: Share
    smalltalk: Share
    wrong_term: Share
    word_perfect: Share
    by_style: dict[str, Share]
    by_facet: dict[str, Share]
    by_category: dict[str, Share]
    by_kind: dict[str, Share]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)


def score(glossary: Glossary, questions: Sequence[Question], results: Sequence[Result]) -> Scores:
    """Judge all answers and group the verdicts."""
    verdicts = [judge(q, r) for q, r in zip(questions, results, strict=True)]
    rows = list(zip(questions, results, verdicts, strict=True))
    inside = [row for row in rows if row[0].scope == "answer"]
    outside = [row for row in rows if row[0].scope == "decline"]
    groups: dict[str, dict[str, list[bool]]] = {n: defaultdict(list) for n in ("s", "f", "c", "k")}
    for q, _, v in inside:
        groups["s"][q.style].append(v.right)
        groups["f"][q.facets[0]].append(v.right)
        for term in q.terms[:1]:
            if term in glossary:
                groups["c"][glossary[term].category].append(v.right)
    for q, _, v in outside:
        groups["k"][q.kind].append(v.right)
    shares = {
        name: {key: share(hits) for key, hits in sorted(group.items())}
        for name, group in groups.items()
    }
    return Scores(
        in_scope=share([v.right for _, _, v in inside]),
        term=share([v.term for _, _, v in inside]),
        facet=share([v.facet for _, _, v in inside]),
        declined=share([v.right for _, _, v in outside]),
        wrongly_declined=share([r.kind == "decline" for _, r, _ in inside]),
        smalltalk=share([v.right for q, _, v in rows if q.scope == "smalltalk"]),
        wrong_term=share([r.kind == "answer" and not v.term for _, r, v in inside]),
        word_perfect=share([r.similarity == 1.0 for _, r, _ in inside]),
        by_style=shares["s"],
        by_facet=shares["f"],
        by_category=shares["c"],
        by_kind=shares["k"],
    )


@dataclass(frozen=True)
class Bin:
    """Answers of nearly one probability: how many, how probable, and how many were right."""

    count: int
    probability: float
    right: float


def calibration(
    results: Sequence[Result], verdicts: Sequence[Verdict], bins: int = 10
) -> tuple[float, list[Bin]]:
    """Expected calibration error (Guo et al., 2017) of the answers' probabilities.

    Args:
        results: their `probability` is the length-normalised one that the page shows.
        bins: equal widths between 0 and 1.

    Returns:
        the error, 0 to 1, and the bins that hold an answer.
    """
    groups: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for result, verdict in zip(results, verdicts, strict=True):
        groups[min(bins - 1, int(result.probability * bins))].append(
            (result.probability, verdict.right)
        )
    table = [
        Bin(
            len(group), sum(p for p, _ in group) / len(group), sum(r for _, r in group) / len(group)
        )
        for _, group in sorted(groups.items())
    ]
    error = sum(b.count * abs(b.probability - b.right) for b in table) / max(1, len(results))
    return error, table


def exact_definitions(tutor: Tutor) -> tuple[Share, list[str]]:
    """Ask each term's plain definition question and compare letter by letter.

    Returns:
        the share and the terms that were not word-perfect.
    """
    from tutor.josa import fill

    asked = [
        Question(f"{entry.id}/{i}", [fill(frame, A=entry.term)], [entry.id])
        for entry in tutor.glossary
        for i, frame in enumerate(("{A:이} 뭐예요?", "{A:이} 뭐야?", "{A:이란} 무엇인가요?"))
    ]
    results = answer_all(tutor, asked)
    hits = [
        r.answer == tutor.glossary[q.terms[0]].definition
        for q, r in zip(asked, results, strict=True)
    ]
    missed = [q.terms[0] for q, hit in zip(asked, hits, strict=True) if not hit]
    return share(hits), list(dict.fromkeys(missed))


# -- the rule that keeps test questions and training text apart ------------------------------------


def masked_trigrams(text: str, names: Sequence[str]) -> set[str]:
    """Character trigrams with every glossary name replaced by one mark.

    Args:
        names: glossary names, longest first.
    """
    bare = text.lower()
    for name in names:
        bare = bare.replace(name.lower(), "\x00")
    bare = re.sub(r"\{[a-z](?::([가-힣]+))?\}", "\x00\\1", bare)
    bare = re.sub(r"[\s?.!,~]+", "", bare)
    return {bare[i : i + 3] for i in range(max(1, len(bare) - 2))}


def jaccard(a: set[str], b: set[str]) -> float:
    """Size of the intersection over the size of the union."""
    return len(a & b) / len(a | b) if a | b else 0.0


def glossary_names(glossary: Glossary) -> list[str]:
    """Names that are long enough to mask, with and without their spaces, longest first."""
    names = {name for entry in glossary for name in entry.names if len(name) > 1}
    names |= {name.replace(" ", "") for name in names}
    return sorted(names, key=len, reverse=True)


def near_pairs(texts: Sequence[str], names: Sequence[str], limit: float) -> list[tuple[int, int]]:
    """Pairs of texts whose masked trigrams have a Jaccard similarity over `limit`.

    Sets that alike share one of their rarest trigrams, so only those are looked up (prefix
    filtering; Chaudhuri et al., 2006).

    Args:
        names: glossary names, longest first.
    """
    grams = [masked_trigrams(text, names) for text in texts]
    often = Counter(gram for group in grams for gram in group)
    holders: dict[str, list[int]] = defaultdict(list)
    pairs = []
    for i in sorted(range(len(grams)), key=lambda i: len(grams[i])):
        rarest = sorted(grams[i], key=lambda gram: (often[gram], gram))
        prefix = rarest[: len(rarest) - int(limit * len(rarest)) + 1]
        for j in sorted({j for gram in prefix for j in holders[gram]}):
            if jaccard(grams[i], grams[j]) > limit:
                pairs.append((min(i, j), max(i, j)))
        for gram in prefix:
            holders[gram].append(i)
    return sorted(pairs)
