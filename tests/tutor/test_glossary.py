from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tutor.glossary import (
    FACET_NAMES,
    FACETS,
    TEXT_FACETS,
    Check,
    Comparison,
    Entry,
    Glossary,
    GlossaryError,
    load_glossary,
    make_id,
    read_glossary,
    save_glossary,
)

GOOD = {"term": "RNN", "definition": "RNN은 신경망이에요."}


@pytest.fixture
def write(tmp_path):
    def put(name, *rows, raw=None):
        path = tmp_path / name
        if raw is None:
            lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows]
            raw = "\n".join(lines).encode()
        path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
        return path

    return put


def problems(path):
    return [str(p) for p in read_glossary([path])[1]]


# -- what is wrong is named by file, line and field -----------------------------------------------


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        ({"definition": "뜻이에요."}, "term", "비어"),
        ({"term": "RNN"}, "definition", "비어"),
        ({"term": " ", "definition": "뜻이에요."}, "term", "비어"),
        ({"term": 3, "definition": "뜻이에요."}, "term", "글자여야"),
        ({**GOOD, "why": ["x"]}, "why", "글자여야"),
        ({**GOOD, "aliases": "알엔엔"}, "aliases", "목록"),
        ({**GOOD, "aliases": ["a", 1]}, "aliases", "목록"),
        ({**GOOD, "related": {"a": 1}}, "related", "목록"),
        ({**GOOD, "related": ["없는 말"]}, "related", "용어집에 없어요"),
        ({**GOOD, "related": ["rnn"]}, "related", "자기 자신"),
        ({**GOOD, "compare": [{"with": "없는 말", "text": "x"}]}, "compare", "용어집에 없어요"),
        ({**GOOD, "compare": [{"with": "LSTM"}]}, "compare", "모양"),
        ({**GOOD, "compare": ["LSTM"]}, "compare", "모양"),
        ({**GOOD, "compare": 5}, "compare", ""),
        ({**GOOD, "compare": {"with": "LSTM", "text": "x"}}, "compare", ""),
        ({**GOOD, "checks": True}, "checks", ""),
        ({**GOOD, "checks": [{"claim": "c", "verdict": "yes", "text": "네."}]}, "checks", "모양"),
        (
            {**GOOD, "checks": [{"claim": "c", "verdict": True, "text": "아니요."}]},
            "checks",
            "'네'",
        ),
        (
            {**GOOD, "checks": [{"claim": "c", "verdict": False, "text": "네."}]},
            "checks",
            "'아니요'",
        ),
        (
            {**GOOD, "checks": [{"claim": "c", "verdict": True, "text": "네.", "facet": "색"}]},
            "checks",
            "측면",
        ),
        ({"id": "lstm", **GOOD}, "id", "이미"),
        ({"id": "x", **GOOD, "term": "LSTM"}, "term", "이미"),
    ],
)
def test_a_fault_is_named(write, row, field, words):
    path = write("내 용어집.jsonl", {"term": "LSTM", "definition": "LSTM이에요."}, "", row)
    found = read_glossary([path])[1]
    assert len(found) == 1
    assert (found[0].file, found[0].line, found[0].field) == ("내 용어집.jsonl", 3, field)
    assert words in found[0].message
    assert str(found[0]).startswith(f"내 용어집.jsonl 3번째 줄 '{field}' 칸: ")
    with pytest.raises(GlossaryError, match="3번째 줄"):
        load_glossary(path)


@pytest.mark.parametrize(
    "line", ['{"term": "a"', "no json", "[1, 2]", "3", '"x"', "null", "[" * 9000]
)
def test_a_broken_line_is_named_and_the_others_are_read(write, line):
    path = write("g.jsonl", GOOD, line, {"term": "GPT", "definition": "GPT예요."})
    glossary, found = read_glossary([path])
    assert [e.id for e in glossary] == ["rnn", "gpt"]
    assert [(p.line, p.field) for p in found] == [(2, "")]


def test_deep_nesting_is_a_fault_like_any_other(write):
    row = json.dumps(GOOD)[:-1] + ', "how": ' + "[" * 900 + "]" * 900 + "}"
    assert "2번째 줄" in problems(write("g.jsonl", GOOD | {"term": "GPT"}, row))[0]


