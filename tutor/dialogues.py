"""Glossary -> question and answer pairs -> chat examples.

One `DialogueMaker` draws endless conversations from a glossary and the written wordings; every
draw depends on the given random state alone. `dialogue_dataset` freezes a number of them as a
`datasets.Dataset` in the conversational format (a `messages` column).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from model.tokenizer import BOS, END, EOS, UNK, Tokenizer
from model.train import Example
from tutor.answers import Answer, check_answer, related_answer, reverse_answer
from tutor.augment import initials, messy, respell_name
from tutor.glossary import TEXT_FACETS, Entry, Glossary
from tutor.josa import attach, fill
from tutor.questions import Questions, Whole
from tutor.recombine import borrowed_frames, lead_ins

Message = dict[str, str]

# How often a facet is asked for in wordings with a slot.
_FACET_WEIGHTS = {
    "definition": 18, "summary": 8, "simple": 7, "expansion": 9, "why": 12, "how": 12,
    "example": 10, "strength": 9, "limitation": 10, "related": 6,
}  # fmt: skip
# What a conversation's turn may be, and how often.
_TURN_WEIGHTS = {
    "frame": 34, "whole": 32, "compare": 8, "check": 12, "described": 3,
    "refuse": 14, "unknown": 13, "smalltalk": 7, "uncompared": 1,
}  # fmt: skip
_UNKNOWN_WEIGHTS = {
    "ai_other": 30, "domain": 18, "everyday": 8, "fake_whole": 10, "compound": 28, "number": 6,
}  # fmt: skip
# What stands for the term that was just talked about.
_PRONOUNS = (
    "그거", "그거", "이거", "그것", "걔", "얘", "저거", "그 말", "그 개념", "이 개념", "방금 그거", "아까 그거",
    "방금 말한 거", "그놈", "그 용어", "이 친구",
)  # fmt: skip
# Small talk that changes no subject.
_NODS = ("ack", "thanks", "praise")
# How often a wording with a slot is one that was written for another term, comes after somebody
# else's lead-in, or follows a mention of the term in the same message.
_BORROWED, _LED_IN, _MENTIONED = 0.3, 0.07, 0.1
_JOINTS = (". ", ". ", " ", "... ", ", ", " 근데 ", ". 그래서 ", "! ")
# Stands for a name while the words around it are messed up; nobody types it.
_NAMED = "\ue000"
# Tokens of an answer that is cut short.
_BRIEF_TOKENS = (8, 20)
_SETTINGS = (
    "딥러닝에서 ", "AI에서 말하는 ", "인공지능 용어 ", "요즘 말하는 ", "수업에서 배운 ", "논문에 나오는 ", "책에 나온 ",
    "뉴스에 나오는 ", "챗봇에 쓰이는 ", "언어 모델에서 ", "모델 안의 ", "방금 들은 ",
)  # fmt: skip


class DialogueMaker:
    """Draws conversations.

    Args:
        glossary: what may be asked about.
        questions: how it is asked; whole questions about other terms are left aside.
        replies: what is said when declining and in small talk, one text a topic.
    """

    def __init__(self, glossary: Glossary, questions: Questions, replies: Sequence[Answer]) -> None:
        self.glossary, self.questions = glossary, questions
        self._replies = {(r.kind, r.topic): r for r in replies}
        self._entries = list(glossary)
        self._answers: dict[tuple[str, str], Answer] = {}
        self._pairs: dict[frozenset[str], Answer] = {}
        self._claims: dict[tuple[str, str], Answer] = {}
        for entry in glossary:
            self._learn_entry(entry)
        self._whole = [w for w in questions.whole if self._whole_answer(w)]
        self._checks = [w for w in self._whole if w.claim]
        self._whole = [w for w in self._whole if not w.claim]
        self._descriptions = [(e, d) for e in self._entries for d in _descriptions(e)]
        self._only_initials = Counter(initials(n) for e in glossary for n in e.names)
        self._known = {_bare(name) for entry in glossary for name in entry.names}
        self._unknown = {
            kind: [word for word in words if _bare(word) not in self._known]
            for kind, words in questions.unknown.items()
        }
        self._borrowed = borrowed_frames(questions, glossary)
        self._lead_ins = lead_ins(questions, glossary)
        self._nods = [row for row in questions.smalltalk if row[0] in _NODS]
        self._pair_list = sorted(self._pairs, key=sorted)
        can = {
            "whole": self._whole,
            "compare": self._pairs and questions.frames.get("compare"),
            "check": self._checks,
            "described": self._descriptions and questions.frames.get("reverse"),
            "refuse": questions.refuse,
            "smalltalk": questions.smalltalk,
            "uncompared": len(self._entries) * (len(self._entries) - 1) // 2 > len(self._pairs)
            and questions.frames.get("compare"),
        }
        self._turns = {k: w for k, w in _TURN_WEIGHTS.items() if can.get(k, True)}

    def _learn_entry(self, entry: Entry) -> None:
        for facet in TEXT_FACETS:
            if text := getattr(entry, facet):
                self._answers[entry.id, facet] = Answer(text, terms=(entry.id,), facet=facet)
        if entry.related:
            self._answers[entry.id, "related"] = related_answer(self.glossary, entry)
        self._answers[entry.id, "reverse"] = reverse_answer(entry)
        for c in entry.compare:
            pair = (entry.id, c.other)
            self._pairs[frozenset(pair)] = Answer(c.text, terms=pair, facet="compare")
        for check in entry.checks:
            self._claims[entry.id, check.claim] = check_answer(entry, check)

    def _whole_answer(self, whole: Whole) -> Answer | None:
        if whole.claim:
            return self._claims.get((whole.terms[0], whole.claim))
        if len(whole.terms) > 1:
            return self._pairs.get(frozenset(whole.terms))
        return self._answers.get((whole.terms[0], whole.facet))

    # -- single turns: each returns (question, answer) or (question, answer, name) ------------
    #
    # With a name, `_NAMED` stands for it in the question: a name is read as it was typed, so that
    # typos fall on the words around it.

    def turn(self, rng: random.Random) -> tuple[str, Answer]:
        """One question out of nowhere, and its answer."""
        kind = rng.choices(list(self._turns), list(self._turns.values()))[0]
        text, answer, *name = getattr(self, f"_turn_{kind}")(rng)
        text = messy(text, rng)
        if name:
            text, answer = text.replace(_NAMED, name[0]), answer.naming(name[0])
        return text, answer

    def _turn_frame(self, rng: random.Random) -> tuple[str, Answer]:
        entry = rng.choice(self._entries)
        facet = self._facet(entry, rng)
        if self.questions.openers and rng.random() < _MENTIONED:
            text = self._mention(entry, rng).rstrip(".?!~ ") + rng.choice(_JOINTS)
            return text + self._leaning(facet, rng), self._answers[entry.id, facet]
        text = fill(self._frame(facet, rng), A=self._name(entry, rng, facet))
        return text, self._answers[entry.id, facet]

    def _turn_whole(self, rng: random.Random) -> tuple[str, Answer]:
        whole = rng.choice(self._whole)
        return whole.text, self._whole_answer(whole)

    def _turn_check(self, rng: random.Random) -> tuple[str, Answer]:
        whole = rng.choice(self._checks)
        return whole.text, self._whole_answer(whole)

    def _turn_described(self, rng: random.Random) -> tuple[str, Answer]:
        entry, description = rng.choice(self._descriptions)
        frame = rng.choice(self.questions.frames["reverse"])
        return frame.replace("{D}", description), self._answers[entry.id, "reverse"]

    def _turn_compare(self, rng: random.Random) -> tuple[str, Answer]:
        pair = rng.choice(self._pair_list)
        return self._compare_text(sorted(pair), rng), self._pairs[pair]

    def _turn_uncompared(self, rng: random.Random) -> tuple[str, Answer]:
        while True:
            a, b = rng.sample(self._entries, 2)
            if frozenset((a.id, b.id)) not in self._pairs:
                return self._compare_text([a.id, b.id], rng), self._replies["decline", "pair"]

    def _turn_refuse(self, rng: random.Random) -> tuple[str, Answer, str]:
        refused = rng.choice(self.questions.refuse)
        text = refused.text.replace(refused.name, _NAMED, 1) if refused.name else refused.text
        return text, self._replies["decline", refused.topic], refused.name

    def _turn_unknown(self, rng: random.Random) -> tuple[str, Answer, str]:
        word = self._unknown_word(rng)
        facet = rng.choices(list(_FACET_WEIGHTS), list(_FACET_WEIGHTS.values()))[0]
        if rng.random() < 0.08 and self.questions.frames.get("compare"):
            names = [word, self._name(rng.choice(self._entries), rng, "compare")]
            rng.shuffle(names)
            text = fill(self._frame("compare", rng), A=names[0], B=names[1])
        else:
            text = fill(self._frame(facet, rng), A=word)
        return text.replace(word, _NAMED, 1), self._replies["decline", "term"], word

    def _turn_smalltalk(self, rng: random.Random) -> tuple[str, Answer]:
        topic, text = rng.choice(self.questions.smalltalk)
        return text, self._replies["smalltalk", topic]

    # -- parts --------------------------------------------------------------------------------

    def _facet(self, entry: Entry, rng: random.Random) -> str:
        facets = [
            f
            for f in _FACET_WEIGHTS
            if (entry.id, f) in self._answers and self.questions.frames.get(f)
        ]
        return rng.choices(facets, [_FACET_WEIGHTS[f] for f in facets])[0]

    def _frame(self, facet: str, rng: random.Random) -> str:
        """A wording with a slot for this facet."""
        borrowed = self._borrowed.get(facet)
        if borrowed and rng.random() < _BORROWED:
            frame = rng.choice(borrowed)
        else:
            frame = rng.choice(self.questions.frames[facet])
        if self._lead_ins and rng.random() < _LED_IN:
            frame = f"{rng.choice(self._lead_ins)} {frame}"
        return frame

    def _mention(self, entry: Entry, rng: random.Random) -> str:
        """A message that brings up the entry and asks nothing yet."""
        text = rng.choice(self.questions.openers)
        return fill(text, A=self._name(entry, rng, "definition"))

    def _leaning(self, facet: str, rng: random.Random) -> str:
        """A question about what was just mentioned: a written one, or one with a pronoun."""
        wordings = self.questions.followups.get(("last", facet))
        if wordings and rng.random() < 0.55:
            return rng.choice(wordings)
        return fill(rng.choice(self.questions.frames[facet]), A=rng.choice(_PRONOUNS))

    def _name(self, entry: Entry, rng: random.Random, facet: str) -> str:
        names = entry.names
        if facet == "expansion":  # nobody asks what the spelt-out form stands for
            names = [n for n in names if len(n) < 25 or n == entry.term]
        name = entry.term if rng.random() < 0.45 else rng.choice(names)
        name = respell_name(name, rng)
        if rng.random() < 0.015 and len(name) >= 3 and self._only_initials[initials(name)] == 1:
            return initials(name)
        return rng.choice(_SETTINGS) + name if rng.random() < 0.04 else name

    def _compare_text(self, ids: list[str], rng: random.Random) -> str:
        a, b = rng.sample(ids, 2)
        names = [self._name(self.glossary[i], rng, "compare") for i in (a, b)]
        return fill(self._frame("compare", rng), A=names[0], B=names[1])

    def _unknown_word(self, rng: random.Random) -> str:
        kind = rng.choices(list(_UNKNOWN_WEIGHTS), list(_UNKNOWN_WEIGHTS.values()))[0]
        if kind == "compound":
            front, back = (
                rng.choice(self._unknown["fake_front"]),
                rng.choice(self._unknown["fake_back"]),
            )
            known = self._name(rng.choice(self._entries), rng, "definition")
            words = (f"{front} {known}", f"{known} {back}", f"{front} {back}")
            return rng.choice([word for word in words if _bare(word) not in self._known])
        if kind == "number":
            numbered = [e.term for e in self._entries if re.search(r"-?\d+(\.\d)?$", e.term)]
            stem = re.sub(r"-?\d+(\.\d)?$", "", rng.choice(numbered or ["GPT"]))
            number = rng.choice(
                (rng.randrange(6, 100), f"{rng.randrange(5)}.{rng.choice('1246789')}")
            )
            word = f"{stem}{rng.choice(('-', '', ' '))}{number}"
            return word if _bare(word) not in self._known else f"{stem}-77"
        return respell_name(rng.choice(self._unknown[kind]), rng)

    # -- conversations ------------------------------------------------------------------------

    def conversation(self, rng: random.Random) -> list[Message]:
        """A whole conversation in the messages form; every answer is one that was taught."""
        messages: list[Message] = []
        for text, answer in self.exchanges(rng):
            messages.append({"role": "user", "content": text})
            messages.append({"role": "assistant", "content": answer.text})
        return messages

    def exchanges(self, rng: random.Random) -> list[tuple[str, Answer]]:
        """A conversation as (question, answer) pairs, mostly a single one."""
        turns = rng.choices((1, 2, 3, 4, 5, 8), (72, 14, 8, 3, 2, 1))[0]
        pairs: list[tuple[str, Answer]] = []
        topics: list[str] = []
        for i in range(turns):
            text, answer = self._next_turn(topics, rng) if i else self._first_turn(turns, rng)
            pairs.append((text, answer))
            topics = [t for t in topics if t not in answer.terms]
            topics += reversed(answer.terms)
            if answer.kind == "decline":
                topics = []  # "why?" after a refusal leans on nothing that was taught
        return pairs

    def _first_turn(self, turns: int, rng: random.Random) -> tuple[str, Answer]:
        if turns > 1 and self.questions.openers and rng.random() < 0.25:
            entry = rng.choice(self._entries)
            return messy(self._mention(entry, rng), rng), self._answers[entry.id, "definition"]
        return self.turn(rng)

    def _next_turn(self, topics: list[str], rng: random.Random) -> tuple[str, Answer]:
        """A follow-up on the last topics, a nod, or a change of subject."""
        kind = rng.choices(("last", "new", "two", "nod", "fresh"), (42, 22, 9, 6, 21))[0]
        found = None
        if topics and kind == "last":
            found = self._follow_last(self.glossary[topics[-1]], rng)
        elif topics and kind == "new":
            found = self._follow_new(topics, rng)
        elif len(topics) > 1 and kind == "two":
            pair = self._pairs.get(frozenset(topics[-2:]))
            wordings = self.questions.followups.get(("two", "compare"))
            found = (rng.choice(wordings), pair) if pair and wordings else None
        elif kind == "nod" and self._nods:
            topic, text = rng.choice(self._nods)
            found = text, self._replies["smalltalk", topic]
        if found is None:
            return self.turn(rng)
        return messy(found[0], rng), found[1]

    def _follow_last(self, entry: Entry, rng: random.Random) -> tuple[str, Answer]:
        """Written follow-ups, and any wording with a pronoun in the term's place."""
        facet = self._facet(entry, rng)
        return self._leaning(facet, rng), self._answers[entry.id, facet]

    def _follow_new(self, topics: list[str], rng: random.Random) -> tuple[str, Answer] | None:
        """A question that names another term, or one from earlier on."""
        followups, last = self.questions.followups, topics[-1]
        others = [o for pair in self._pair_list if last in pair for o in pair if o != last]
        if others and rng.random() < 0.45:
            other = self.glossary[rng.choice(others)]
            facet, answer = "compare", self._pairs[frozenset((last, other.id))]
        else:
            earlier = topics[:-1] if rng.random() < 0.3 else []
            other = self.glossary[rng.choice(earlier)] if earlier else rng.choice(self._entries)
            facet = self._facet(other, rng)
            answer = self._answers[other.id, facet]
        name = self._name(other, rng, facet)
        frames = self.questions.frames.get("compare")
        if facet == "compare" and frames and rng.random() < 0.35:
            names = [rng.choice(_PRONOUNS), name]
            rng.shuffle(names)
            return fill(rng.choice(frames), A=names[0], B=names[1]), answer
        wordings = followups.get(("new", facet))
        return (fill(rng.choice(wordings), A=name), answer) if wordings else None

    def questions_for(self, entry: Entry, facet: str, count: int, rng: random.Random) -> list[str]:
        """Plain questions for one answer, without typos; for measuring."""
        frames = self.questions.frames.get(facet, [])
        chosen = rng.sample(frames, min(count, len(frames)))
        return [fill(frame, A=entry.term) for frame in chosen]

    def answer(self, entry_id: str, facet: str) -> Answer | None:
        """The taught answer for a term's facet, if there is one."""
        return self._answers.get((entry_id, facet))


