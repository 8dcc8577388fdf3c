"""How fingers and keyboards change a message: typos, spacing, dropped 조사, letter case, endings.

Used on the learner's side of training dialogues only; test questions have typos typed by hand.
Every function takes its randomness from the `random.Random` that it is given.
"""

from __future__ import annotations

import random
import re
import unicodedata

# Neighbours on the two-set (두벌식) keyboard and letters that are taken for one another.
_INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_FINALS = " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"
_NEAR_INITIAL = {
    "ㄱ": "ㄲㄷㅅㅋ", "ㄲ": "ㄱ", "ㄴ": "ㅁㅇㄷ", "ㄷ": "ㄸㅌㅈㄱ", "ㄸ": "ㄷ", "ㄹ": "ㅇㅎㄴ",
    "ㅁ": "ㄴㅂ", "ㅂ": "ㅃㅍㅈ", "ㅃ": "ㅂ", "ㅅ": "ㅆㄱㅈ", "ㅆ": "ㅅ", "ㅇ": "ㄹㄴ",
    "ㅈ": "ㅉㅊㅂㄷ", "ㅉ": "ㅈ", "ㅊ": "ㅈㅌ", "ㅋ": "ㄱㅌ", "ㅌ": "ㄷㅋㅊ", "ㅍ": "ㅂㅊ", "ㅎ": "ㄹㅇ",
}  # fmt: skip
_NEAR_VOWEL = {
    "ㅏ": "ㅓㅑㅣ", "ㅐ": "ㅔㅒ", "ㅑ": "ㅏㅕ", "ㅒ": "ㅖㅐ", "ㅓ": "ㅏㅗㅕ", "ㅔ": "ㅐㅖ", "ㅕ": "ㅓㅑ",
    "ㅖ": "ㅔㅒ", "ㅗ": "ㅜㅓㅛ", "ㅘ": "ㅏㅗㅝ", "ㅙ": "ㅚㅞㅐ", "ㅚ": "ㅙㅗㅔ", "ㅛ": "ㅗㅕ",
    "ㅜ": "ㅗㅠㅡ", "ㅝ": "ㅓㅗ", "ㅞ": "ㅙㅔ", "ㅟ": "ㅣㅜㅢ", "ㅠ": "ㅜㅡ", "ㅡ": "ㅜㅣ", "ㅢ": "ㅣㅡ",
    "ㅣ": "ㅟㅏㅢ",
}  # fmt: skip
_NEAR_FINAL = {
    "ㄱ": "ㄲㅋ ", "ㄲ": "ㄱ", "ㄴ": "ㅇㅁ ", "ㄷ": "ㅅㅌ", "ㄹ": " ㅀ", "ㅁ": "ㄴㅇ", "ㅂ": "ㅍ ",
    "ㅅ": "ㅆㄷ ", "ㅆ": "ㅅ", "ㅇ": "ㄴ ", "ㅎ": " ㅅ", "ㄶ": "ㄴ", "ㅄ": "ㅂ", "ㅀ": "ㄹ", "ㅌ": "ㅅㄷ",
    "ㅍ": "ㅂ", "ㅈ": "ㅅㄷ", "ㅊ": "ㅅ", "ㄺ": "ㄱ", "ㄵ": "ㄴ",
}  # fmt: skip
_NEAR_LATIN = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo",
    "j": "hk", "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "w", "r": "et",
    "s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip
_ENDINGS = (
    "?", "??", "", "", "", "ㅋㅋ", "ㅎㅎ", " ㅠㅠ", "...", "..", "~", "!", " 좀", " 궁금", "용", "욤", " 부탁드려요",
    " 플리즈", "?!", " ㅇㅇ", " 🙏", " 😅", ".", "여", "염", "욥", "??!", "ㅜㅜ", " ㄱㄱ", " ㄱㅅ", " pls", " 🤔", " 🥺",
    " 👀", " 알려줘", " 급함", " 헷갈려", ";;",
)  # fmt: skip
_OPENINGS = (
    "저기요 ", "저기 ", "근데 ", "아 ", "음 ", "혹시 ", "있잖아 ", "그니까 ", "쌤 ", "선생님 ", "질문! ", "질문이요 ",
    "안녕하세요 ", "야 ", "아니 ", "튜터야 ", "오 ", "헐 ", "음... ", "아 맞다 ", "죄송한데 ", "ㅎㅇ ", "갑자기 ", "꼬마야 ", "그래서 ", "잠깐 ", "Q. ", "궁금한데 ", "하나만요 ",
)  # fmt: skip
# Keys of the two-set keyboard, for what comes out when it is left in English mode.
_KEYS = dict(
    zip(
        "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
        "ㄳㄵㄶㄺㄻㄼㄽㄾㄿㅀㅄ ",
        "r R s e E f a q Q t T d w W c z x v g k o i O j p u P h hk ho hl y n nj np nl b m ml l "
        "rt sw sg fr fa fq ft fx fv fg qt ".split(" "),
        strict=True,
    )
)
_PARTICLE = re.compile(r"(?<=[가-힣A-Za-z0-9])(은|는|이|가|을|를|의)(?= )")


