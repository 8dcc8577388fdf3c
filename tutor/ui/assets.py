"""The page's scripts, styles and static markup."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).resolve().parent / "assets"
STYLES = [ASSETS / name for name in ("page.css", "chat.css", "panel.css", "glossary.css")]


def read_asset(name: str) -> str:
    """The text of one file."""
    return (ASSETS / name).read_text(encoding="utf-8")
