"""What the tests share: small networks, one tokenizer a session, the shipped glossary."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from model.checkpoint import load_checkpoint, save_checkpoint
from model.config import GPTConfig
from model.gpt import GPT
from model.tokenizer import Tokenizer
from tutor.answers import glossary_answers, load_replies
from tutor.chat import GLOSSARY_FILE, REPLIES_FILE, Tutor
from tutor.dialogues import DialogueMaker
from tutor.glossary import load_glossary, save_glossary
from tutor.paths import GLOSSARY, QUESTIONS
from tutor.questions import load_questions

os.environ["HF_DATASETS_OFFLINE"] = "1"  # read when datasets is imported

settings.register_profile(
    "small",
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("small")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny products are faster on one thread, and sums come in one order."""
    torch.set_num_threads(1)


def small_gpt(vocab_size: int = 97, seed: int = 0, *, scale: float = 0.3, **shape) -> GPT:
    """A network small enough for a test, with weights so large that its attention is peaked."""
    shape = {"width": 32, "layers": 2, "heads": 4, "mlp_width": 48, "context": 64} | shape
    model = GPT(GPTConfig(vocab_size=vocab_size, **shape))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(noise * scale if weight.dim() == 2 else 1 + 0.2 * noise)
    return model.eval()


def random_ids(*shape: int, vocab: int = 97, seed: int = 0) -> torch.Tensor:
    """Ids of ordinary tokens."""
    return torch.randint(8, vocab, shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def make_gpt():
    return small_gpt


@pytest.fixture(scope="session")
def make_ids():
    return random_ids


@pytest.fixture(scope="session")
def gpt() -> GPT:
    """Not to be changed by a test."""
    return small_gpt()


@pytest.fixture(scope="session")
def glossary():
    return load_glossary(GLOSSARY)


@pytest.fixture(scope="session")
def replies(glossary):
    return load_replies(QUESTIONS / REPLIES_FILE, glossary)


@pytest.fixture(scope="session")
def questions():
    return load_questions(QUESTIONS)


@pytest.fixture(scope="session")
def maker(glossary, questions, replies) -> DialogueMaker:
    return DialogueMaker(glossary, questions, replies)


@pytest.fixture(scope="session")
def tokenizer(glossary) -> Tokenizer:
    """Trained on a part of the glossary: real pieces, and few of them."""
    texts = [answer.text for answer in glossary_answers(glossary)]
    return Tokenizer.train(texts, 3000)


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory, tokenizer, glossary) -> Path:
    """A checkpoint directory of a network that was never trained. Not to be changed by a test."""
    folder = tmp_path_factory.mktemp("shipped") / "weights"

    def extra(unfinished: Path) -> None:
        save_glossary(glossary, unfinished / GLOSSARY_FILE)
        (unfinished / REPLIES_FILE).write_bytes((QUESTIONS / REPLIES_FILE).read_bytes())

    model = small_gpt(len(tokenizer), scale=0.1, context=512)
    save_checkpoint(folder, model, tokenizer, {"steps": 0}, extra=extra)
    return folder


@pytest.fixture(scope="session")
def checkpoint(weights_folder):
    return load_checkpoint(weights_folder)


@pytest.fixture(scope="session")
def tutor(weights_folder):
    opened = Tutor.open(weights_folder, max_batch=4)
    yield opened
    opened.close()
