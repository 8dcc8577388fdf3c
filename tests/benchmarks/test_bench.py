"""The benchmark itself: its rows, its peers computing the very same thing, its verdicts.

How fast anything is, `tutor bench` says; a test on a busy machine could not.
"""

from __future__ import annotations

import math

import pytest
import torch

from model.checkpoint import save_checkpoint
from model.engine import Engine
from model.tokenizer import SPECIAL_NAMES
from tutor import bench as b

pytestmark = pytest.mark.bench

ALWAYS = {
    "token.ours",
    "token.no_cache",
    "ratio.no_cache",
    "batch.context.1",
    "batch.everyday.1",
    "first.ours",
    "train.ours",
    "train.plain",
    "ratio.train",
    "peak.fp32",
    "share.ours",
    "share.plain",
}
PEERS = {
    "transformers": "transformers",
    "transformers_attention": "transformers",
    "ctranslate2": "ctranslate2",
    "onnxruntime": "onnxruntime",
}


def installed(package: str) -> bool:
    try:
        b.import_module(package)
    except ImportError:
        return False
    return True


@pytest.fixture(scope="module")
def report(tmp_path_factory, make_gpt, tokenizer):
    folder = tmp_path_factory.mktemp("bench") / "weights"
    # ONNX Runtime's attention wants heads of at least 16.
    gpt = make_gpt(len(tokenizer), scale=0.1, heads=2, context=512)
    save_checkpoint(folder, gpt, tokenizer, {})
    return b.bench(folder, quick=True)


@pytest.fixture(scope="module")
def plain_speaker(make_gpt):
    """A network whose likeliest token is never a special one, so that nobody masks anything."""
    gpt = make_gpt(heads=2, context=128)
    with torch.no_grad():
        gpt.embedding.weight[: len(SPECIAL_NAMES)] = 0
    return gpt


def test_every_number_is_finite_and_positive(report):
    keys = [row.key for row in report.rows]
    assert set(keys) >= ALWAYS
    assert len(set(keys)) == len(keys)
    for row in report.rows:
        assert math.isfinite(row.value) and row.value > 0, row


def test_each_peer_has_a_row_or_a_reason(report):
    for key, package in PEERS.items():
        found = {row.key for row in report.rows}
        if installed(package) and (key != "onnxruntime" or installed("onnx")):
            assert {f"token.{key}", f"ratio.{key}", f"first.{key}"} <= found
        else:
            assert f"token.{key}" not in found
            assert any("빼고 쟀어요" in note for note in report.notes)


def test_a_missing_peer_is_left_out_with_a_korean_line(monkeypatch, make_gpt):
    def nothing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(b, "import_module", nothing)
    report = b.bench_decoding(make_gpt(), b.QUICK, cores=1)
    assert not {f"token.{key}" for key in PEERS} & {row.key for row in report.rows}
    assert sum("꾸러미가 없어요" in note for note in report.notes) == len(PEERS)


def test_a_peer_in_trouble_is_left_out(monkeypatch, make_gpt):
    def trouble(gpt):
        raise RuntimeError("안 돼요")

    monkeypatch.setattr(b, "with_ctranslate2", trouble)
    report = b.bench_decoding(make_gpt(heads=2), b.QUICK, cores=1)
    assert "token.ctranslate2" not in {row.key for row in report.rows}
    assert any("안 돼요" in note for note in report.notes)


def test_ratios_follow_from_the_times_beside_them(report):
    ours = report["token.ours"].value
    ratio = report["token.no_cache"].value / ours
    assert report["ratio.no_cache"].value == pytest.approx(ratio)
    ratio = report["train.ours"].value / report["train.plain"].value
    assert report["ratio.train"].value == pytest.approx(ratio)


def test_tables_are_text_with_goals_and_lengths(report):
    tables = report.tables()
    assert sum(len(lines) for _, _, lines in tables) == len(report.rows)
    for title, headings, lines in tables:
        assert title
        for line in lines:
            assert len(line) == len(headings)
            assert all(isinstance(cell, str) for cell in line)
    text = str(tables)
    assert "프롬프트 16 + 생성 16" in text
    assert "≥ 3.5" in text and "≥ 5" in text
    assert any("너비" in note for note in report.notes)
    assert any("짧게 잰" in note for note in report.notes)
    assert report.to_json()["rows"][0]["key"] == report.rows[0].key


@pytest.mark.parametrize(
    ("value", "unit", "goal", "passed"),
    [
        (3.6, "배", 3.5, True),
        (3.4, "배", 3.5, False),
        (40, "ms", 50, True),
        (60, "ms", 50, False),
        (1, "배", None, None),
    ],
)
def test_verdicts(value, unit, goal, passed):
    row = b.Row("key", "section", "이름", value, unit, goal)
    assert row.passed is passed
    assert ("✓" in row.cells()[2], "✗" in row.cells()[2]) == (passed is True, passed is False)


def test_flops_of_a_small_step_counted_by_hand(make_gpt):
    config = make_gpt().config  # width 32, 2 layers, feed-forward 48, 97 tokens
    blocks = 2 * (4 * 32 * 32 + 3 * 32 * 48)
    # 3 rows of 10 tokens, 7 of them learnt; attention: 4 products of 10 x 32 a token and layer.
    want = 6 * blocks * 30 + 6 * 97 * 32 * 7 + 3 * (2 * 2 * 10 * 32) * 2 * 30
    assert b.training_flops(config, [(3, 10)], 7) == want


def test_the_plain_loop_has_as_many_matrix_weights(make_gpt):
    gpt = make_gpt()

    def matrices(model):
        return sum(p.numel() for n, p in model.named_parameters() if "blocks" in n and p.dim() == 2)

    assert matrices(b.PlainGPT(gpt.config)) == matrices(gpt)


def test_our_cached_steps_equal_transformers(make_gpt, make_ids):
    pytest.importorskip("transformers")
    gpt = make_gpt()
    ids = make_ids(2, 24)
    with torch.inference_mode():
        theirs = b.as_transformers(gpt, "eager")(ids, output_attentions=True)
        cache = gpt.new_cache(2, 24)
        hidden, _ = gpt.extend(ids[:, :20], cache, [0, 0])
        logits = [gpt.logits(hidden)]
        for at in range(20, 24):
            hidden, weights = gpt.extend(ids[:, at : at + 1], cache, [at, at])
            logits.append(gpt.logits(hidden))
            for ours, their in zip(weights, theirs.attentions, strict=True):
                torch.testing.assert_close(
                    ours[:, :, 0], their[:, :, at, : at + 1], rtol=0, atol=1e-4
                )
    torch.testing.assert_close(torch.cat(logits, dim=1), theirs.logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("key", ["no_cache", *PEERS])
def test_every_contender_says_what_we_say(key, plain_speaker):
    gpt = plain_speaker
    if key != "no_cache":
        pytest.importorskip(PEERS[key])
    if key == "onnxruntime":
        pytest.importorskip("onnx")
    make = {
        "no_cache": b.without_cache,
        "transformers": lambda gpt: b.with_transformers(gpt, False),
        "transformers_attention": lambda gpt: b.with_transformers(gpt, True),
        "ctranslate2": b.with_ctranslate2,
        "onnxruntime": b.with_onnxruntime,
    }[key]
    prompt = list(range(10, 30))
    engine = Engine(gpt, 2, end=None)
    (ours,) = b.ours(engine, True)([prompt], 12)
    engine.close()
    said = make(gpt)([prompt], 12)
    if key == "ctranslate2":
        said = said[0].sequences_ids[0]
    elif key != "onnxruntime":
        said = said[0, len(prompt) :].tolist()
    assert said == ours
