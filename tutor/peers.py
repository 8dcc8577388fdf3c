"""Simple answerers to compare the model with: no network, the very same training pairs.

Each reads a learner's turns and picks the answer of a training pair, with a score that says how
sure it is. Below its threshold it declines; the threshold is tuned on other questions than those
it is judged on.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from rapidfuzz import fuzz, process
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import SGDClassifier

from tutor.answers import Answer
from tutor.chat import Result
from tutor.dialogues import DialogueMaker
from tutor.evaluate import Question, Share, Verdict, judge, share
from tutor.glossary import Glossary

# Separates the turns of a conversation: all of them are read, the last one last.
_TURN = " ▸ "


@dataclass(frozen=True)
class Pair:
    """What a learner said, all turns joined, and the right answer to the last."""

    text: str
    answer: Answer


@dataclass(frozen=True)
class Guess:
    """An answer and how sure the peer is of it (higher is surer; scales differ by peer)."""

    answer: Answer
    score: float


class Peer(Protocol):
    """What all peers can do."""

    name: str

    def guess(self, texts: Sequence[str]) -> list[Guess]:
        """One guess for each text."""


def join_turns(turns: Sequence[str]) -> str:
    """A conversation as one text."""
    return _TURN.join(turns)


def training_pairs(maker: DialogueMaker, count: int, seed: int) -> list[Pair]:
    """Pairs from the conversations that the model is trained on: one from each answer given.

    The wordings are those of the training, with its typos; `count` conversations are drawn.
    """
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        turns: list[str] = []
        for text, answer in maker.exchanges(rng):
            turns.append(text)
            pairs.append(Pair(join_turns(turns), answer))
    return pairs


class CharacterTfidf:
    """The nearest training question by TF-IDF over character n-grams."""

    name = "문자 n-그램 TF-IDF"

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._answers = [pair.answer for pair in pairs]
        self._vectorizer = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=2, dtype=np.float32
        )
        self._index = self._vectorizer.fit_transform(pair.text for pair in pairs)

    def guess(self, texts: Sequence[str]) -> list[Guess]:
        """The answer of the most similar question; the score is the cosine."""
        return _nearest(self._vectorizer.transform(texts) @ self._index.T, self._answers)


class MorphemeBm25:
    """The best training question by BM25 (Robertson et al., 1994) over Kiwi's morphemes.

    Args:
        split: words of a text; Kiwi's morphemes when left out.
    """

    name = "형태소 BM25"

    def __init__(
        self,
        pairs: Sequence[Pair],
        split: Callable[[Sequence[str]], list[list[str]]] | None = None,
        k1: float = 1.2,
        b: float = 0.75,
    ) -> None:
        self._split = split or kiwi_morphemes()
        self._answers = [pair.answer for pair in pairs]
        self._counter = CountVectorizer(analyzer=lambda words: words, dtype=np.float32)
        counts = self._counter.fit_transform(self._split([pair.text for pair in pairs])).tocsr()
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        found = np.asarray((counts > 0).sum(axis=0)).ravel()
        rarity = np.log1p((len(pairs) - found + 0.5) / (found + 0.5)).astype(np.float32)
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        damping = k1 * (1 - b + b * lengths[rows] / max(lengths.mean(), 1e-9))
        counts.data = rarity[counts.indices] * counts.data * (k1 + 1) / (counts.data + damping)
        self._index = counts

    def guess(self, texts: Sequence[str]) -> list[Guess]:
        """The answer of the best question; the score is BM25 divided by the words asked with."""
        words = self._split(texts)
        asked = (self._counter.transform(words) > 0).astype(np.float32)
        guesses = _nearest(asked @ self._index.T, self._answers)
        return [
            Guess(g.answer, g.score / max(1, len(w))) for g, w in zip(guesses, words, strict=True)
        ]


def kiwi_morphemes() -> Callable[[Sequence[str]], list[list[str]]]:
    """Kiwi as a splitter: morphemes without 조사, endings and punctuation.

    Raises:
        ImportError: when kiwipiepy is not installed.
    """
    from kiwipiepy import Kiwi

    kiwi = Kiwi(num_workers=1)

    def split(texts: Sequence[str]) -> list[list[str]]:
        return [
            [token.form.lower() for token in tokens if token.tag[0] not in "JES"]
            or [token.form for token in tokens]
            for tokens in kiwi.tokenize(list(texts))
        ]

    return split


class LinearIntents:
    """A linear classifier for what is wanted, a fuzzy matcher for the terms it is wanted of.

    The classifier reads character n-grams and knows the facets, each topic of declining and of
    small talk, `reverse` and `compare`; the terms are the names found in the last turn, else in
    earlier ones.
    """

    name = "선형 분류기 + 퍼지 용어 찾기"

    def __init__(self, pairs: Sequence[Pair], glossary: Glossary) -> None:
        self._glossary = glossary
        self._by_label: dict[tuple[Any, ...], Answer] = {}
        for pair in pairs:
            self._by_label.setdefault(self._key(pair.answer), pair.answer)
        self._reverse = CharacterTfidf([p for p in pairs if p.answer.facet == "reverse"] or pairs)
        self._checks = CharacterTfidf([p for p in pairs if p.answer.topic == "check"] or pairs)
        self._names = {
            re.sub(r"[\s\-]", "", name.lower()): entry.id
            for entry in glossary
            for name in entry.names
        }
        self._vectorizer = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, min_df=3, dtype=np.float32
        )
        table = self._vectorizer.fit_transform(pair.text for pair in pairs)
        self._classifier = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=15, random_state=1)
        self._classifier.fit(table, [self._intent(pair.answer) for pair in pairs])

    @staticmethod
    def _intent(answer: Answer) -> str:
        if answer.kind != "answer":
            return f"{answer.kind}/{answer.topic}"
        return "check" if answer.topic == "check" else answer.facet

    def _key(self, answer: Answer) -> tuple[Any, ...]:
        return (self._intent(answer), frozenset(answer.terms))

    def terms(self, text: str) -> list[str]:
        """Ids of the terms named in a conversation, the last turn's first, the best match first."""
        found: dict[str, float] = {}
        for turn in reversed(text.split(_TURN)):
            bare = re.sub(r"[\s\-]", "", turn.lower())
            matches = process.extract(
                bare, list(self._names), scorer=fuzz.partial_ratio, score_cutoff=80, limit=12
            )
            # The longest of equally good names: "셀프어텐션" rather than "어텐션".
            for name, score, _ in sorted(matches, key=lambda m: (-round(m[1]), -len(m[0]))):
                if len(name) > 1 and len(bare) >= len(name) - 1:
                    found.setdefault(self._names[name], score)
            if len(found) > 1:
                break
        return list(found)

    def guess(self, texts: Sequence[str]) -> list[Guess]:
        """The answer of intent and terms; the score is the intent's probability."""
        table = self._vectorizer.transform(texts)
        chances = self._classifier.predict_proba(table)
        labels = self._classifier.classes_[chances.argmax(axis=1)]
        out = []
        for text, label, chance in zip(texts, labels, chances.max(axis=1), strict=True):
            out.append(self._answer(text, str(label), float(chance)))
        return out

    def _answer(self, text: str, intent: str, chance: float) -> Guess:
        if intent == "reverse":
            return self._reverse.guess([text])[0]
        if intent == "check":
            return self._checks.guess([text])[0]
        if "/" in intent:
            return Guess(self._by_label[intent, frozenset()], chance)
        named = self.terms(text)
        wanted = frozenset(named[:2] if intent == "compare" else named[:1])
        answer = self._by_label.get((intent, wanted))
        if answer is None:  # nothing is known of these terms in this respect
            return Guess(Answer("", "decline", facet="refuse"), 0.0)
        return Guess(answer, chance)


