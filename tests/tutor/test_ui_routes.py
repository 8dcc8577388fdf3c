import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tutor.trace import decode_attention, encode_attention
from tutor.ui.routes import build_routes, parse_heads
from tutor.ui.store import TraceStore


@pytest.fixture(scope="module")
def answered(tutor):
    _, trace = tutor.ask(["RNN은 뭐야?"], capture=True)
    return trace


@pytest.fixture(scope="module")
def web(tutor, answered):
    store = TraceStore()
    client = TestClient(Starlette(routes=build_routes(store, tutor.glossary)))
    client.trace_id = store.put(answered)
    return client


def test_a_row_travels_as_bytes(web, answered):
    response = web.get(f"/tutor/attention/{web.trace_id}/3")
    row = answered.attention(3)
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.content == encode_attention(row)
    sums = decode_attention(response.content, row.shape).sum(-1)
    assert np.allclose(sums, 1, atol=0.06)


def test_a_view_gives_the_mean_over_all_heads(web, answered):
    seen = web.get(f"/tutor/attention/{web.trace_id}/2/view").json()
    assert np.allclose(seen["weights"], answered.attention(2).mean((0, 1)))
    assert sum(seen["weights"]) == pytest.approx(1, abs=1e-4)
    assert seen["sentence"].endswith("요.")


def test_a_view_of_one_head_is_that_head(web, answered):
    seen = web.get(f"/tutor/attention/{web.trace_id}/2/view?heads=1.3").json()
    assert np.allclose(seen["weights"], answered.attention(2)[1, 3])
    assert seen["heads"] == [[1, 3]]


@pytest.mark.parametrize("path", ["0", "0/view"])
def test_an_unknown_id_is_404_in_korean(web, path):
    response = web.get(f"/tutor/attention/guess/{path}")
    assert response.status_code == 404
    assert "남아 있지 않아요" in response.json()["error"]


@pytest.mark.parametrize(
    "path", ["9999", "9999/view", "0/view?heads=9.0", "0/view?heads=x", "0/view?heads=0.-1"]
)
def test_an_impossible_step_or_head_is_400_in_korean(web, path):
    response = web.get(f"/tutor/attention/{web.trace_id}/{path}")
    assert response.status_code == 400
    assert response.json()["error"].endswith("없어요.")


def test_heads_are_read_from_the_address():
    assert parse_heads("", 2, 4) == []
    assert parse_heads("0.3,1.0", 2, 4) == [(0, 3), (1, 0)]
    with pytest.raises(ValueError):
        parse_heads("2.0", 2, 4)


def test_the_glossary_comes_whole_with_working_links(web, glossary):
    page = web.get("/tutor/glossary").json()
    ids = {entry["id"] for entry in page["entries"]}
    assert ids == {entry.id for entry in glossary}
    assert {entry["category"] for entry in page["entries"]} == set(page["categories"])
    for entry in page["entries"]:
        assert {other for other, *_ in entry["related"] + entry["compare"]} <= ids
        shown = dict(entry["facets"])
        assert shown["뜻"] and entry["question"].endswith("뭐야?")


def test_search_keys_forgive_spaces_and_case(web):
    entry = next(
        each for each in web.get("/tutor/glossary").json()["entries"] if each["id"] == "rnn"
    )
    assert "rnn" in entry["names"]
    assert "순환신경망" in entry["names"] or "recurrentneuralnetwork" in entry["names"]


def test_a_comparison_is_found_from_both_sides(web, glossary):
    page = {entry["id"]: entry for entry in web.get("/tutor/glossary").json()["entries"]}
    for entry in glossary:
        for each in entry.compare:
            assert each.other in [other for other, *_ in page[entry.id]["compare"]]
            assert entry.id in [other for other, *_ in page[each.other]["compare"]]
