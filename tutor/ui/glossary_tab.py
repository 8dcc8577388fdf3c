"""The 용어집 tab: browse by category, search, read, and ask about a term.

The entries come from the route `tutor/glossary` when the tab is first opened; drawing and search
are `assets/glossary.js`.
"""

from __future__ import annotations

import gradio as gr

from tutor.ui.assets import read_asset


def build_glossary() -> gr.HTML:
    """The tab's one component."""
    return gr.HTML(
        "",
        html_template=read_asset("glossary.html"),
        js_on_load=read_asset("glossary.js"),
        apply_default_css=False,
        elem_id="kk-glossary",
    )