@pytest.mark.parametrize("name", ["g.json", "g.jsonl", "g.csv", "g.tsv"])
@pytest.mark.parametrize("raw", [b"", b"\n\n", b"\xff\xfe\x00", b"[" * 100_000, b"{}", b"\x00" * 9])
def test_useless_files_give_one_korean_sentence(write, name, raw):
    path = write(name, raw=raw)
    with pytest.raises(GlossaryError) as caught:
        load_glossary(path)
    assert any("가" <= c <= "힣" for c in str(caught.value))
    assert "\n" not in str(caught.value)


def test_other_places_are_said(tmp_path, write):
    for path, words in (
        (tmp_path / "nowhere.jsonl", "없어요"),
        (tmp_path, "없어요"),
        (write("g.docx", raw=b"PK"), "읽을 수 있는 파일은"),
    ):
        with pytest.raises(GlossaryError, match=words):
            read_glossary([path])


def test_a_json_list_is_read_and_its_fault_has_a_line(write):
    path = write("g.json", raw=json.dumps([GOOD, {"단어": "GPT", "뜻": "GPT예요."}]))
    assert [e.term for e in load_glossary(path)] == ["RNN", "GPT"]
    with pytest.raises(GlossaryError, match="3번째 줄"):
        load_glossary(write("h.json", raw='[\n{"term": "a"},\n nonsense]'))
    with pytest.raises(GlossaryError, match="목록이 아니에요"):
        load_glossary(write("i.json", raw='{"term": "a"}'))


# -- tables -------------------------------------------------------------------------------------

