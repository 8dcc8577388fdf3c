from __future__ import annotations

import errno
import itertools
import json
import random

import pytest
import torch

from model.checkpoint import CheckpointError
from model.train import (
    METRICS_FILE,
    RESUME_FILE,
    Example,
    Interrupted,
    Stage,
    Trainer,
    TrainSettings,
    draw,
    pack,
    schedule,
    seconds_per_step,
    settings_fingerprint,
    summed_loss,
)

VOCAB = 97
SETTINGS = TrainSettings(
    seed=3, batch_tokens=80, save_every=2, evaluate_every=2, muon_lr=0.01, dropout=0.2
)


def sample(rng: random.Random) -> Example:
    """A run of counting ids, so that there is something to learn."""
    start, size = rng.randrange(8, 60), rng.randrange(2, 14)
    learn = [rng.random() < 0.7 for _ in range(size)]
    return Example([start + i for i in range(size)], learn)


STAGES = [Stage("pretrain", 3, sample), Stage("chat", 5, sample)]


# -- batches ------------------------------------------------------------------------------------


def test_the_examples_of_a_step_are_a_function_of_seed_stage_and_step():
    stage = STAGES[1]
    one = draw(stage, 5, SETTINGS, 64)
    random.seed(1)
    torch.manual_seed(1)
    assert one == draw(stage, 5, SETTINGS, 64)
    assert one == draw(Stage("chat", 999, sample), 5, SETTINGS, 64)
    assert one != draw(stage, 6, SETTINGS, 64)
    assert one != draw(STAGES[0], 5, SETTINGS, 64)
    assert one != draw(stage, 5, TrainSettings(**{**vars(SETTINGS), "seed": 4}), 64)


def test_a_step_has_the_tokens_asked_for_in_whole_documents():
    for step in range(8):
        sizes = [len(example.ids) - 1 for example in draw(STAGES[1], step, SETTINGS, 64)]
        assert sum(sizes) >= 80 > sum(sizes[:-1])
        assert max(len(e.ids) - 1 for e in draw(STAGES[1], step, SETTINGS, 6)) <= 6


@pytest.mark.parametrize("size", [1, 50])
def test_documents_of_which_none_can_be_used_are_an_error(size):
    stage = Stage("chat", 1, lambda rng: Example([9] * size, [True] * size))
    with pytest.raises(ValueError, match="chat"):
        draw(stage, 0, SETTINGS, 20)


def test_pack_never_splits_and_targets_are_one_ahead():
    examples = [sample(random.Random(i)) for i in range(40)]
    batch = pack(examples)
    left, start = list(examples), 0
    for count, length in batch.documents:
        for _ in range(count):
            span = slice(start, start + length)
            start += length
            ids, targets = batch.ids[span].tolist(), batch.targets[span].tolist()
            assert batch.positions[span].tolist() == list(range(length))
            for size in range(length, 0, -1):  # shortest padding first
                wanted = [
                    e
                    for e in left
                    if e.ids[:-1] == ids[:size]
                    and targets[:size]
                    == [t if k else -1 for t, k in zip(e.ids[1:], e.learn[1:], strict=True)]
                ]
                if wanted:
                    break
            left.remove(wanted[0])
            assert targets[size:] == [-1] * (length - size)
            assert size >= 0.7 * length
    assert left == []
    assert start == len(batch.ids) == len(batch.targets) == len(batch.positions)


def test_the_loss_is_the_cross_entropy_of_the_learnt_tokens_of_each_document(gpt):
    examples = [sample(random.Random(i)) for i in range(9)]
    wanted = 0.0
    with torch.inference_mode():
        for example in examples:
            log_p = gpt(torch.tensor([example.ids]))[0].log_softmax(-1)
            for i, token in enumerate(example.ids[1:]):
                if example.learn[i + 1]:
                    wanted -= float(log_p[i, token])
    assert float(summed_loss(gpt, pack(examples)).detach()) == pytest.approx(wanted, rel=1e-4)


