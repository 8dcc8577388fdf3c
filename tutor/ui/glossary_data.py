"""The glossary in the form that the 용어집 tab shows and searches."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from tutor.glossary import FACET_NAMES, TEXT_FACETS, Entry, Glossary
from tutor.josa import attach

_IGNORED = re.compile(r"[\s\-_·.,()'/]+")


def search_key(text: str) -> str:
    """Text as search compares it: NFC, lower case, without spaces and punctuation."""
    return _IGNORED.sub("", unicodedata.normalize("NFC", text).lower())


def _compared(entry: Entry, glossary: Glossary) -> list[tuple[str, str]]:
    """Comparisons with other terms, also those that stand in the other's entry."""
    own = [(each.other, each.text) for each in entry.compare]
    theirs = [
        (other.id, each.text)
        for other in glossary
        for each in other.compare
        if each.other == entry.id and other.id not in dict(own)
    ]
    return own + theirs


def _entry(entry: Entry, glossary: Glossary) -> dict[str, Any]:
    facets = [facet for facet in TEXT_FACETS if facet != "summary" and getattr(entry, facet)]
    return {
        "id": entry.id,
        "term": entry.term,
        "english": entry.english,
        "aliases": [name for name in entry.aliases if name != entry.english],
        "category": entry.category,
        "summary": entry.summary or entry.definition,
        "facets": [[FACET_NAMES[facet], getattr(entry, facet)] for facet in facets],
        "compare": [
            [other, glossary[other].term, text] for other, text in _compared(entry, glossary)
        ],
        "checks": [[c.claim, c.verdict, c.text] for c in entry.checks],
        "related": [[other, glossary[other].term] for other in entry.related],
        "question": f"{attach(entry.term, '은')} 뭐야?",
        "names": [search_key(name) for name in entry.names],
        "text": search_key(f"{entry.summary} {entry.definition}"),
    }


def glossary_page(glossary: Glossary) -> dict[str, Any]:
    """Everything the tab needs, in one piece: categories in order, and the entries."""
    return {
        "categories": list(glossary.categories),
        "entries": [_entry(entry, glossary) for entry in glossary],
    }