def _nearest(similar: sparse.spmatrix, answers: Sequence[Answer]) -> list[Guess]:
    """The best column of each row."""
    similar = similar.tocsr()
    out = []
    for row in range(similar.shape[0]):
        start, end = similar.indptr[row], similar.indptr[row + 1]
        if start == end:
            out.append(Guess(Answer("", "decline", facet="refuse"), 0.0))
            continue
        best = start + int(similar.data[start:end].argmax())
        out.append(Guess(answers[similar.indices[best]], float(similar.data[best])))
    return out


# -- thresholds and the comparison -----------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """Our share of right answers less a peer's, with a paired bootstrap's 95 % interval."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Comparison:
    """How a peer fared on the questions that the model was asked.

    Attributes:
        in_scope, declined, wrongly_declined, wrong_term: as in `tutor.evaluate.Scores`.
        ahead: how far the model is ahead, in scope: overall, on follow-ups, on stories.
    """

    name: str
    in_scope: Share
    declined: Share
    wrongly_declined: Share
    wrong_term: Share
    ahead: dict[str, Difference]


def as_result(guess: Guess, threshold: float) -> Result:
    """A guess in the form in which answers are judged."""
    answer = guess.answer
    if guess.score < threshold or answer.kind == "decline":
        return Result("", "decline", [], "refuse", None, guess.score, None, 0, 0.0)
    terms, facet = list(answer.terms), answer.facet
    return Result(answer.text, answer.kind, terms, facet, 1.0, guess.score, None, 0, 0.0)