def test_schedule_rises_stays_and_falls():
    steps = 100
    settings = TrainSettings(warmup=0.1, decay=0.4)
    rates = [schedule(step, steps, settings) for step in range(steps)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:61] == [1.0] * 52
    assert all(a < b for a, b in itertools.pairwise(rates[:10]))
    assert all(a > b for a, b in itertools.pairwise(rates[60:]))
    assert rates[-1] == pytest.approx(1 / 40)
    for steps in (1, 2, 3):
        assert all(0 < schedule(s, steps, TrainSettings()) <= 1 for s in range(steps))


# -- the loop -----------------------------------------------------------------------------------


@pytest.fixture
def train(make_gpt, tmp_path):
    """Trains a fresh copy of the same network in a folder; returns the trainer."""

    def start(folder="run", *, resume=False, prepare=None, **options):
        model = make_gpt(VOCAB, scale=0.1)
        options = {"fingerprint": "same"} | options
        stages, settings = options.pop("stages", STAGES), options.pop("settings", SETTINGS)
        trainer = Trainer(model, stages, settings, tmp_path / folder, **options)
        if prepare:
            prepare(trainer)
        try:
            trainer.run(resume=resume)
        except Interrupted:
            trainer.interrupted = True
        else:
            trainer.interrupted = False
        return trainer

    return start


def metrics(trainer):
    text = (trainer.folder / METRICS_FILE).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def weights(trainer):
    return list(trainer.model.parameters())


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def test_it_learns(train):
    stages = [Stage("chat", 60, sample)]
    trainer = train(stages=stages)
    losses = [row["loss"] for row in metrics(trainer)]
    assert len(losses) == 60
    assert sum(losses[-5:]) / 5 < 0.6 * losses[0]
    assert not trainer.model.training


def test_a_finished_training_can_be_resumed_to_store_its_result(train, uninterrupted):
    """Storing it may have failed: the disk was full, say."""
    ends = []
    again = train("whole", resume=True, on_stage_end=lambda model, stage: ends.append(stage))
    assert equal(again, uninterrupted)
    assert metrics(again) == metrics(uninterrupted)
    assert ends == []


def test_it_is_repeatable(train):
    assert equal(train("a"), train("b"))
    other = TrainSettings(**{**vars(SETTINGS), "seed": 4})
    assert not equal(train("a"), train("c", settings=other))


def test_what_is_told_on_the_way(train):
    told, ends = [], []
    trainer = train(
        on_progress=told.append,
        on_stage_end=lambda model, stage: ends.append(stage),
        evaluate=lambda model, stage: {"training": model.training, "on": stage},
    )
    assert [(p.stage, p.step, p.steps) for p in told] == [
        *(("pretrain", i, 3) for i in (1, 2, 3)),
        *(("chat", i, 5) for i in (1, 2, 3, 4, 5)),
    ]
    assert [p.done for p in told] == [i / 8 for i in range(1, 9)]
    assert told[-1].seconds_left == 0
    assert ends == ["pretrain", "chat"]
    measured = [(r["stage"], r["step"]) for r in metrics(trainer) if "on" in r]
    assert measured == [*(("pretrain", i) for i in (2, 3)), *(("chat", i) for i in (2, 4, 5))]
    assert all(r["training"] is False for r in metrics(trainer) if "on" in r)


@pytest.fixture
def uninterrupted(train):
    return train("whole")


@pytest.mark.parametrize("stop", range(1, 9))
@pytest.mark.parametrize("how", ["asked", "ctrl-c"])
def test_resume_after_any_step_equals_an_uninterrupted_run(train, uninterrupted, stop, how):
    ends = []
    count = 0

    def counted(*_):
        nonlocal count
        count += 1
        if how == "ctrl-c" and count == stop:
            raise KeyboardInterrupt

    first = train(
        on_progress=counted,
        should_stop=lambda: how == "asked" and count == stop,
        on_stage_end=lambda model, stage: ends.append(stage),
    )
    assert first.interrupted
    second = train(resume=True, on_stage_end=lambda model, stage: ends.append(stage))
    assert not second.interrupted
    assert equal(second, uninterrupted)
    assert metrics(second) == metrics(uninterrupted)
    assert ends == ["pretrain", "chat"]


