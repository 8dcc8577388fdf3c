"""The 대화 tab: questions in, a growing answer out, and the attention panel beside it."""

from __future__ import annotations

import html
import logging
import secrets
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from model.generate import GREEDY, Sampling
from model.tokenizer import END
from tutor.attention import percent
from tutor.chat import MessageError, Reply, Tutor, check_message
from tutor.ui.attention_panel import build_panel
from tutor.ui.conversation import Conversation, Message, clean
from tutor.ui.notice import build_notice
from tutor.ui.store import Running, TraceStore
from tutor.ui.trace_lines import TraceLines, whole
from tutor.ui.words import EXAMPLES, TITLE

FRAME = 0.1  # seconds between two updates of the page, at least
PACE = 0.03  # seconds a token is given, at least: an answer is there to be watched as it comes
AGAIN = {"temperature": 0.8, "top_p": 0.95}  # for another answer to the same question
ENGINE = "engine"  # the queue that everything that uses the model shares

STOPPED = "여기서 멈췄어요."
CUT = "답이 길어서 여기서 끊었어요."
NOTHING_TO_RETRY = "아직 다시 답할 질문이 없어요. 먼저 무엇이든 물어봐 주세요."
FAILED = "답을 만들다가 문제가 생겼어요. 질문은 남아 있으니 '다시 답하기'를 눌러 주세요."
BROKEN_OFF = "지난번에는 답이 끝나기 전에 화면이 닫혔어요. '다시 답하기'를 누르면 이어서 답할게요."


class ChatEvents:
    """What happens on the tab; holds what all sessions share.

    Args:
        tutor: answers.
        store: keeps recordings for the panel.
    """

    def __init__(self, tutor: Tutor, store: TraceStore) -> None:
        self.tutor, self.store, self.running = tutor, store, Running()

    def send(self, text: str, stored: Any, request: gr.Request) -> Iterator[tuple]:
        """Answer a new question. Yields chatbot, panel, memory and notice.

        What was typed stands in the box again when no question comes of it; the browser does that.
        """
        talk = Conversation.load(stored)
        try:
            question = check_message(clean(text or ""))
            talk.add(Message("user", question))
            reply = self.tutor.reply(talk.for_model())
        except MessageError as error:
            yield gr.skip(), gr.skip(), gr.skip(), str(error)
            return
        yield from self._answer(talk, reply, request.session_hash)

    def again(self, stored: Any, request: gr.Request) -> Iterator[tuple]:
        """Draw another answer to the last question. Yields as `send`."""
        talk = Conversation.load(stored)
        finished = bool(talk.messages) and talk.messages[-1].role == "assistant"
        question = talk.take_back()
        if not question:
            yield gr.skip(), gr.skip(), gr.skip(), NOTHING_TO_RETRY
            return
        talk.add(Message("user", question))
        sampling = Sampling(seed=secrets.randbits(31), **AGAIN) if finished else GREEDY
        try:
            reply = self.tutor.reply(talk.for_model(), sampling)
        except MessageError as error:
            yield gr.skip(), gr.skip(), gr.skip(), str(error)
            return
        yield from self._answer(talk, reply, request.session_hash)

    def stop(self, request: gr.Request) -> None:
        """The person has read enough."""
        self.running.stop(request.session_hash)

    def restore(self, stored: Any) -> tuple:
        """After the page has loaded: what was said before, and what can still be opened."""
        talk = Conversation.load(stored)
        lines, number = "", 0
        for message in talk.messages:
            if message.role == "assistant":
                number += 1
                try:
                    lines += whole(self.store.get(message.trace), message.trace, number)
                except KeyError:
                    continue
        if not lines and number:
            lines = '{"k": "lost"}\n'
        broken = bool(talk.messages) and talk.messages[-1].role == "user"
        return talk.for_chatbot(), lines, BROKEN_OFF if broken else ""

    def _answer(self, talk: Conversation, reply: Reply, session: str) -> Iterator[tuple]:
        """Stream one answer: chatbot, panel, memory, notice."""
        trace = reply.trace
        trace_id = self.store.put(trace)
        lines = TraceLines(trace, trace_id, talk.answers + 1)
        shown = talk.for_chatbot()
        self.running.start(session, reply)
        try:
            yield shown, lines.grow(), talk.store(), ""
            begun, last = time.monotonic(), 0.0
            for count, _ in enumerate(reply):
                if self.running.stopped(reply):
                    break
                time.sleep(max(0.0, begun + count * PACE - time.monotonic()))
                if time.monotonic() - last >= FRAME:
                    growing = Message("assistant", trace.text, done=False)
                    bubble = Conversation([growing]).for_chatbot()
                    yield [*shown, *bubble], lines.grow(), gr.skip(), gr.skip()
                    last = time.monotonic()
            talk.add(self._finished(talk, reply, trace_id))
        except Exception:
            logging.getLogger(__name__).exception("an answer failed")
            yield shown, gr.skip(), gr.skip(), FAILED
            return
        finally:
            self.running.finish(session, reply)
        yield talk.for_chatbot(), lines.close(), talk.store(), gr.skip()

    def _finished(self, talk: Conversation, reply: Reply, trace_id: str) -> Message:
        """The answer with what the program adds beside it."""
        trace = reply.trace
        result = self.tutor.result(trace, reply.seconds)
        term = ""
        if self.running.stopped(reply):
            note = [STOPPED]
        else:
            grounding = self.tutor.ground(trace.text)
            note = [self.tutor.source(grounding), self.tutor.hint(trace.question, grounding)]
            term = result.terms[0] if result.terms else ""
            if trace.steps and trace.steps[-1].token != END:
                note.append(CUT)
        note.append(f"고른 확률 평균 {percent(result.probability)}")
        aside = ""
        if trace.dropped_turns and not any(message.aside for message in talk.messages):
            aside = (
                "대화가 길어져서 이제부터는 앞쪽 말을 다 읽지 못해요. "
                f"한 번에 {trace.context}조각까지만 볼 수 있거든요."
            )
        return Message(
            "assistant", trace.text, " · ".join(filter(None, note)), aside, term, trace_id
        )


