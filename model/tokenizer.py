"""Text to token ids and back, and the one chat template.

sentencepiece BPE with byte fallback. The role and end tokens are *control* symbols: they have ids
but no spelling, so nothing that a person types can become one.

Stated rule for what sentencepiece cannot carry: U+2581 "▁" (its own space mark), U+0000 and lone
surrogates each become "?". Everything else comes back as its NFC form.
"""

from __future__ import annotations

import io
import itertools
import random
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

PAD, UNK, BOS, EOS, SYSTEM, USER, ASSISTANT, END = range(8)
SPECIAL_NAMES = (
    "<pad>",
    "<unk>",
    "<bos>",
    "<eos>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)
ROLE_TOKENS = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
SYSTEM_TEXT = "꼬마GPT 튜터"
SPACE = "\u2581"

CHAT_TEMPLATE = (
    "{{ '<bos><|system|>" + SYSTEM_TEXT + "<|end|>' }}"
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

_CANNOT_CARRY = re.compile("[\u2581\u0000\ud800-\udfff]")


def ks_x_1001_syllables() -> list[str]:
    """The 2,350 Hangul syllables of KS X 1001, the common ones, in order."""
    syllables = []
    for first in range(0xB0, 0xC9):
        for second in range(0xA1, 0xFF):
            syllables.append(bytes((first, second)).decode("euc-kr"))
    return syllables


def normalise(text: str) -> str:
    """NFC, with the characters that sentencepiece cannot carry replaced by "?"."""
    return unicodedata.normalize("NFC", _CANNOT_CARRY.sub("?", text))


@dataclass(frozen=True)
class ChatToken:
    """One token of a conversation in the exact order in which the model reads it.

    Attributes:
        id: the token id.
        role: whose text it belongs to: "system", "user" or "assistant".
        turn: 0 for the system text, then 1, 2, … for each message.
        special: whether it is a role, end or begin mark rather than text.
    """

    id: int
    role: str
    turn: int
    special: bool


class Tokenizer:
    """A trained tokenizer.

    Raises:
        ValueError: when the file is no sentencepiece model or its special ids are not ours.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        try:
            self._sp = sentencepiece.SentencePieceProcessor(model_proto=model)
            found = tuple(self._sp.id_to_piece(i) for i in range(len(SPECIAL_NAMES)))
        except Exception as error:
            raise ValueError("not a sentencepiece model") from error
        if found != SPECIAL_NAMES:
            raise ValueError(f"special tokens are {found}, not {SPECIAL_NAMES}")
        self._pieces = [self._sp.id_to_piece(i) for i in range(len(self._sp))]
        self._bytes = {
            i: int(self._pieces[i][3:5], 16)
            for i in range(len(self._pieces))
            if self._sp.is_byte(i)
        }
        self._byte_ids = {value: i for i, value in self._bytes.items()}
        self._ids = {
            piece: i
            for i, piece in enumerate(self._pieces)
            if i >= len(SPECIAL_NAMES) and i not in self._bytes
        }

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read `tokenizer.model`."""
        return cls(Path(path).read_bytes())

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """Learn pieces from texts. The same texts in the same order give the same tokenizer."""
        required = "".join(ks_x_1001_syllables()) + "".join(map(chr, range(0x20, 0x7F)))
        required += "".join(map(chr, range(0x3131, 0x3164)))  # single jamo: ㅋㅋ, ㅠㅠ, 초성
        model = io.BytesIO()  # a file would have its own name written into it
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([normalise(t) for t in texts]),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            character_coverage=1.0,
            required_chars=required.replace(" ", ""),
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            split_digits=True,
            max_sentence_length=100_000,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            pad_piece=SPECIAL_NAMES[PAD],
            unk_piece=SPECIAL_NAMES[UNK],
            bos_piece=SPECIAL_NAMES[BOS],
            eos_piece=SPECIAL_NAMES[EOS],
            control_symbols=list(SPECIAL_NAMES[SYSTEM:]),
            num_threads=1,
            minloglevel=2,
        )
        return cls(model.getvalue())

    def __len__(self) -> int:
        return len(self._pieces)

    def encode(self, text: str) -> list[int]:
        """Ids of a text; never a special id, whatever was typed."""
        return self._sp.encode(normalise(text))

    def encode_with_dropout(self, text: str, dropout: float, rng: random.Random) -> list[int]:
        """BPE-dropout (Provilkov et al., 2020): each possible merge is left out with a chance.

        Done here rather than by sentencepiece because its sampler has one hidden random state,
        and a resumed training must see the very same tokens.
        """
        ids = []
        marked = SPACE + normalise(text).replace(" ", SPACE) if text else ""
        for word in re.findall(f"{SPACE}*[^{SPACE}]*", marked):
            for piece in self._merge(list(word), dropout, rng):
                known = self._ids.get(piece)
                if known is not None:
                    ids.append(known)
                else:
                    ids.extend(self._byte_ids[b] for b in piece.encode())
        return ids

    def _merge(self, symbols: list[str], dropout: float, rng: random.Random) -> list[str]:
        while len(symbols) > 1:
            # A piece's id is its merge rank: the smaller, the earlier it was learnt.
            ranked = [
                (self._ids[a + b], i)
                for i, (a, b) in enumerate(itertools.pairwise(symbols))
                if a + b in self._ids and rng.random() >= dropout
            ]
            if not ranked:
                break
            _, i = min(ranked)
            symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
        return symbols

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids. Special tokens have no text; bytes that form no character are left out."""
        return "".join(text for text, _ in self.groups(ids)).removeprefix(" ")

    def groups(self, ids: Sequence[int]) -> list[tuple[str, int]]:
        """Readable pieces: (text, number of tokens) pairs that cover `ids` in order.

        Byte tokens that together spell one character form one group, so half a syllable is never
        shown. The text keeps its leading space. Special tokens give an empty text.
        """
        out: list[tuple[str, int]] = []
        i = 0
        while i < len(ids):
            if ids[i] not in self._bytes:
                special = ids[i] < len(SPECIAL_NAMES)
                out.append(("" if special else self._pieces[ids[i]].replace(SPACE, " "), 1))
                i += 1
                continue
            run = i
            while run < len(ids) and ids[run] in self._bytes:
                run += 1
            raw = bytes(self._bytes[token] for token in ids[i:run])
            while raw:
                for size in range(1, min(4, len(raw)) + 1):
                    try:
                        out.append((raw[:size].decode(), size))
                        break
                    except UnicodeDecodeError:
                        continue
                else:
                    size = 1
                    out.append(("", 1))
                raw = raw[size:]
            i = run
        return out

    def is_byte(self, token: int) -> bool:
        """Whether the token is one byte of a character that has no piece of its own."""
        return token in self._bytes

    def piece(self, token: int) -> str:
        """Readable form of one token: its text, `<|end|>`, or `<0xEA>` for a byte."""
        return self._pieces[token].replace(SPACE, " ")

    def chat(
        self,
        messages: Sequence[dict[str, str]],
        *,
        prompt: bool = False,
        dropout: float = 0.0,
        rng: random.Random | None = None,
    ) -> list[ChatToken]:
        """The chat template: the only place where a conversation becomes tokens.

        `<bos><|system|>…<|end|>`, then for each message its role token, its text and `<|end|>`.

        Args:
            messages: `{"role": "user" | "assistant", "content": text}`, oldest first.
            prompt: end with `<|assistant|>`, so that the model speaks next.
            dropout: BPE-dropout for the user's texts (training only; needs `rng`).

        Raises:
            ValueError: for a role that the template does not know.
        """
        tokens = [ChatToken(BOS, "system", 0, True)]
        turns = [{"role": "system", "content": SYSTEM_TEXT}]
        turns += [m for m in messages if m["role"] != "system"]
        for turn, message in enumerate(turns):
            role = message["role"]
            if role not in ROLE_TOKENS:
                raise ValueError(f"unknown role {role!r}")
            if dropout and role == "user":
                ids = self.encode_with_dropout(message["content"], dropout, rng)
            else:
                ids = self.encode(message["content"])
            tokens.append(ChatToken(ROLE_TOKENS[role], role, turn, True))
            tokens += [ChatToken(i, role, turn, False) for i in ids]
            tokens.append(ChatToken(END, role, turn, True))
        if prompt:
            tokens.append(ChatToken(ASSISTANT, "assistant", len(turns), True))
        return tokens