def tuned_threshold(questions: Sequence[Question], guesses: Sequence[Guess]) -> float:
    """The threshold with the most right replies, small talk and declining included."""
    scores = sorted({guess.score for guess in guesses})
    candidates = [0.0, *scores[:: max(1, len(scores) // 200)], np.inf]

    def right(threshold: float) -> int:
        rows = zip(questions, guesses, strict=True)
        return sum(judge(q, as_result(g, threshold)).right for q, g in rows)

    return max(candidates, key=right)


def cross_tuned(questions: Sequence[Question], guesses: Sequence[Guess]) -> list[Result]:
    """Results of all questions, each half's threshold tuned on the other half."""
    results: list[Result | None] = [None] * len(questions)
    for half in (0, 1):
        judged = [i for i in range(len(questions)) if i % 2 == half]
        tuned = [i for i in range(len(questions)) if i % 2 != half]
        threshold = tuned_threshold([questions[i] for i in tuned], [guesses[i] for i in tuned])
        for i in judged:
            results[i] = as_result(guesses[i], threshold)
    return results


def paired_difference(ours: Sequence[bool], theirs: Sequence[bool], seed: int = 0) -> Difference:
    """Mean difference on the same questions; 2,000 bootstrap draws of questions."""
    gaps = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    if not len(gaps):
        return Difference(0.0, 0.0, 0.0, 0)
    rng = np.random.default_rng(seed)
    means = gaps[rng.integers(0, len(gaps), (2000, len(gaps)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Difference(float(gaps.mean()), float(low), float(high), len(gaps))


def compare(
    questions: Sequence[Question], ours: Sequence[Verdict], name: str, results: Sequence[Result]
) -> Comparison:
    """Judge a peer's results and hold them against the model's verdicts."""
    theirs = [judge(q, r) for q, r in zip(questions, results, strict=True)]
    rows = list(zip(questions, ours, theirs, results, strict=True))
    inside = [row for row in rows if row[0].scope == "answer"]
    groups = {
        "전체": inside,
        "이어 묻기": [row for row in inside if len(row[0].turns) > 1],
        "이야기·에두른 질문": [row for row in inside if row[0].style in ("story", "indirect")],
    }
    return Comparison(
        name,
        in_scope=share([v.right for _, _, v, _ in inside]),
        declined=share([v.right for q, _, v, _ in rows if q.scope == "decline"]),
        wrongly_declined=share([r.kind == "decline" for _, _, _, r in inside]),
        wrong_term=share([r.kind == "answer" and not v.term for _, _, v, r in inside]),
        ahead={
            group: paired_difference(
                [o.right for _, o, _, _ in part], [v.right for _, _, v, _ in part]
            )
            for group, part in groups.items()
        },
    )


def compare_peers(
    maker: DialogueMaker,
    questions: Sequence[Question],
    ours: Sequence[Verdict],
    *,
    conversations: int = 20_000,
    seed: int = 1,
) -> list[Comparison]:
    """Build all peers from training pairs and compare them with the model's verdicts.

    Raises:
        ImportError: when scikit-learn or kiwipiepy is not installed.
    """
    pairs = training_pairs(maker, conversations, seed)
    texts = [join_turns(question.turns) for question in questions]
    makers: list[Callable[[], Peer]] = [
        lambda: CharacterTfidf(pairs),
        lambda: MorphemeBm25(pairs),
        lambda: LinearIntents(pairs, maker.glossary),
    ]
    out = []
    for make in makers:
        peer = make()
        results = cross_tuned(questions, peer.guess(texts))
        out.append(compare(questions, ours, peer.name, results))
    return out