def _placeholder() -> str:
    examples = "".join(
        f'<li><button type="button" class="kk-example">{html.escape(question)}</button></li>'
        for question in EXAMPLES
    )
    return (
        '<div class="kk-welcome"><p class="kk-hello">안녕하세요, 꼬마GPT예요.</p>'
        "<p>저는 여기서 태어난 아주 작은 언어 모델이에요. 무엇이든 물어보면 한 조각씩 답하고, "
        "조각마다 어디를 보고 골랐는지도 보여 드려요.</p>"
        f'<ul class="kk-examples">{examples}</ul></div>'
    )


def build_chat(tutor: Tutor, store: TraceStore, memory: gr.BrowserState, page: gr.Blocks) -> None:
    """Lay out the tab and tie its events.

    Args:
        memory: where the browser keeps the conversation.
        page: the Blocks, for what happens when it has loaded.
    """
    events = ChatEvents(tutor, store)
    with gr.Row(elem_id="kk-desk", equal_height=False):
        with gr.Column(elem_id="kk-talk", scale=9, min_width=320):
            chatbot = gr.Chatbot(
                elem_id="kk-chat",
                label=f"{TITLE}와 나눈 대화",
                show_label=False,
                container=False,
                height=None,
                buttons=[],
                feedback_options=None,
                layout="bubble",
                render_markdown=False,
                latex_delimiters=[],
                placeholder=_placeholder(),
                group_consecutive_messages=False,
            )
            notice = build_notice()
            with gr.Row(elem_id="kk-ask"):
                box = gr.Textbox(
                    elem_id="kk-box",
                    label="질문",
                    show_label=False,
                    container=False,
                    lines=1,
                    max_lines=6,
                    placeholder="궁금한 것을 물어보세요",
                    scale=1,
                    min_width=120,
                )
                send = gr.Button("보내기", elem_id="kk-send", variant="primary", scale=0)
                stop = gr.Button("멈추기", elem_id="kk-stop", scale=0)
            with gr.Row(elem_id="kk-tools"):
                again = gr.Button("다시 답하기", elem_id="kk-again", size="sm", scale=0)
                new = gr.Button("새 대화", elem_id="kk-new", size="sm", scale=0)
                save = gr.Button("대화 저장", elem_id="kk-save", size="sm", scale=0)
            gr.HTML(
                "<p>‘덧붙임’은 모델의 말이 아니에요. 답이 끝난 뒤 용어집과 견주어 붙인 글이고, "
                "숫자는 모두 이 대화에서 방금 계산한 값이에요.</p>",
                elem_id="kk-foot",
                apply_default_css=False,
            )
        with gr.Column(elem_id="kk-inside", scale=11, min_width=320):
            panel = build_panel()

    shared = {"concurrency_limit": tutor.engine.max_batch, "concurrency_id": ENGINE}
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    outputs = [chatbot, panel, memory, notice]
    asked = gr.on(
        [box.submit, send.click],
        events.send,
        [box, memory],
        outputs,
        js="(text, memory) => kkoma.send(text, memory)",
        **shared,
        **quiet,
    )
    retried = again.click(
        events.again,
        memory,
        outputs,
        js="(memory) => kkoma.again(memory)",
        **shared,
        **quiet,
    )
    for answered in (asked, retried):
        answered.then(None, js="() => kkoma.rest()", api_visibility="private")
    stop.click(events.stop, queue=False, **quiet)
    new.click(
        None,
        None,
        [chatbot, panel, memory, notice],
        js="() => kkoma.renew()",
        api_visibility="private",
    )
    save.click(None, memory, None, js="(memory) => kkoma.save(memory)", api_visibility="private")
    page.load(events.restore, memory, [chatbot, panel, notice], **quiet)
