"""The page's scripts, styles and static markup."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).resolve().parent / "assets"
STYLES = ("page.css", "chat.css", "panel.css", "glossary.css")


def read_asset(name: str) -> str:
    """The text of one file."""
    return (ASSETS / name).read_text(encoding="utf-8")


def head() -> str:
    """What the page's `<head>` gets: styles and the page's own script.

    Styles stand here and not in `launch(css=…)`, which rewrites selectors (in media queries so
    that those on `.gradio-container` itself match nothing).
    """
    styles = "".join(f"<style>{read_asset(name)}</style>" for name in STYLES)
    return f"{styles}<script>{read_asset('page.js')}</script>"
