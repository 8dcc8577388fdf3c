"""Load, validate and save glossaries.

A glossary is a file (or several) of entries, one term each; the schema is in data/README.md.
Whatever is wrong is named by file, line and field, in Korean.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import unicodedata
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

# Facets whose answer is a text of the entry, in the order in which a page shows them.
TEXT_FACETS = (
    "definition",
    "summary",
    "simple",
    "expansion",
    "why",
    "how",
    "example",
    "strength",
    "limitation",
)
FACETS = (*TEXT_FACETS, "compare", "related", "check", "reverse")
FACET_NAMES = {
    "definition": "뜻",
    "summary": "한 줄 요약",
    "simple": "쉬운 설명",
    "expansion": "이름 풀이",
    "why": "왜 필요한가",
    "how": "원리",
    "example": "예",
    "strength": "장점",
    "limitation": "한계",
    "compare": "비교",
    "related": "관련 용어",
    "check": "확인",
    "reverse": "이름 찾기",
}
# Usual headers of people's own files.
_HEADERS = {
    "term": "용어 단어 낱말 표제어 word name",
    "definition": "설명 정의 뜻 의미 description meaning",
    "english": "영문 영어 영문명 영어명",
    "expansion": "약자 풀이 약어풀이",
    "category": "분류 범주 카테고리",
    "aliases": "별칭 동의어 다른이름",
    "summary": "요약 한줄요약",
    "simple": "쉬운설명",
    "why": "왜 필요성 이유",
    "how": "원리 방법 작동원리",
    "example": "예시 예 사례",
    "strength": "장점 강점",
    "limitation": "단점 한계 주의점",
    "compare": "비교",
    "related": "관련 관련용어",
    "checks": "확인 오해",
}
_COLUMN = {alias: key for key, names in _HEADERS.items() for alias in [key, *names.split()]}
_ID = re.compile(r"[^0-9a-z가-힣]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")  # and lone halves of a letter


@dataclass(frozen=True)
class Comparison:
    """How the entry differs from another term."""

    other: str
    text: str


@dataclass(frozen=True)
class Check:
    """A belief people have, whether it holds, and the answer beginning with 네 or 아니요.

    `facet` says which side of the term the belief is about.
    """

    claim: str
    verdict: bool
    text: str
    facet: str = "definition"


@dataclass(frozen=True)
class Entry:
    """One term. Facets that are not there are empty strings."""

    id: str
    term: str
    definition: str
    aliases: tuple[str, ...] = ()
    english: str = ""
    expansion: str = ""
    category: str = ""
    summary: str = ""
    simple: str = ""
    why: str = ""
    how: str = ""
    example: str = ""
    strength: str = ""
    limitation: str = ""
    compare: tuple[Comparison, ...] = ()
    checks: tuple[Check, ...] = ()
    related: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The term, its English name and aliases, each once."""
        return tuple(dict.fromkeys(n for n in (self.term, *self.aliases, self.english) if n))


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        field = f" '{self.field}' 칸" if self.field else ""
        return f"{self.file} {self.line}번째 줄{field}: {self.message}"


class GlossaryError(Exception):
    """The glossary cannot be used; `problems` names every fault."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        more = f" (그 밖에 {len(problems) - 1}곳)" if len(problems) > 1 else ""
        super().__init__(f"{self.problems[0]}{more}")


@dataclass(frozen=True)
class Glossary:
    """Entries in order, found by id."""

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {entry.id: entry for entry in self.entries})

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self):
        return iter(self.entries)

    def __getitem__(self, entry_id: str) -> Entry:
        return self._by_id[entry_id]

    def __contains__(self, entry_id: object) -> bool:
        return entry_id in self._by_id

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories in the order of their first entry."""
        return tuple(dict.fromkeys(entry.category for entry in self.entries))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        text = unicodedata.normalize("NFC", value)
        return " ".join(_CONTROL.sub(" ", text).split())
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    return value


