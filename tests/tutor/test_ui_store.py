import numpy as np
import pytest

from model.generate import GREEDY, Step
from tutor.trace import Trace
from tutor.ui.store import Running, TraceStore, trace_bytes


def recording(tokenizer, keys: int) -> Trace:
    prompt = tokenizer.chat([{"role": "user", "content": "RNN"}], prompt=True)
    row = np.full((2, 4, keys), 1 / keys, np.float32)
    step = Step(7, 1.0, [(7, 1.0)], row, len(prompt))
    return Trace("hash", GREEDY, tokenizer, 2, 4, 64, prompt, [step])


def test_a_recording_is_found_under_its_id_and_no_other(tokenizer):
    store = TraceStore()
    trace = recording(tokenizer, 5)
    trace_id = store.put(trace)
    assert store.get(trace_id) is trace
    with pytest.raises(KeyError):
        store.get(trace_id + "x")


def test_ids_cannot_be_guessed(tokenizer):
    store = TraceStore()
    ids = {store.put(recording(tokenizer, 1)) for _ in range(50)}
    assert len(ids) == 50
    assert all(len(each) >= 24 for each in ids)


def test_the_least_recently_used_leaves_first(tokenizer):
    size = trace_bytes(recording(tokenizer, 100))
    store = TraceStore(max_bytes=2 * size)
    first, second = store.put(recording(tokenizer, 100)), store.put(recording(tokenizer, 100))
    store.get(first)
    third = store.put(recording(tokenizer, 100))
    assert store.get(first) and store.get(third)
    with pytest.raises(KeyError):
        store.get(second)


def test_one_recording_stays_however_large(tokenizer):
    store = TraceStore(max_bytes=1)
    assert store.get(store.put(recording(tokenizer, 500)))
    store.put(recording(tokenizer, 500))
    assert len(store) == 1


def test_growth_after_putting_counts(tokenizer):
    trace = recording(tokenizer, 100)
    store = TraceStore(max_bytes=3 * trace_bytes(trace))
    grown = store.put(trace)
    trace.steps += trace.steps * 4
    store.put(recording(tokenizer, 100))
    with pytest.raises(KeyError):
        store.get(grown)


def test_number_of_recordings_is_bounded(tokenizer):
    store = TraceStore(max_count=3)
    for _ in range(10):
        store.put(recording(tokenizer, 1))
    assert len(store) == 3


class FakeReply:
    def __init__(self):
        self.cancelled = False

    def cancel(self):
        self.cancelled = True


def test_stopping_reaches_only_the_session_that_asks():
    running, mine, yours = Running(), FakeReply(), FakeReply()
    running.start("me", mine)
    running.start("you", yours)
    assert running.stop("me")
    assert mine.cancelled and running.stopped(mine)
    assert not yours.cancelled and not running.stopped(yours)
    assert not running.stop("nobody")


def test_finishing_cancels_and_forgets():
    running, reply = Running(), FakeReply()
    running.start("me", reply)
    running.finish("me", reply)
    assert reply.cancelled
    assert not running.stop("me")
