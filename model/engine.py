"""Many conversations on one model: continuous batching with a preallocated key/value cache.

Conversations occupy the first rows of one cache. Each round admits whoever waits, runs one token
for everybody, and hands each conversation its `Step`. When one ends, the last row moves into its
place, so that the active rows stay together and every product stays dense.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from model.generate import CANDIDATES, GREEDY, NEVER_SAID, Sampling, Step, choose, distribution
from model.gpt import GPT
from model.tokenizer import END

# Conversations up to which one thread is as fast as several.
_FEW = 3


class TooLong(ValueError):
    """The prompt leaves no room for an answer within the model's context."""


class Generation:
    """One answer in the making: iterate over it for its steps, as they come."""

    def __init__(self, ids: Sequence[int], sampling: Sampling, limit: int, capture: bool) -> None:
        self.prompt = list(ids)
        self.sampling, self.limit, self.capture = sampling, limit, capture
        self.said: list[int] = []
        self.generator = torch.Generator().manual_seed(sampling.seed)
        self.cancelled = False
        self._steps: queue.SimpleQueue[Step | Exception | None] = queue.SimpleQueue()

    def cancel(self) -> None:
        """Stop after the token in progress."""
        self.cancelled = True

    def put(self, step: Step | Exception | None) -> None:
        """For the engine: a step, an error, or None when the answer is complete."""
        self._steps.put(step)

    def __iter__(self) -> Iterator[Step]:
        while (step := self._steps.get()) is not None:
            if isinstance(step, Exception):
                raise step
            yield step


