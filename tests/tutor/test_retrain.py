from __future__ import annotations

import json

import pytest
import torch

from model.checkpoint import CheckpointError, load_checkpoint
from model.train import Interrupted
from tutor import retrain as room
from tutor.answers import Answer
from tutor.chat import Tutor
from tutor.glossary import Comparison, Entry, Glossary, load_glossary
from tutor.recipe import Recipe
from tutor.retrain import Curriculum, plan_steps, retrain, same_answer

RECIPE = Recipe(
    width=32,
    layers=1,
    heads=2,
    mlp_width=48,
    context=256,
    batch_tokens=256,
    pretrain_steps=4,
    chat_steps=6,
)
GLOSSARY = Glossary(
    (
        Entry("가위", "가위", "가위는 자르는 도구예요.", compare=(Comparison("풀", "달라요."),)),
        Entry("풀", "풀", "풀은 붙이는 도구예요.", related=("가위",)),
    )
)


@pytest.fixture(scope="module")
def shipped(glossary):
    return Curriculum(glossary, 1)


def test_plan_steps_shorten_all_stages_alike():
    full = {"pretrain": 400, "chat": 4000}
    seconds = {"pretrain": 0.5, "chat": 1.0}  # 4200 s in all
    assert plan_steps(full, seconds, 100) == full
    assert plan_steps(full, seconds, 35) == {"pretrain": 200, "chat": 2000}
    assert plan_steps(full, seconds, 0.01) == {"pretrain": 10, "chat": 10}


def test_same_answer():
    why = Answer("a", terms=("rnn",), facet="why")
    pair = Answer("b", terms=("rnn", "lstm"), facet="compare")
    no = Answer("c", "decline", facet="refuse", topic="term")
    assert same_answer(Answer("other words", terms=("rnn",), facet="why"), why)
    assert same_answer(Answer("b", terms=("lstm", "rnn"), facet="compare"), pair)
    assert same_answer(Answer("d", "decline", facet="refuse", topic="pair"), no)
    assert not same_answer(None, why)
    assert not same_answer(Answer("a", terms=("rnn",), facet="how"), why)
    assert not same_answer(Answer("a", terms=("gru",), facet="why"), why)
    assert not same_answer(no, why)


def test_held_out_wordings_are_never_trained_on(shipped):
    learn = set(shipped.maker.questions.texts())
    held = set(shipped.held_maker.questions.texts())
    assert held
    assert not learn & held
    assert learn | held == set(shipped.wordings)
    assert len(shipped.held_out) == 96


def test_the_data_hash_and_the_held_out_questions(shipped, glossary):
    again = Curriculum(glossary, 1)
    assert again.data_hash() == shipped.data_hash()
    assert again.held_out == shipped.held_out
    assert Curriculum(glossary, 2).held_out != shipped.held_out
    assert Curriculum(GLOSSARY, 1).data_hash() != shipped.data_hash()


def test_samplers_depend_on_the_given_random_state_and_fit(shipped, tokenizer):
    import random

    for stage in shipped.stages(tokenizer, {"pretrain": 1, "chat": 1}, 128):
        rng = random.Random(1)
        drawn = [stage.sample(rng) for _ in range(30)]
        rng = random.Random(1)
        assert [stage.sample(rng) for _ in range(30)] == drawn
        if stage.name == "chat":
            assert max(len(e.ids) for e in drawn) <= 128
            assert not all(all(e.learn) for e in drawn)
        else:
            assert all(all(e.learn) for e in drawn)


def test_a_glossary_of_nothing_but_definitions_can_be_taught():
    one = Glossary((Entry("가위", "가위", "가위는 자르는 도구예요."),))
    curriculum = Curriculum(one, 1)
    assert len(curriculum.held_out) == 96
    assert curriculum.passages == []


@pytest.fixture
def quick(monkeypatch):
    """Without the measuring, which takes longer than the training here."""
    monkeypatch.setattr(room, "greedy_answers", lambda m, t, talks: [""] * len(talks))


