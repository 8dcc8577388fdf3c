from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor.josa import attach, fill, slots

# Word, the same with 은/는, with 이에요/예요 and with 으로/로.
CASES = """
RNN RNN은 RNN이에요 RNN으로
LSTM LSTM은 LSTM이에요 LSTM으로
LLM LLM은 LLM이에요 LLM으로
sLLM sLLM은 sLLM이에요 sLLM으로
GRU GRU는 GRU예요 GRU로
GPT GPT는 GPT예요 GPT로
BERT BERT는 BERT예요 BERT로
T5 T5는 T5예요 T5로
MoE MoE는 MoE예요 MoE로
RoPE RoPE는 RoPE예요 RoPE로
LLaMA LLaMA는 LLaMA예요 LLaMA로
seq2seq seq2seq는 seq2seq예요 seq2seq로
GPT-1 GPT-1은 GPT-1이에요 GPT-1으로
GPT-2 GPT-2는 GPT-2예요 GPT-2로
GPT-3 GPT-3는 GPT-3예요 GPT-3로
GPT-3.5 GPT-3.5는 GPT-3.5예요 GPT-3.5로
GPT-4 GPT-4는 GPT-4예요 GPT-4로
InstructGPT InstructGPT는 InstructGPT예요 InstructGPT로
챗GPT 챗GPT는 챗GPT예요 챗GPT로
URL URL은 URL이에요 URL로
attention attention은 attention이에요 attention으로
transformer transformer는 transformer예요 transformer로
model model은 model이에요 model로
token token은 token이에요 token으로
query query는 query예요 query로
key key는 key예요 key로
state state는 state예요 state로
트랜스포머 트랜스포머는 트랜스포머예요 트랜스포머로
어텐션 어텐션은 어텐션이에요 어텐션으로
값 값은 값이에요 값으로
r r은 r이에요 r로
top-p top-p는 top-p예요 top-p로
모델 모델은 모델이에요 모델로
RNN(순환신경망) RNN(순환신경망)은 RNN(순환신경망)이에요 RNN(순환신경망)으로
"""


@pytest.mark.parametrize("case", CASES.split("\n")[1:-1], ids=lambda c: c.split()[0])
def test_particles_fit_the_spoken_word(case):
    word, *wanted = case.split(" ")
    assert [attach(word, p) for p in ("은", "이에요", "으로")] == wanted


@pytest.mark.parametrize(
    ("particle", "closed", "open_"),
    [
        ("은", "RNN은", "GPT는"),
        ("이", "RNN이", "GPT가"),
        ("을", "RNN을", "GPT를"),
        ("과", "RNN과", "GPT와"),
        ("이랑", "RNN이랑", "GPT랑"),
        ("이란", "RNN이란", "GPT란"),
        ("으로", "RNN으로", "GPT로"),
        ("이에요", "RNN이에요", "GPT예요"),
        ("이라는", "RNN이라는", "GPT라는"),
        ("의", "RNN의", "GPT의"),
    ],
)
def test_all_particles_in_use(particle, closed, open_):
    assert attach("RNN", particle) == closed
    assert attach("GPT", particle) == open_


def test_a_word_with_a_space_and_odd_ends():
    assert attach("KV 캐시", "은") == "KV 캐시는"
    assert attach("hidden state", "이") == "hidden state가"
    assert attach("self-attention", "을") == "self-attention을"
    assert attach("값?", "을") == "값?을"
    assert attach("?", "을") == "?를"
    assert attach("", "은") == "는"


@given(st.text(max_size=12), st.sampled_from(["은", "이", "을", "과", "으로", "이에요", "이랑"]))
def test_any_word_gets_one_of_the_two_forms(word, particle):
    got = attach(word, particle)
    forms = {
        "은": "은는",
        "이": "이가",
        "을": "을를",
        "과": "과와",
    }.get(particle)
    assert got.startswith(word)
    tail = got[len(word) :]
    if forms:
        assert tail in tuple(forms)
    else:
        assert tail in {"으로": ("으로", "로"), "이에요": ("이에요", "예요")}.get(
            particle, ("이랑", "랑")
        )


def test_fill_and_slots():
    assert fill("{A:과} {B:은} 뭐가 달라?", A="RNN", B="GPT") == "RNN과 GPT는 뭐가 달라?"
    assert fill("{A} vs {B:이랑}", A="a", B="b") == "a vs b랑"
    assert fill("{a} {1} {}", A="x") == "{a} {1} {}"
    assert slots("{A:과} {B} {A}") == {"A", "B"}
    with pytest.raises(KeyError):
        fill("{B}", A="x")


def test_every_particle_that_the_wordings_ask_for_changes_with_the_word(questions):
    """A particle that tossi does not know would come out the same after any word."""
    import re

    particles = {
        particle
        for text in questions.texts()
        for particle in re.findall(r"\{[A-Z]:([가-힣]+)\}", text)
    }
    same = {p for p in particles if attach("RNN", p)[3:] == attach("GPT", p)[3:]}
    assert particles
    assert same <= {
        "의",
        "도",
        "만",
        "에",
        "에서",
        "에게",
        "한테",
        "까지",
        "부터",
        "보다",
        "하고",
        "인데",
        "입니다",
    }
