"""조사 that fit the word before them, also after Latin letters and digits.

The choice itself is `tossi`'s; it reads Hangul only, so the end of "GPT-3" or "attention" is handed
to it as it is spoken ("쓰리", "어텐션").
"""

from __future__ import annotations

import re
from functools import lru_cache

import tossi

_LETTERS = dict(
    zip(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "에이 비 시 디 이 에프 지 에이치 아이 제이 케이 엘 엠 엔 오 피 큐 알 에스 티 유 브이 "
        "더블유 엑스 와이 제트".split(),
        strict=True,
    )
)
_SPOKEN_DIGITS = "제로 원 투 쓰리 포 파이브 식스 세븐 에이트 나인"
_DIGITS = dict(zip("0123456789", _SPOKEN_DIGITS.split(), strict=True))
# An English word that ends so is spoken with a final consonant: model, transform, attention, …
_CLOSED = re.compile(r"(ng|[lmn]|[aeiou][pktc]|ck|[lmn]e|template)$")
_WORD = re.compile(r"[A-Za-z]+$")


def spoken_end(word: str) -> str:
    """A Hangul stand-in for how `word` ends when spoken."""
    bare = re.sub(r"[^0-9A-Za-z가-힣]+$", "", re.sub(r"\([^)]*\)$", "", word))
    if not bare:
        return "표"  # 물음표, 쉼표, 따옴표 …
    if "가" <= bare[-1] <= "힣":
        return bare
    if bare[-1] in _DIGITS:
        return _DIGITS[bare[-1]]
    tail = _WORD.search(bare).group()
    if tail.isupper() or len(tail) == 1:
        return _LETTERS[tail[-1].upper()]
    if re.search(r"[A-Z]$", tail) and not tail.islower():  # LLaMA, MoE, RoPE
        return {"A": "마", "E": "이"}.get(tail[-1], _LETTERS[tail[-1]])
    match = _CLOSED.search(tail.lower())
    if not match:
        return "머"
    return "들" if match.group(0).startswith("l") else "은"


@lru_cache(maxsize=65536)
def attach(word: str, particle: str) -> str:
    """`attach("GPT", "은")` → "GPT는". `particle` is given in its form after a consonant."""
    spoken = spoken_end(word)
    return word + tossi.postfix(spoken, particle)[len(spoken) :]


_SLOT = re.compile(r"\{([A-Z])(?::([가-힣]+))?\}")


def fill(text: str, **words: str) -> str:
    """Fill slots: `fill("{A:은} 뭐야", A="RNN")` → "RNN은 뭐야".

    Raises:
        KeyError: for a slot without a word.
    """

    def one(match: re.Match[str]) -> str:
        word, particle = words[match[1]], match[2]
        return attach(word, particle) if particle else word

    return _SLOT.sub(one, text)


def slots(text: str) -> set[str]:
    """Names of the slots in a wording."""
    return {match[1] for match in _SLOT.finditer(text)}