def _bare(name: str) -> str:
    return re.sub(r"[\s\-]", "", name).lower()


def _descriptions(entry: Entry) -> list[str]:
    """Sentences about the entry that do not name it, its name at the front taken off."""
    out = []
    for facet in ("definition", "summary", "simple", "how", "why", "strength"):
        for sentence in re.split(r"(?<=[.!?]) ", getattr(entry, facet)):
            text = sentence
            for name in entry.names:
                for particle in ("은", "이", "을"):
                    text = text.removeprefix(attach(name, particle) + " ")
            if len(text) > 15 and not any(n.lower() in text.lower() for n in entry.names):
                out.append(text.rstrip("."))
    return out


# -- prose for pre-training -----------------------------------------------------------------------


def prose_sampler(glossary: Glossary, passages: Sequence[str]):
    """A function that draws one text of plain prose: a written passage, or an entry told at length.

    No question and no role token ever stands in it.
    """
    entries = list(glossary)

    def draw(rng: random.Random) -> str:
        if passages and rng.random() < 0.4:
            return rng.choice(passages)
        entry = rng.choice(entries)
        facets = [f for f in TEXT_FACETS if getattr(entry, f)]
        texts = [getattr(entry, f) for f in rng.sample(facets, rng.randint(1, min(5, len(facets))))]
        if entry.compare and rng.random() < 0.4:
            texts.append(rng.choice(entry.compare).text)
        return " ".join(texts)

    return draw


