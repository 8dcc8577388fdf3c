import gradio as gr

from tutor.ui.assets import head
from tutor.ui.page import build_page
from tutor.ui.store import TraceStore


def test_what_a_browser_keeps_can_be_read_after_a_restart(tutor):
    first, second = (
        next(block for block in page.blocks.values() if isinstance(block, gr.BrowserState))
        for page in (build_page(tutor, TraceStore()), build_page(tutor, TraceStore()))
    )
    assert first.storage_key == second.storage_key
    assert first.secret == second.secret


def test_nothing_in_the_head_is_fetched_from_elsewhere():
    assert "http://" not in head() and "https://" not in head()
    assert "@import" not in head()