def _read_rows(path: Path) -> Iterable[tuple[int, Any]]:
    """(line number, row) pairs of a JSONL, JSON, CSV or TSV file."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = (
            "파일이 없어요" if isinstance(error, FileNotFoundError) else "파일을 읽을 수 없어요"
        )
        raise GlossaryError([Problem(path.name, 1, "", reason + ".")]) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = raw.decode("cp949")  # Korean Excel's "CSV"
        except UnicodeDecodeError as error:
            message = "글자를 읽을 수 없어요. UTF-8이나 CP949로 저장해 주세요."
            raise GlossaryError([Problem(path.name, 1, "", message)]) from error
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        table = io.StringIO(text, newline="")
        reader = csv.DictReader(table, delimiter="\t" if suffix == ".tsv" else ",")
        try:
            for row in reader:
                named = {_column(key): v for key, v in row.items() if key and v and v.strip()}
                for key in ("aliases", "related"):
                    if key in named:
                        named[key] = [part.strip() for part in re.split("[,;/]", named[key])]
                if named:
                    yield reader.line_num, named
        except csv.Error as error:
            message = "표의 칸을 나눌 수 없어요."
            raise GlossaryError([Problem(path.name, reader.line_num, "", message)]) from error
    elif suffix == ".json":
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", 1)
            raise GlossaryError([Problem(path.name, line, "", "JSON이 깨졌어요.")]) from error
        if not isinstance(rows, list):
            raise GlossaryError([Problem(path.name, 1, "", "JSON이 목록이 아니에요.")])
        yield from ((i, _renamed(row)) for i, row in enumerate(rows, 1))
    elif suffix == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    yield number, _renamed(json.loads(line))
                except (ValueError, RecursionError):
                    yield number, None
    else:
        message = "읽을 수 있는 파일은 .jsonl, .json, .csv, .tsv예요."
        raise GlossaryError([Problem(path.name, 1, "", message)])


def _column(header: str) -> str:
    bare = unicodedata.normalize("NFC", header).strip()
    return _COLUMN.get(bare.replace(" ", "").lower(), bare)


def _renamed(row: Any) -> Any:
    return (
        {_column(str(key)): value for key, value in row.items()} if isinstance(row, dict) else row
    )


def make_id(term: str) -> str:
    """A stable key from a term."""
    return _ID.sub("-", term.lower()).strip("-") or "term"


def _free(key: str, taken: Container[str]) -> str:
    """The key, numbered when another term has made the same one ("C" and "C++")."""
    numbered = (f"{key}-{n}" for n in itertools.count(2))
    return key if key not in taken else next(k for k in numbered if k not in taken)


def _build(row: dict[str, Any], complain) -> Entry | None:
    """An entry from a cleaned row; `complain(field, message)` collects what is wrong."""
    good = True

    def bad(field: str, message: str) -> None:
        nonlocal good
        good = False
        complain(field, message)

    for field in ("term", "definition"):
        if not row.get(field):
            bad(field, "꼭 있어야 하는데 비어 있어요.")
    for field in fields(Entry):
        value = row.get(field.name)
        if value is None or field.name in ("compare", "checks"):
            continue
        if field.name in ("aliases", "related"):
            if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
                bad(field.name, "글자 목록이어야 해요.")
        elif not isinstance(value, str):
            bad(field.name, "글자여야 해요.")
    compare, checks = [], []
    lists = {}
    for key in ("compare", "checks"):
        lists[key] = row.get(key) or []
        if not isinstance(lists[key], list):
            bad(key, "목록이어야 해요.")
            lists[key] = []
    for item in lists["compare"]:
        if isinstance(item, dict) and all(isinstance(item.get(k), str) for k in ("with", "text")):
            compare.append(Comparison(item["with"], item["text"]))
        else:
            bad("compare", '{"with": 용어, "text": 글} 모양이어야 해요.')
    for item in lists["checks"]:
        if (
            isinstance(item, dict)
            and isinstance(item.get("claim"), str)
            and isinstance(item.get("text"), str)
            and isinstance(item.get("verdict"), bool)
        ):
            start = "네" if item["verdict"] else "아니요"
            facet = item.get("facet", "definition")
            if not item["text"].startswith(start):
                bad("checks", f"답이 '{start}'로 시작해야 해요: {item['text'][:20]}")
            elif facet not in TEXT_FACETS:
                bad("checks", f"'{facet}'라는 측면은 없어요.")
            else:
                checks.append(Check(item["claim"], item["verdict"], item["text"], facet))
        else:
            bad("checks", '{"claim", "verdict": true/false, "text"} 모양이어야 해요.')
    if not good:
        return None
    texts = {f: row.get(f) or "" for f in (*TEXT_FACETS, "english", "category")}
    return Entry(
        id=row.get("id") or make_id(row["term"]),
        term=row["term"],
        aliases=tuple(a for a in row.get("aliases") or [] if a),
        related=tuple(r for r in row.get("related") or [] if r),
        compare=tuple(compare),
        checks=tuple(checks),
        **texts,
    )


def read_glossary(paths: Sequence[Path]) -> tuple[Glossary, list[Problem]]:
    """Read what can be read; the problems say what could not.

    Links (`related`, `compare`) may name an id, a term or an alias; those that name nothing are
    dropped and reported. So are entries whose id or term is already taken.
    """
    problems: list[Problem] = []
    found: list[tuple[Entry, str, int]] = []
    taken: dict[str, str] = {}
    for path in _files(paths):
        for line, row in _read_rows(path):

            def complain(field: str, message: str, where=(path.name, line)) -> None:
                problems.append(Problem(*where, field, message))

            try:
                row = _clean(row)
            except RecursionError:
                row = None
            if not isinstance(row, dict):
                complain("", "JSON 한 줄로 읽을 수 없어요.")
                continue
            entry = _build(row, complain)
            if entry is None:
                continue
            if not row.get("id"):
                entry = replace(entry, id=_free(entry.id, taken))
            for key, field in ((entry.id, "id"), (entry.term.lower(), "term")):
                if key in taken:
                    complain(field, f"'{key}'이(가) {taken[key]}에 이미 있어요.")
                    break
            else:
                taken[entry.id] = taken[entry.term.lower()] = f"{path.name} {line}번째 줄"
                found.append((entry, path.name, line))
    return Glossary(tuple(_resolve(found, problems))), problems


def _files(paths: Sequence[Path]) -> list[Path]:
    out: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(path.glob("*.jsonl"))
            if not inside:
                message = "폴더 안에 .jsonl 용어집이 없어요."
                raise GlossaryError([Problem(str(path), 1, "", message)])
            out += inside
        else:
            out.append(path)
    return out


def _resolve(found, problems: list[Problem]) -> list[Entry]:
    """Turn links into ids, dropping those that lead nowhere."""
    ids = {entry.id for entry, _, _ in found}
    by_name = {name.lower(): entry.id for entry, _, _ in reversed(found) for name in entry.names}
    out = []
    for entry, file, line in found:

        def target(link: str, field: str, where=(file, line), own=entry.id) -> str | None:
            hit = link if link in ids else by_name.get(link.lower())
            if hit is None or hit == own:
                reason = "자기 자신을 가리켜요" if hit else "용어집에 없어요"
                problems.append(Problem(*where, field, f"'{link}'이(가) {reason}."))
                return None
            return hit

        related = [t for link in entry.related if (t := target(link, "related"))]
        compare = [
            Comparison(t, c.text) for c in entry.compare if (t := target(c.other, "compare"))
        ]
        values = {f.name: getattr(entry, f.name) for f in fields(Entry)}
        values |= {"related": tuple(dict.fromkeys(related)), "compare": tuple(compare)}
        out.append(Entry(**values))
    return out


def load_glossary(*paths: Path) -> Glossary:
    """Read a glossary that must be faultless (the shipped one, or one already checked).

    Raises:
        GlossaryError: naming file, line and field of every fault.
    """
    glossary, problems = read_glossary(paths)
    if not problems and not len(glossary):
        problems = [Problem(str(paths[0]), 1, "", "용어가 하나도 없어요.")]
    if problems:
        raise GlossaryError(problems)
    return glossary


def save_glossary(glossary: Glossary, path: Path) -> None:
    """Write one JSON object a line, empty fields left out."""
    lines = []
    for entry in glossary:
        row = {key: value for key, value in asdict(entry).items() if value}
        if entry.compare:
            row["compare"] = [{"with": c.other, "text": c.text} for c in entry.compare]
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