def prose_example(text: str, tokenizer: Tokenizer) -> Example:
    """A document for pre-training: everything is learnt."""
    ids = [BOS, *tokenizer.encode(text), EOS]
    return Example(ids, [True] * len(ids))


def chat_example(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    dropout: float,
    rng: random.Random,
    brief: float = 0.0,
    blank: float = 0.0,
) -> Example:
    """A conversation for chat tuning: only the answers and their `<|end|>` are learnt.

    Args:
        dropout: share of merges that BPE-dropout leaves out of the learner's messages.
        brief: how often the last answer stops after its first tokens. They decide what is
            answered, and are the hard part; the time is better spent on another question than on
            reciting the rest once more.
        blank: share of the learner's tokens that are replaced by `<unk>`, on average: an answer
            should not hang on one word of the question.
    """
    tokens = tokenizer.chat(messages, dropout=dropout, rng=rng)
    learn = [t.role == "assistant" and (not t.special or t.id == END) for t in tokens]
    size = len(tokens)
    if rng.random() < brief:
        start = max(i for i, learnt in enumerate(learn) if not learnt) + 1
        size = min(size, start + rng.randint(*_BRIEF_TOKENS))
    lost = rng.random() * 2 * blank
    ids = [
        UNK if t.role == "user" and not t.special and rng.random() < lost else t.id
        for t in tokens[:size]
    ]
    return Example(ids, learn[:size])


def dialogue_dataset(maker: DialogueMaker, count: int, seed: int) -> Any:
    """`count` conversations as a `datasets.Dataset` with a `messages` column.

    The same maker, count and seed give the same rows.
    """
    from datasets import Dataset

    rng = random.Random(seed)
    return Dataset.from_list([{"messages": maker.conversation(rng)} for _ in range(count)])