class Engine:
    """Generates for many conversations at once.

    Args:
        model: in evaluation mode.
        max_batch: conversations that run at the same time; more wait in line.
        threads: processor threads for many conversations at once; for a few, one is as fast and
            leaves the others to whatever else runs. The gain is had only as long as no other
            thread of the process computes on several cores: OpenMP's threads stop spinning,
            and waking them takes longer than the work, when there are more than cores.
        end: the token that ends an answer; without one, every answer runs to its limit.
    """

    def __init__(
        self,
        model: GPT,
        max_batch: int = 16,
        threads: int | None = None,
        end: int | None = END,
    ) -> None:
        self.model, self.max_batch, self.end = model, max_batch, end
        self.threads = threads or torch.get_num_threads()
        self.device = model.embedding.weight.device
        with torch.inference_mode():
            self._cache = model.new_cache(max_batch, model.config.context)
        self._masked = torch.tensor(NEVER_SAID)
        self._active: list[Generation] = []
        self._lengths: list[int] = []
        self._waiting: deque[Generation] = deque()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(
        self,
        ids: Sequence[int],
        sampling: Sampling = GREEDY,
        *,
        max_new_tokens: int = 256,
        capture: bool = True,
    ) -> Generation:
        """Queue a prompt; the steps come by iterating over what is returned.

        Args:
            ids: the prompt, ending where the model is to speak.
            max_new_tokens: the answer is cut there if `<|end|>` has not come.
            capture: whether steps carry attention rows.

        Raises:
            TooLong: when the prompt fills the whole context.
        """
        room = self.model.config.context - len(ids)
        if room < 1 or not ids:
            raise TooLong(f"{len(ids)} tokens do not fit a context of {self.model.config.context}")
        generation = Generation(ids, sampling, min(max_new_tokens, room), capture)
        with self._wake:
            if self._closed:
                raise RuntimeError("the engine is closed")
            self._waiting.append(generation)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="engine")
                self._thread.start()
            self._wake.notify()
        return generation

    def close(self) -> None:
        """Finish what is running and stop the worker thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._waiting or self._active or self._closed):
                    self._wake.wait()
                if self._closed and not (self._waiting or self._active):
                    return
                admitted = []
                while self._waiting and len(self._active) + len(admitted) < self.max_batch:
                    admitted.append(self._waiting.popleft())
            # This thread's own number, whatever is set in the others.
            many = len(self._active) + len(admitted) > _FEW
            torch.set_num_threads(self.threads if many else 1)
            try:
                with torch.inference_mode():
                    if admitted:
                        self._admit(admitted)
                    if self._active:
                        self._advance()
            except Exception as error:
                for generation in {*admitted, *self._active}:
                    generation.put(error)
                self._active, self._lengths = [], []

    def _admit(self, admitted: list[Generation]) -> None:
        """Read the prompts of newcomers, all in one pass, and choose their first tokens."""
        first = len(self._active)
        sizes = [len(g.prompt) for g in admitted]
        ids = torch.zeros(len(admitted), max(sizes), dtype=torch.long, device=self.device)
        for row, generation in enumerate(admitted):
            ids[row, : sizes[row]] = torch.tensor(generation.prompt)
        cache = self._cache[:, :, first : first + len(admitted)]
        hidden, weights = self.model.extend(ids, cache, [0] * len(admitted))
        last = torch.tensor(sizes, device=self.device) - 1
        rows = torch.arange(len(admitted), device=self.device)
        logits = self.model.logits(hidden[rows, last])
        attention = weights[:, rows, :, last].transpose(0, 1)  # (layer, row, head, key)
        self._active += admitted
        self._lengths += sizes
        self._emit(first, logits, attention)

    def _advance(self) -> None:
        """One more token for every active conversation."""
        ids = torch.tensor([[g.said[-1]] for g in self._active], device=self.device)
        hidden, weights = self.model.extend(ids, self._cache, self._lengths)
        self._lengths = [length + 1 for length in self._lengths]
        self._emit(0, self.model.logits(hidden[:, 0]), weights[..., 0, :])

    def _probabilities(self, logits: Tensor, generations: list[Generation]) -> Tensor:
        """`distribution` of every row, `(row, vocab)`; in one pass when nobody asks for more."""
        samplings = [g.sampling for g in generations]
        if all(s.temperature in (0, 1) and s.repetition_penalty == 1 for s in samplings):
            return logits.index_fill_(1, self._masked, -torch.inf).softmax(dim=-1)
        rows = zip(logits, generations, strict=True)
        return torch.stack([distribution(row, g.sampling, g.said) for row, g in rows])

    def _emit(self, first: int, logits: Tensor, attention: Tensor) -> None:
        """Hand out steps to the rows from `first` on.

        Args:
            logits: `(row, vocab)`.
            attention: `(layer, row, head, key)`.
        """
        generations = self._active[first:]
        probabilities = self._probabilities(logits.float().cpu(), generations)
        best = probabilities.topk(min(CANDIDATES, probabilities.shape[-1]))
        best_ids, best_values = best.indices.tolist(), best.values.tolist()
        maps = attention.cpu().numpy() if any(g.capture for g in generations) else None
        finished = []
        for row, generation in enumerate(generations):
            length = self._lengths[first + row]
            candidates = list(zip(best_ids[row], best_values[row], strict=True))
            token, probability = candidates[0]
            if generation.sampling.temperature:
                token = choose(probabilities[row], generation.sampling, generation.generator)
                probability = float(probabilities[row, token])
            # A copy, so that no conversation holds on to the rows of all the others.
            seen = maps[:, row, :, :length].copy() if generation.capture else None
            generation.said.append(token)
            generation.put(Step(token, probability, candidates, seen, length))
            if (
                token == self.end
                or len(generation.said) >= generation.limit
                or generation.cancelled
            ):
                finished.append(first + row)
        for row in reversed(finished):
            self._leave(row)

    def _leave(self, row: int) -> None:
        """End the conversation of a row and move the last row into its place."""
        self._active[row].put(None)
        last = len(self._active) - 1
        if row != last:
            filled = self._lengths[last]
            self._cache[:, :, row, :, :filled] = self._cache[:, :, last, :, :filled]
            self._active[row], self._lengths[row] = self._active[last], self._lengths[last]
        self._active.pop()
        self._lengths.pop()
