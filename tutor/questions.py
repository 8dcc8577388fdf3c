"""How people ask: the written wordings in data/questions, loaded and split.

Nothing here is put together by a template; templates with slots are filled in `dialogues`.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Whole:
    """A complete question about particular terms."""

    terms: tuple[str, ...]
    facet: str
    text: str
    claim: str = ""


@dataclass(frozen=True)
class Refused:
    """A message to decline.

    Attributes:
        topic: of the reply.
        name: what the message asks about, as it stands in the text; empty where nothing is named.
    """

    topic: str
    text: str
    name: str = ""


@dataclass(frozen=True)
class Questions:
    """All wordings.

    Attributes:
        frames: wordings with slots `{A}`, `{B}`, `{A:은}` by facet; `reverse` has `{D}`.
        whole: complete questions; those with a claim belong to a check.
        refuse: messages to decline.
        smalltalk: (topic of the reply, message) pairs.
        followups: by (what it leans on: "last", "two" or "new"; facet).
        openers: messages that mention `{A}` and ask nothing yet.
        unknown: words that are no terms of the glossary, by kind.
    """

    frames: dict[str, list[str]]
    whole: list[Whole] = field(default_factory=list)
    refuse: list[Refused] = field(default_factory=list)
    smalltalk: list[tuple[str, str]] = field(default_factory=list)
    followups: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    openers: list[str] = field(default_factory=list)
    unknown: dict[str, list[str]] = field(default_factory=dict)

    def texts(self) -> Iterable[str]:
        """Every wording."""
        for group in (*self.frames.values(), *self.followups.values()):
            yield from group
        yield from (w.text for w in self.whole)
        yield from (r.text for r in self.refuse)
        yield from (text for _, text in self.smalltalk)
        yield from self.openers

    def split(self, share: float) -> tuple[Questions, Questions]:
        """(to learn from, held out): by a hash of each text, so that a text never changes sides."""

        def held(text: str) -> bool:
            return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32 < share

        def part(keep: Callable[[str], bool]) -> Questions:
            return replace(
                self,
                frames={f: [t for t in ts if keep(t)] for f, ts in self.frames.items()},
                whole=[w for w in self.whole if keep(w.text)],
                refuse=[r for r in self.refuse if keep(r.text)],
                smalltalk=[s for s in self.smalltalk if keep(s[1])],
                followups={k: [t for t in ts if keep(t)] for k, ts in self.followups.items()},
                openers=[t for t in self.openers if keep(t)],
            )

        return part(lambda text: not held(text)), part(held)


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def load_questions(folder: Path) -> Questions:
    """Read data/questions."""
    folder = Path(folder)
    frames: dict[str, list[str]] = defaultdict(list)
    for row in _rows(folder / "frames.jsonl"):
        frames[row["facet"]].append(row["text"])
    followups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in _rows(folder / "followups.jsonl"):
        followups[row["needs"], row["facet"]].append(row["text"])
    return Questions(
        frames=dict(frames),
        whole=[
            Whole(tuple(row["terms"]), row["facet"], row["text"], row.get("claim", ""))
            for name in ("whole.jsonl", "checks.jsonl")
            for row in _rows(folder / name)
        ],
        refuse=[
            Refused(row["topic"], row["text"], row.get("name", ""))
            for row in _rows(folder / "refuse.jsonl")
        ],
        smalltalk=[(row["topic"], row["text"]) for row in _rows(folder / "smalltalk.jsonl")],
        followups=dict(followups),
        openers=[row["text"] for row in _rows(folder / "openers.jsonl")],
        unknown=json.loads((folder / "unknown_words.json").read_text(encoding="utf-8")),
    )