def train(out, **options):
    options = {"start": None, "steps": 12, "recipe": RECIPE} | options
    return retrain(GLOSSARY, out, **options)


def test_from_scratch_gives_a_model_that_opens(tmp_path):
    out = tmp_path / "out"
    recall = train(out, steps=6)
    assert set(recall.by_term) == {"가위", "풀"}
    assert recall.not_learnt == ["가위", "풀"]  # six steps teach nothing
    tutor = Tutor.open(out)
    assert [e.id for e in tutor.glossary] == ["가위", "풀"]
    assert tutor.ask(["가위가 뭐야?"])[0].tokens > 0
    tutor.close()
    training = json.loads((out / "training.json").read_text(encoding="utf-8"))
    assert training["steps"] == {"pretrain": 4, "chat": 6}
    assert training["results"] == recall.to_json()
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    stages = [json.loads(line)["stage"] for line in lines]
    assert stages == ["pretrain"] * 4 + ["chat"] * 6
    assert "held_out" in json.loads(lines[-1])
    # Both of GPT's stages are kept, and they are different models.
    before = load_checkpoint(out / "pretrained")
    after = load_checkpoint(out)
    assert not torch.equal(before.model.embedding.weight, after.model.embedding.weight)
    assert load_glossary(out / "pretrained" / "glossary.jsonl") == GLOSSARY
    assert {p.name for p in out.iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.model", "chat_template.jinja"),
        *("glossary.jsonl", "replies.jsonl", "training.json", "metrics.jsonl", "README.md"),
        "pretrained",
    }
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_stopped_and_resumed_is_the_same_model(tmp_path, quick):
    train(tmp_path / "whole", steps=6)
    with pytest.raises(Interrupted):
        train(tmp_path / "two", steps=6, should_stop=lambda: True)
    assert not (tmp_path / "two" / "config.json").exists()
    train(tmp_path / "two", resume=True, steps=None)
    assert weights(tmp_path / "two") == weights(tmp_path / "whole")
    assert weights(tmp_path / "two" / "pretrained") == weights(tmp_path / "whole" / "pretrained")


def test_a_result_that_could_not_be_stored_is_stored_on_resume(tmp_path, quick, monkeypatch):
    train(tmp_path / "whole", steps=6)
    out = tmp_path / "full"

    def full(*args, **kwargs):
        raise CheckpointError("모델을 저장하지 못했어요.")

    with monkeypatch.context() as patch:
        real = room.save_checkpoint
        patch.setattr(
            room,
            "save_checkpoint",
            lambda folder, *a, **k: (full if folder == out else real)(folder, *a, **k),
        )
        with pytest.raises(CheckpointError):
            train(out, steps=6)
    steps = []
    train(out, resume=True, steps=None, on_progress=steps.append)
    assert steps == []
    assert weights(out) == weights(tmp_path / "whole")


def test_going_on_from_a_model_keeps_its_tokenizer_and_leaves_it_alone(
    tmp_path, quick, weights_folder
):
    before = weights(weights_folder)
    train(tmp_path / "out", start=weights_folder, steps=2)
    old, new = load_checkpoint(weights_folder), load_checkpoint(tmp_path / "out")
    assert new.tokenizer.model == old.tokenizer.model
    assert new.training["steps"] == {"chat": 2}
    assert not torch.equal(new.model.embedding.weight, old.model.embedding.weight)
    assert weights(weights_folder) == before


def test_resuming_something_else_is_refused(tmp_path, quick):
    with pytest.raises(Interrupted):
        train(tmp_path / "out", should_stop=lambda: True)
    other = Glossary((Entry("자", "자", "자는 재는 도구예요."),))
    with pytest.raises(CheckpointError, match="다른 용어집"):
        retrain(other, tmp_path / "out", start=None, resume=True, recipe=RECIPE)
    with pytest.raises(CheckpointError, match="이어서 할 학습이 없어요"):
        train(tmp_path / "nothing", resume=True)
