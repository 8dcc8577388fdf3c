"""Everything that shapes a training but its data and its seed, in one object.

`Recipe()` is what the shipped weights were made with; `tutor train --set name=value` changes one
knob for an experiment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from model.config import GPTConfig
from model.train import TrainSettings


class RecipeError(ValueError):
    """A knob is unknown or has an impossible value; one Korean sentence says which."""


@dataclass(frozen=True)
class Recipe:
    """Knobs of a training.

    Args:
        vocabulary: pieces of a fresh tokenizer.
        width, layers, heads, mlp_width, context: shape of a fresh network (`GPTConfig`).
        pretrain_steps, chat_steps: steps of a training from scratch.
        tune_steps: steps of a training that goes on from a checkpoint.
        minutes: a training from scratch is shortened to this on a slower machine.
        batch_tokens, muon_lr, adam_lr, dropout, decay: `TrainSettings`.
        bpe_dropout: share of merges left out of the learner's messages.
        brief: how often an answer stops after its first tokens (`dialogues.chat_example`).
        blank: share of the learner's tokens that are blanked out.
        held_out: share of the wordings that is kept back to measure with.
    """

    vocabulary: int = 6000
    width: int = 256
    layers: int = 4
    heads: int = 8
    mlp_width: int = 704
    context: int = 512
    pretrain_steps: int = 2000
    chat_steps: int = 21_000
    tune_steps: int = 600
    minutes: float = 145.0
    batch_tokens: int = 3072
    muon_lr: float = 0.01
    adam_lr: float = 0.003
    dropout: float = 0.05
    decay: float = 0.8
    bpe_dropout: float = 0.1
    brief: float = 0.8
    blank: float = 0.08
    held_out: float = 0.04

    def __post_init__(self) -> None:
        for knob in fields(self):
            if getattr(self, knob.name) < 0:
                raise RecipeError(f"'{knob.name}'은(는) 0보다 작을 수 없어요.")
        for name in ("vocabulary", "batch_tokens"):
            if getattr(self, name) < 1:
                raise RecipeError(f"'{name}'은(는) 1 이상이어야 해요.")
        for name in ("dropout", "bpe_dropout", "brief", "blank", "held_out", "decay"):
            if getattr(self, name) > 1:
                raise RecipeError(f"'{name}'은(는) 0과 1 사이여야 해요.")
        if self.dropout == 1:
            raise RecipeError("'dropout'은(는) 1보다 작아야 해요.")

    @property
    def scratch_steps(self) -> dict[str, int]:
        """Steps of each stage of a training from scratch."""
        return {"pretrain": self.pretrain_steps, "chat": self.chat_steps}

    def settings(self, seed: int) -> TrainSettings:
        """The loop's knobs."""
        return TrainSettings(
            seed=seed,
            batch_tokens=self.batch_tokens,
            muon_lr=self.muon_lr,
            adam_lr=self.adam_lr,
            dropout=self.dropout,
            decay=self.decay,
        )

    def config(self, vocab_size: int) -> GPTConfig:
        """The shape of a fresh network.

        Raises:
            RecipeError: when the sizes cannot make one.
        """
        names = ("width", "layers", "heads", "mlp_width", "context")
        try:
            return GPTConfig(vocab_size, **{name: getattr(self, name) for name in names})
        except ValueError as error:
            raise RecipeError("너비는 짝수 크기의 헤드 여러 개로 나뉘어야 해요.") from error

    def changed(self, changes: Sequence[str]) -> Recipe:
        """The recipe with `name=value` changes.

        Raises:
            RecipeError: for an unknown name or a value that is no number.
        """
        kinds = {knob.name: type(getattr(self, knob.name)) for knob in fields(self)}
        values: dict[str, float] = {}
        for change in changes:
            name, _, text = change.partition("=")
            if name not in kinds:
                raise RecipeError(f"'{name}'라는 설정은 없어요. 있는 것: {', '.join(kinds)}.")
            try:
                values[name] = kinds[name](text)
            except ValueError as error:
                raise RecipeError(f"'{name}'의 값 '{text}'은(는) 알맞은 수가 아니에요.") from error
        return replace(self, **values)
