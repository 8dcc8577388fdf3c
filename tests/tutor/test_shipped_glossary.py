from __future__ import annotations

import re
import unicodedata
from collections import Counter

import pytest

from tutor.answers import glossary_answers
from tutor.glossary import TEXT_FACETS, read_glossary
from tutor.paths import GLOSSARY

TERMS = {
    "딥러닝 기초": """
        ai machine-learning deep-learning neural-network architecture perceptron mlp cnn
        weight bias-term parameter hyperparameter activation-function sigmoid relu gelu
        softmax loss-function cross-entropy gradient-descent backpropagation
        vanishing-gradient exploding-gradient learning-rate optimizer adam batch epoch
        overfitting underfitting regularization dropout layer-norm residual-connection
        supervised-learning unsupervised-learning self-supervised-learning
        reinforcement-learning transfer-learning dataset train-val-test generalization
        gpu tensor vector dot-product cosine-similarity""",
    "언어 모델링": """
        nlp language-model token tokenizer tokenization vocabulary subword bpe
        sentencepiece oov special-token eos embedding word2vec one-hot context
        context-window next-token-prediction causal-lm masked-lm autoregressive ngram
        perplexity logit""",
    "순환 신경망": """
        rnn hidden-state lstm gru seq2seq encoder decoder long-term-dependency
        sequential-processing parallel-processing""",
    "트랜스포머": """
        transformer attention self-attention cross-attention multi-head-attention
        attention-head query key value attention-score attention-weight
        scaled-dot-product causal-mask attention-map positional-encoding rope
        feed-forward transformer-block kv-cache flash-attention moe""",
    "GPT와 모델들": """
        gpt gpt-1 gpt-2 gpt-3 gpt-3-5 gpt-4 chatgpt instructgpt bert t5 llama llm sllm
        foundation-model pretraining fine-tuning scaling-law emergent-ability model-size
        training-cost multimodal generative-ai open-weights""",
    "대화와 정렬": """
        conversation-data chatbot instruction-tuning sft rlhf reward-model ppo dpo
        alignment prompt system-prompt prompt-engineering zero-shot few-shot
        in-context-learning chain-of-thought chat-template multi-turn hallucination
        guardrail social-bias""",
    "생성과 추론": """
        decoding greedy-decoding sampling temperature top-k top-p beam-search
        repetition-penalty streaming inference latency throughput""",
    "활용과 효율": """
        rag vector-db chunking retriever agent tool-calling quantization lora peft
        distillation pruning distributed-training data-parallel mixed-precision
        checkpoint hugging-face pytorch gradio benchmark human-evaluation bleu""",
}


def sentences(text):
    return re.split(r"(?<=[.!?]) ", text)


def test_it_loads_without_a_problem():
    assert read_glossary([GLOSSARY])[1] == []


def test_the_terms_are_the_179_of_the_eight_categories(glossary):
    wanted = {category: set(ids.split()) for category, ids in TERMS.items()}
    assert sum(map(len, wanted.values())) == 179
    found = {c: {e.id for e in glossary if e.category == c} for c in glossary.categories}
    assert found == wanted
    names = {e.id: e.term for e in glossary}
    assert names["rnn"] == "RNN"
    assert names["gpt-3-5"] == "GPT-3.5"
    assert names["chatgpt"] == "챗GPT"
    assert names["transformer"] == "트랜스포머"


def test_every_entry_has_every_facet(glossary):
    gaps = [
        (e.id, key)
        for e in glossary
        for key in (*TEXT_FACETS, "english", "aliases", "checks", "related")
        if not getattr(e, key)
    ]
    assert gaps == []


def test_there_are_enough_comparisons(glossary):
    pairs = {frozenset((e.id, c.other)) for e in glossary for c in e.compare}
    assert len(pairs) >= 250


def test_a_pair_is_compared_once(glossary):
    """Two texts for one pair would be two right answers, and only one of them is taught."""
    pairs = Counter(frozenset((e.id, c.other)) for e in glossary for c in e.compare)
    assert [sorted(pair) for pair, count in pairs.items() if count > 1] == []


def test_no_answer_is_too_long_or_said_twice(glossary, replies):
    texts = [a.text for a in [*glossary_answers(glossary), *replies]]
    assert [t for t in texts if len(t) > 220] == []
    assert [t for t, count in Counter(texts).items() if count > 1] == []


def test_every_sentence_ends_in_yo(glossary, replies):
    wrong = [
        sentence
        for answer in [*glossary_answers(glossary), *replies]
        for sentence in sentences(answer.text)
        if not re.search(r"요[.!?]$", sentence)
    ]
    assert wrong == []


def test_letters_are_plain_and_normalised(glossary):
    allowed = re.compile(r"[가-힣A-Za-z0-9 .,?!()'/%÷√×+=\-~·]+")
    for answer in glossary_answers(glossary):
        assert unicodedata.is_normalized("NFC", answer.text)
        assert allowed.fullmatch(answer.text), answer.text


def test_a_name_belongs_to_one_term(glossary):
    owners: dict[str, set[str]] = {}
    for entry in glossary:
        for name in entry.names:
            owners.setdefault(re.sub(r"[\s\-]", "", name).lower(), set()).add(entry.id)
    assert {name: ids for name, ids in owners.items() if len(ids) > 1} == {}


@pytest.mark.parametrize(
    ("entry", "facet", "words"),
    [
        ("rnn", "expansion", "Recurrent Neural Network 순환"),
        ("gpt", "expansion", "Generative Pre-trained Transformer"),
        ("transformer", "expansion", "Transformer 변"),
        ("lstm", "expansion", "Long Short Term Memory"),
        ("transformer", "how", "한꺼번에"),
        ("gpt-3", "definition", "1750억"),
    ],
)
def test_the_story_of_the_tutor_is_told(glossary, entry, facet, words):
    text = getattr(glossary[entry], facet)
    assert [word for word in words.split() if word not in text] == []
