"""The page's API: the same answers for programs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from tutor.chat import Reply, Tutor
from tutor.ui.chat_tab import ENGINE
from tutor.ui.conversation import clean, from_openai

ASK = (
    "질문 하나에 답해요. history는 OpenAI 형식의 앞선 대화예요: "
    '[{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]. '
    "answer, kind(answer|decline|smalltalk), terms, facet, similarity, probability, note, tokens, "
    "seconds를 돌려줘요. 늘 가장 확률이 높은 조각을 골라서, 같은 질문에는 같은 답이 나와요."
)
TRACE = (
    "질문 하나에 답하고 그 속을 돌려줘요: 모델이 읽은 모든 조각, 고른 조각마다 확률과 후보 열 개, "
    "층과 헤드마다의 어텐션. 줄의 규칙: 어떤 조각의 어텐션은 그 조각을 고른 바로 앞 자리의 것이에요."
)


def build_api(tutor: Tutor) -> None:
    """Add `/ask` and `/trace` to the Blocks being built."""

    def run(message: str, history: list[dict[str, Any]] | None, capture: bool) -> Reply:
        try:
            turns = from_openai(history or [])
            turns.append({"role": "user", "content": clean(message or "")})
            reply = tutor.reply(turns, capture=capture)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error
        for _ in reply:
            pass
        return reply

    def ask(message: str, history: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        reply = run(message, history, capture=False)
        return tutor.result(reply.trace, reply.seconds).to_json()

    def trace(message: str, history: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        return run(message, history, capture=True).trace.to_json()

    shared = {"concurrency_limit": tutor.engine.max_batch, "concurrency_id": ENGINE}
    gr.api(ask, api_name="ask", api_description=ASK, **shared)
    gr.api(trace, api_name="trace", api_description=TRACE, **shared)