def stop_inside(step, when):
    """Ctrl+C before, or just after, the weights of a step have been updated."""

    def prepare(trainer):
        fresh = trainer._fresh_optimizer
        calls = 0

        def patched():
            optimizer = fresh()
            update = optimizer.step

            def interrupted(scale):
                nonlocal calls
                calls += 1
                if calls == step and when == "before":
                    raise KeyboardInterrupt
                update(scale)
                if calls == step:
                    raise KeyboardInterrupt

            optimizer.step = interrupted
            return optimizer

        trainer._fresh_optimizer = patched
        trainer.optimizer = patched()

    return prepare


@pytest.mark.parametrize("step", [3, 4, 7, 8])
@pytest.mark.parametrize("when", ["before", "after"])
def test_ctrl_c_in_the_middle_of_an_update_leaves_a_true_resume_point(
    train, uninterrupted, step, when
):
    assert train(prepare=stop_inside(step, when)).interrupted
    again = train(resume=True)
    assert equal(again, uninterrupted)
    assert metrics(again) == metrics(uninterrupted)


def test_a_killed_run_goes_on_from_the_last_resume_point(train, uninterrupted):
    """Killed without a word after step 5 of 8; half a line stands in the metrics."""

    class Killed(BaseException):
        pass

    def kill(progress):
        if (progress.stage, progress.step) == ("chat", 3):
            raise Killed

    with pytest.raises(Killed):
        train(on_progress=kill)
    path = uninterrupted.folder.parent / "run" / METRICS_FILE
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"stage": "chat", "st')
    again = train(resume=True)
    assert equal(again, uninterrupted)
    assert metrics(again) == metrics(uninterrupted)


def stopped(train, **options):
    return train(should_stop=lambda: True, **options)


def refused(train, **options):
    with pytest.raises(CheckpointError) as caught:
        train(resume=True, **options)
    message = str(caught.value)
    assert any("가" <= letter <= "힣" for letter in message)
    assert "\n" not in message
    return message


def test_another_fingerprint_is_refused(train):
    first = stopped(train)
    before = (first.folder / RESUME_FILE).read_bytes()
    assert "다른 용어집" in refused(train, fingerprint="another")
    assert (first.folder / RESUME_FILE).read_bytes() == before


def test_nothing_to_resume_is_said(train):
    assert "이어서 할 학습이 없어요" in refused(train)


@pytest.mark.parametrize("keep", [0, 5, 0.3, 0.99])
def test_a_cut_off_resume_file_is_said(train, keep):
    path = stopped(train).folder / RESUME_FILE
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep) if isinstance(keep, float) else keep])
    assert RESUME_FILE in refused(train)


def test_a_foreign_safetensors_file_is_no_resume_point(train):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, stopped(train).folder / RESUME_FILE)
    refused(train)


def test_a_full_disk_while_saving_is_said_and_keeps_the_last_point(train, monkeypatch):
    folder = stopped(train).folder
    before = (folder / RESUME_FILE).read_bytes()

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("model.train.write_atomically", full)
    with pytest.raises(CheckpointError, match="No space left"):
        stopped(train)
    assert (folder / RESUME_FILE).read_bytes() == before


def test_timing_a_step_leaves_the_model_as_it_was(make_gpt, tmp_path):
    model = make_gpt(VOCAB)
    before = [p.detach().clone() for p in model.parameters()]
    assert seconds_per_step(model, STAGES[0], SETTINGS, tmp_path) > 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert list(tmp_path.iterdir()) == []


def test_the_fingerprint_names_what_shapes_the_result():
    base = settings_fingerprint(SETTINGS, data="a", steps={"chat": 1})
    assert base == settings_fingerprint(
        TrainSettings(**{**vars(SETTINGS), "save_every": 9, "evaluate_every": 9}),
        data="a",
        steps={"chat": 1},
    )
    for change in ({"seed": 9}, {"muon_lr": 0.5}, {"batch_tokens": 96}):
        changed = TrainSettings(**{**vars(SETTINGS), **change})
        assert settings_fingerprint(changed, data="a", steps={"chat": 1}) != base
    assert settings_fingerprint(SETTINGS, data="b", steps={"chat": 1}) != base
    assert settings_fingerprint(SETTINGS, data="a", steps={"chat": 2}) != base