TABLE = """용어,설명,영문,별칭,왜,원리,예시,장점,단점,관련 용어,비고
트랜스포머,"트랜스포머는 신경망이에요, 정말이에요.",Transformer,트랜스퍼머; 변환기,빨라서요.,어텐션이요.,GPT요.,빨라요.,비싸요.,어텐션,x
어텐션,어텐션은 관계를 봐요.,,,,,,,,,
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_table_with_korean_headers(write, encoding, line_end):
    glossary = load_glossary(write("표.csv", raw=TABLE.replace("\n", line_end).encode(encoding)))
    first, second = glossary
    assert first == Entry(
        id="트랜스포머",
        term="트랜스포머",
        definition="트랜스포머는 신경망이에요, 정말이에요.",
        english="Transformer",
        aliases=("트랜스퍼머", "변환기"),
        why="빨라서요.",
        how="어텐션이요.",
        example="GPT요.",
        strength="빨라요.",
        limitation="비싸요.",
        related=("어텐션",),
    )
    assert second == Entry(id="어텐션", term="어텐션", definition="어텐션은 관계를 봐요.")


def test_tsv_and_other_headers(write):
    path = write("t.tsv", raw="단어\t뜻\t약자\t주의점\nGPT\tGPT예요.\tG, P, T요.\t틀려요.\n")
    (entry,) = load_glossary(path)
    assert (entry.expansion, entry.limitation) == ("G, P, T요.", "틀려요.")


def test_a_table_row_without_definition_is_named(write):
    path = write("t.csv", raw="용어,정의\nRNN,RNN이에요.\nGPT,\n")
    assert problems(path) == ["t.csv 3번째 줄 'definition' 칸: 꼭 있어야 하는데 비어 있어요."]


def test_empty_table_rows_are_passed_over(write):
    """Spreadsheets put rows of nothing but commas at the end."""
    path = write("t.csv", raw="용어,정의\nRNN,RNN이에요.\n,\n , \n")
    assert problems(path) == []


def test_a_comparison_column_of_a_table_is_one_problem_at_most(write):
    path = write("t.csv", raw="용어,정의,비교\nRNN,RNN이에요.,LSTM과 달리 문이 없어요.\n")
    assert len(problems(path)) <= 1


def test_byte_order_mark_and_decomposed_letters(write):
    raw = "\ufeff" + json.dumps({"용어": "어텐션", "뜻": "  어텐션은\n봐요. "}, ensure_ascii=False)
    import unicodedata

    (entry,) = load_glossary(write("g.jsonl", raw=unicodedata.normalize("NFD", raw)))
    assert (entry.term, entry.definition) == ("어텐션", "어텐션은 봐요.")


# -- anything at all ----------------------------------------------------------------------------

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["with", "text", "claim", "verdict", "facet"]) | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
keys = st.sampled_from([*Entry.__dataclass_fields__, "용어", "뜻", "비교", "관련"])
rows = st.one_of(
    values,
    st.dictionaries(keys, values, max_size=8),
    st.dictionaries(keys, values, max_size=6).map(lambda row: row | GOOD),
)


@given(st.lists(rows, max_size=4), st.sampled_from([".json", ".jsonl"]))
@example([GOOD | {"compare": 5}], ".json")
@example([GOOD | {"why": "\ud800"}], ".jsonl")
def test_arbitrary_json_gives_entries_or_problems(tmp_path, rows, suffix):
    path = tmp_path / f"any{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    try:
        glossary, found = read_glossary([path])
    except GlossaryError:
        return
    assert found or len(glossary) == len(rows)
    save_glossary(glossary, tmp_path / "again.jsonl")
    if len(glossary):
        assert load_glossary(tmp_path / "again.jsonl") == glossary


@given(st.text(max_size=60) | st.text(alphabet='용어,뜻"\n\r\t\x00a', max_size=60))
@example('용어,뜻\n"a\n')
@example("용어,뜻\n" + "a" * 200_000 + ",b")
def test_arbitrary_tables_give_entries_or_problems(tmp_path, text):
    path = tmp_path / "any.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read_glossary([path])
    except GlossaryError as error:
        assert str(error)


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
sentences = words.map(lambda w: " ".join(w.split()) or "말")


@st.composite
def glossaries(draw):
    terms = draw(
        st.lists(st.from_regex(r"[가-힣a-z]{1,8}", fullmatch=True), max_size=4, unique=True)
    )
    entries = []
    for term in terms:
        others = [t for t in terms if t != term]
        some = st.lists(st.sampled_from(others), max_size=2, unique=True) if others else st.just([])
        texts = {f: draw(st.just("") | sentences) for f in TEXT_FACETS if f != "definition"}
        entries.append(
            Entry(
                id=term,
                term=term,
                definition=draw(sentences),
                compare=tuple(Comparison(o, draw(sentences)) for o in draw(some)),
                checks=tuple(
                    Check(
                        draw(sentences), verdict, f"{'네' if verdict else '아니요'}, {term}", facet
                    )
                    for verdict, facet in draw(
                        st.lists(st.tuples(st.booleans(), st.sampled_from(TEXT_FACETS)), max_size=2)
                    )
                ),
                related=tuple(draw(some)),
                **texts,
            )
        )
    return Glossary(tuple(entries))


@given(glossaries())
def test_save_and_load_round_trip(tmp_path, glossary):
    import unicodedata

    path = tmp_path / "g.jsonl"
    save_glossary(glossary, path)
    again, found = read_glossary([path])
    assert found == []

    def nfc(entry):
        return unicodedata.normalize("NFC", repr(entry))

    assert [nfc(e) for e in again] == [nfc(e) for e in glossary]


# -- small parts --------------------------------------------------------------------------------


def test_links_may_be_names(write):
    path = write(
        "g.jsonl",
        {**GOOD, "aliases": ["순환 신경망"]},
        {
            "term": "LSTM",
            "definition": "LSTM이에요.",
            "related": ["순환 신경망", "rnn"],
            "compare": [{"with": "RNN", "text": "문이 있어요."}],
        },
    )
    lstm = load_glossary(path)["lstm"]
    assert lstm.related == ("rnn",)
    assert lstm.compare == (Comparison("rnn", "문이 있어요."),)


@pytest.mark.parametrize(
    ("term", "wanted"),
    [("GPT-3.5", "gpt-3-5"), ("은닉 상태", "은닉-상태"), ("KV 캐시", "kv-캐시"), ("!?", "term")],
)
def test_ids_are_made_from_terms(term, wanted):
    assert make_id(term) == wanted


def test_terms_that_make_the_same_id_are_different_terms(write):
    rows = [{"term": t, "definition": f"{t}예요."} for t in ("C", "C++", "C#", "π", "Σ")]
    glossary = load_glossary(write("g.jsonl", *rows))
    assert [e.term for e in glossary] == ["C", "C++", "C#", "π", "Σ"]
    assert len({e.id for e in glossary}) == 5


def test_several_files_are_one_glossary(write, tmp_path):
    write("a.jsonl", GOOD)
    write("b.jsonl", {"term": "GPT", "definition": "GPT예요.", "related": ["RNN"]})
    glossary = load_glossary(tmp_path)
    assert [e.id for e in glossary] == ["rnn", "gpt"]
    assert "rnn" in glossary
    assert "lstm" not in glossary
    write("c.jsonl", {"term": "rnn", "definition": "또 RNN이에요."})
    (problem,) = read_glossary([tmp_path])[1]
    assert "a.jsonl 1번째 줄" in problem.message


def test_every_facet_has_a_name():
    assert set(FACET_NAMES) == set(FACETS)
