"""A conversation as the page keeps it: in the browser only, and shown through `gr.Chatbot`.

The model gets the raw text. What is shown is escaped, because the chatbot reads HTML.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

VERSION = 1
KEEP = 200  # messages that a browser remembers
READ = 60  # newest messages that are offered to the model; its window holds far fewer

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")
_TERM_ID = re.compile(r"[0-9a-z가-힣-]+")


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        role: "user" or "assistant".
        content: what was said, raw.
        note: what the program adds under an answer.
        aside: a word on the conversation, shown over the answer.
        term: id of the glossary entry that the answer agrees with.
        trace: id of the answer's recording on the server.
        done: False while the answer is being made.
    """

    role: str
    content: str
    note: str = ""
    aside: str = ""
    term: str = ""
    trace: str = ""
    done: bool = True


def clean(text: str) -> str:
    """The text without what no page and no JSON can carry: lone halves of a character."""
    return text.encode("utf-8", "replace").decode()


def visible(text: str) -> str:
    """Escape for HTML; control characters become their visible pictures.

    Tabs and line ends are escaped too: the chatbot would tidy them up.
    """
    shown = _CONTROL.sub(lambda m: chr(0x2400 + ord(m[0])), clean(text))
    return html.escape(shown, quote=False).replace("\t", "&#9;").replace("\n", "&#10;")


@dataclass
class Conversation:
    """Messages, oldest first."""

    messages: list[Message] = field(default_factory=list)

    @classmethod
    def load(cls, stored: Any) -> Conversation:
        """Read what a browser kept. Whatever is not ours is left out; nothing is believed."""
        if not isinstance(stored, dict) or stored.get("version") != VERSION:
            return cls()
        messages = []
        for row in stored.get("messages") or []:
            if not isinstance(row, dict) or row.get("role") not in ("user", "assistant"):
                continue
            values = {f.name: row[f.name] for f in fields(Message) if f.name in row}
            texts = [value for name, value in values.items() if name != "done"]
            if "content" in values and all(isinstance(value, str) for value in texts):
                messages.append(Message(**{**values, "done": True}))
        return cls(messages[-KEEP:])

    def store(self) -> dict[str, Any]:
        """What the browser is to keep."""
        return {"version": VERSION, "messages": [asdict(m) for m in self.messages[-KEEP:]]}

    @property
    def answers(self) -> int:
        """How many answers there are."""
        return sum(message.role == "assistant" for message in self.messages)

    def add(self, message: Message) -> None:
        """Say one more thing."""
        self.messages.append(message)

    def take_back(self) -> str:
        """Remove the last question with its answer; the question, empty when there is none."""
        while self.messages:
            if (message := self.messages.pop()).role == "user":
                return message.content
        return ""

    def for_model(self) -> list[dict[str, str]]:
        """The newest messages, raw, in the OpenAI form."""
        kept = [{"role": m.role, "content": m.content} for m in self.messages]
        return kept[-READ:]

    def for_chatbot(self) -> list[dict[str, str]]:
        """Messages as `gr.Chatbot` shows them, escaped, notes under the answers."""
        return [{"role": m.role, "content": show(m)} for m in self.messages]


def show(message: Message) -> str:
    """One message as HTML. Only the markup written here is not escaped."""
    if message.role == "user":
        return f'<div class="kk-question">{visible(message.content)}</div>'
    aside = f'<div class="kk-aside">{visible(message.aside)}</div>' if message.aside else ""
    if not message.done:
        return f'{aside}<div class="kk-answer kk-growing">{visible(message.content)}</div>'
    text = f'<div class="kk-answer">{visible(message.content)}</div>'
    note = visible(message.note).replace(" %", "\u00a0%")
    buttons = '<button type="button" class="kk-copy">복사</button>'
    if _TERM_ID.fullmatch(message.term):
        link = f"kk-open kk-term-{message.term}"
        buttons += f'<button type="button" class="{link}">용어집 보기</button>'
    if message.trace:
        buttons += '<button type="button" class="kk-look">속 보기</button>'
    tag = '<span class="kk-tag">덧붙임</span>' if note else ""
    return (
        f'{aside}{text}<div class="kk-note">{tag}<span class="kk-note-text">{note}</span>'
        f'<span class="kk-actions">{buttons}</span></div>'
    )


def from_openai(history: Sequence[Any]) -> list[dict[str, str]]:
    """Messages of the OpenAI form as plain role and text; content may be a text or text parts.

    Raises:
        ValueError: one Korean sentence, when something is not a message.
    """
    out = []
    for row in list(history)[-READ:]:
        role = row.get("role") if isinstance(row, dict) else None
        if role not in ("system", "user", "assistant"):
            raise ValueError(
                '대화 기록은 {"role": "user" 또는 "assistant", "content": 글} 목록이어야 해요.'
            )
        content = row.get("content")
        if isinstance(content, list):
            parts = [p.get("text") for p in content if isinstance(p, dict)]
            content = "".join(part for part in parts if isinstance(part, str))
        if not isinstance(content, str):
            raise ValueError("대화 기록의 content는 글이어야 해요.")
        if role != "system":
            out.append({"role": role, "content": clean(content)})
    return out
