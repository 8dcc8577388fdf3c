"""A quiet line over the question box, for what went wrong or should be known."""

from __future__ import annotations

import gradio as gr

from tutor.ui.assets import read_asset


def build_notice() -> gr.HTML:
    """A component whose value is one sentence, put in as text; empty hides it."""
    return gr.HTML(
        "",
        html_template='<p class="kk-notice" role="status"></p>',
        js_on_load=read_asset("notice.js"),
        apply_default_css=False,
        elem_id="kk-notice",
    )