def _split(syllable: str) -> tuple[int, int, int]:
    code = ord(syllable) - 0xAC00
    return code // 588, code % 588 // 28, code % 28


def _join(initial: int, vowel: int, final: int) -> str:
    return chr(0xAC00 + initial * 588 + vowel * 28 + final)


def _is_syllable(letter: str) -> bool:
    return "가" <= letter <= "힣"


def jamo_slip(syllable: str, rng: random.Random) -> str:
    """One wrong letter inside a syllable: `jamo_slip("뭐", rng)` may be "머"."""
    initial, vowel, final = _split(syllable)
    place = rng.choices("ivf", (3, 4, 3 if final else 0.3))[0]
    if place == "i":
        initial = _INITIALS.index(rng.choice(_NEAR_INITIAL[_INITIALS[initial]]))
    elif place == "v":
        vowel = _VOWELS.index(rng.choice(_NEAR_VOWEL[_VOWELS[vowel]]))
    elif final:
        final = _FINALS.index(rng.choice(_NEAR_FINAL.get(_FINALS[final], " ")))
    else:
        final = _FINALS.index(rng.choice("ㄴㅇㄹㅅㅁ"))
    return _join(initial, vowel, final)


def carry_over(first: str, second: str) -> str | None:
    """Write two syllables as they sound: 먹+어 → 머거; None when nothing carries over."""
    initial, vowel, final = _split(first)
    onset, *rest = _split(second)
    if _INITIALS[onset] != "ㅇ" or _FINALS[final] not in "ㄱㄴㄷㄹㅁㅂㅅㅈㅊㅌㅍㄲㅆ":
        return None
    return _join(initial, vowel, 0) + _join(_INITIALS.index(_FINALS[final]), *rest)


def typo(text: str, rng: random.Random) -> str:
    """One slip somewhere: a wrong, missing, doubled or swapped letter."""
    letters = list(text)
    places = [i for i, c in enumerate(letters) if _is_syllable(c) or (c.isascii() and c.isalpha())]
    if len(places) < 3:
        return text
    i = rng.choice(places)
    letter = letters[i]
    following = letters[i + 1] if i + 1 < len(letters) else " "
    kind = rng.random()
    if kind < 0.12 and following.isalpha():
        letters[i], letters[i + 1] = following, letter
    elif kind < 0.2:
        letters[i] = ""
    elif kind < 0.26:
        letters[i] = letter * 2
    elif not _is_syllable(letter):
        near = rng.choice(_NEAR_LATIN[letter.lower()])
        letters[i] = near if letter.islower() else near.upper()
    elif kind < 0.36 and _is_syllable(following) and (sound := carry_over(letter, following)):
        letters[i], letters[i + 1] = sound
    else:
        letters[i] = jamo_slip(letter, rng)
    return "".join(letters)


def respace(text: str, rng: random.Random) -> str:
    """Lose all spaces, some, or put one where none belongs."""
    kind = rng.random()
    if kind < 0.45:
        return text.replace(" ", "")
    if kind < 0.85:
        return re.sub(" ", lambda _: "" if rng.random() < 0.5 else " ", text)
    i = rng.randrange(1, max(2, len(text)))
    return text[:i] + " " + text[i:]


def keyboard_slip(text: str) -> str:
    """What is typed with the keyboard left in English: `keyboard_slip("안녕")` → "dkssud"."""
    out = []
    for letter in text:
        if _is_syllable(letter):
            initial, vowel, final = _split(letter)
            jamo = _INITIALS[initial], _VOWELS[vowel], _FINALS[final]
            out.append("".join(_KEYS[j] for j in jamo))
        else:
            out.append(_KEYS.get(letter, letter) if letter != " " else " ")
    return "".join(out)


def initials(text: str) -> str:
    """Only the first letter of each syllable: `initials("어텐션")` → "ㅇㅌㅅ"."""
    return "".join(_INITIALS[_split(c)[0]] if _is_syllable(c) else c for c in text)


def respell_name(name: str, rng: random.Random) -> str:
    """A term as people type it: other case, no spaces or hyphens."""
    if re.search("[A-Za-z]", name):
        kind = rng.random()
        if kind < 0.35:
            name = name.lower()
        elif kind < 0.42:
            name = name.upper()
    if "-" in name and rng.random() < 0.35:
        name = name.replace("-", rng.choice(("", " ")))
    if " " in name and rng.random() < 0.3:
        name = name.replace(" ", "")
    return name


def messy(text: str, rng: random.Random) -> str:
    """A message as somebody else might have typed it; often just as it is."""
    if rng.random() < 0.06:
        text = rng.choice(_OPENINGS) + text
    if rng.random() < 0.3:
        text = text.rstrip("?.!~ ") + rng.choice(_ENDINGS)
    if rng.random() < 0.08:
        text = _PARTICLE.sub(lambda m: "" if rng.random() < 0.6 else m[0], text)
    if rng.random() < 0.15:
        text = respace(text, rng)
    if rng.random() < 0.3:
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
            text = typo(text, rng)
    if rng.random() < 0.05:
        text = text.lower()
    if rng.random() < 0.01:
        text = keyboard_slip(text)
    return unicodedata.normalize("NFC", text).strip() or "?"
