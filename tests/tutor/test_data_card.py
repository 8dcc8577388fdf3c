"""`load_dataset` opens data/ as its card says, and the shipped dialogues are reproducible."""

from __future__ import annotations

import pytest

from tutor.dialogues import dialogue_dataset
from tutor.paths import DATA

datasets = pytest.importorskip("datasets")
CONFIGS = [
    "dialogues", "glossary", "prose", "frames", "whole", "checks", "followups", "refuse",
    "smalltalk", "eval",
]  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_of_the_card_opens(name, tmp_path):
    split = "test" if name == "eval" else "train"
    rows = datasets.load_dataset(str(DATA), name, split=split, cache_dir=str(tmp_path))
    assert len(rows) > 50


def test_the_shipped_dialogues_come_from_the_seed(maker, tmp_path):
    shipped = datasets.load_dataset(str(DATA), split="train", cache_dir=str(tmp_path))
    assert shipped.column_names == ["messages"]
    made = dialogue_dataset(maker, 50, seed=1)
    assert made["messages"][:50] == shipped["messages"][:50]
