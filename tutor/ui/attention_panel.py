"""The attention panel: what the model read, where it looked, and what else it might have said.

The component's value is the text of `tutor.ui.trace_lines`; drawing is `assets/panel.js`.
"""

from __future__ import annotations

import gradio as gr

from tutor.ui.assets import read_asset


def build_panel() -> gr.HTML:
    """The panel, empty until there is an answer."""
    return gr.HTML(
        "",
        html_template=read_asset("panel.html"),
        js_on_load=read_asset("panel.js"),
        apply_default_css=False,
        elem_id="kk-panel",
    )
