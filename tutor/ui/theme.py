"""Gradio's own theme variables; the page's colours and spacing are in `assets/page.css`."""

from __future__ import annotations

import gradio as gr

FONTS = [
    "Pretendard",
    "Noto Sans KR",
    "Apple SD Gothic Neo",
    "Malgun Gothic",
    "NanumGothic",
    "sans-serif",
]


def theme() -> gr.themes.Base:
    """A plain theme on fonts that the machine already has; nothing is fetched."""
    return gr.themes.Base(font=FONTS, font_mono=["D2Coding", "Consolas", "monospace"])
