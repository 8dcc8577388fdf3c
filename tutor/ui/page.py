"""Build the page and serve it."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import gradio as gr
import torch

from model.checkpoint import CheckpointError
from tutor.chat import Tutor
from tutor.paths import WEIGHTS
from tutor.ui.api import build_api
from tutor.ui.assets import head
from tutor.ui.chat_tab import build_chat
from tutor.ui.glossary_tab import build_glossary
from tutor.ui.routes import build_routes
from tutor.ui.store import TraceStore
from tutor.ui.theme import theme
from tutor.ui.words import GRADIO_WORDS, SUBTITLE, TITLE

STORAGE_KEY = "kkoma-gpt-tutor"


def build_page(tutor: Tutor, store: TraceStore) -> gr.Blocks:
    """The page with both tabs and the API."""
    with gr.Blocks(title=TITLE, fill_width=True) as page:
        # The "secret" only scrambles the browser's own copy; it must outlive a restart.
        memory = gr.BrowserState(storage_key=STORAGE_KEY, secret=STORAGE_KEY)
        gr.HTML(
            f"<header><h1>{TITLE}</h1><p>{SUBTITLE}</p></header>",
            elem_id="kk-head",
            apply_default_css=False,
        )
        with gr.Tabs(elem_id="kk-tabs"):
            with gr.Tab("대화", id="chat"):
                build_chat(tutor, store, memory, page)
            with gr.Tab("용어집", id="glossary"):
                build_glossary()
        build_api(tutor)
    return page.queue(max_size=32)


def serve(tutor: Tutor, **options: Any) -> None:
    """Show the page until it is interrupted.

    Host and port come from GRADIO_SERVER_NAME and GRADIO_SERVER_PORT unless `options`, which are
    those of `Blocks.launch`, say otherwise.

    Raises:
        OSError: when no port is free.
    """
    store = TraceStore()
    words = {"ko": GRADIO_WORDS, "en": GRADIO_WORDS}
    page = build_page(tutor, store)
    page.launch(
        theme=theme(),
        head=head(),
        i18n=gr.I18n(**words),
        ssr_mode=False,
        run_history=False,
        footer_links=[],
        app_kwargs={"routes": build_routes(store, tutor.glossary)},
        quiet=True,
        prevent_thread_lock=True,
        **options,
    )
    print(f"{page.local_url} 에서 열었어요. 그만두려면 Ctrl+C를 누르세요.", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("\n페이지를 닫았어요.")
    finally:
        page.close(verbose=False)


def main() -> int:
    """Open the model that TUTOR_MODEL names, or the shipped one, and serve the page.

    Returns:
        The exit code; 1 when the model cannot be opened or no port is free, which one Korean
        sentence explains.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a console may not know every letter
    cores = torch.get_num_threads()
    torch.set_num_threads(1)  # the page's own threads; the engine takes all when it is full
    try:
        tutor = Tutor.open(Path(os.environ.get("TUTOR_MODEL") or WEIGHTS), threads=cores)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        serve(tutor)
    except OSError as error:
        print(
            f"페이지를 열 수 없어요. 다른 프로그램이 포트를 쓰고 있나 봐요: {error}",
            file=sys.stderr,
        )
        return 1
    return 0
