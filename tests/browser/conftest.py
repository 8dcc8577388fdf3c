"""A real page in a real browser: the app as a process of its own, Chromium driven by Playwright."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tutor.paths import ROOT, WEIGHTS

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
WINDOWS = {"desk": {"width": 1280, "height": 800}, "phone": {"width": 360, "height": 740}}


def missing(what: str):
    """Skip on a machine without it; in CI that is a failure."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{what} is not installed")


@dataclass
class Site:
    """The app under test."""

    url: str
    process: subprocess.Popen
    ready_after: float


def start_app(folder: Path, model: Path) -> Site:
    """Launch `app.py` from another working directory and wait until the page answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {"TUTOR_MODEL": str(model), "GRADIO_SERVER_PORT": str(port)}
    env.pop("GRADIO_ANALYTICS_ENABLED", None)
    start = time.monotonic()
    with open(folder / "app.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py")], cwd=folder, env=env, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    while time.monotonic() - start < 180:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return Site(url, process, time.monotonic() - start)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    process.kill()
    pytest.fail("the app did not start:\n" + (folder / "app.log").read_text("utf-8", "replace"))


@pytest.fixture(scope="session")
def model_folder(request) -> Path:
    """The shipped model, or the one TUTOR_MODEL names; an untrained one where there is none."""
    if named := os.environ.get("TUTOR_MODEL"):
        return Path(named)
    if (WEIGHTS / "config.json").exists():
        return WEIGHTS
    return request.getfixturevalue("weights_folder")


@pytest.fixture(scope="session")
def browser():
    try:
        from playwright import sync_api
    except ImportError:
        missing("playwright")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        missing("chromium")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def site(browser, tmp_path_factory, model_folder):
    running = start_app(tmp_path_factory.mktemp("app"), model_folder)
    yield running
    running.process.terminate()
    running.process.wait(10)


@pytest.fixture(scope="session")
def contexts(browser):
    """Browser profiles by their settings; sharing one lets it keep Gradio's scripts."""
    opened = {}

    def get(**options):
        key = repr(sorted(options.items()))
        if key not in opened:
            settings = {"viewport": WINDOWS["desk"], "locale": "ko-KR"} | options
            opened[key] = browser.new_context(**settings)
            opened[key].set_default_timeout(60_000)  # a busy machine is no fault
        return opened[key]

    yield get
    for context in opened.values():
        context.close()


class Visit:
    """One person at the page, with what a test does again and again.

    Attributes:
        hosts: every host that was asked for something.
        faults: errors of the page's scripts, and dialogs that something opened.
    """

    def __init__(self, context, site: Site) -> None:
        self.site, self.page = site, context.new_page()
        self.hosts: set[str] = set()
        self.faults: list[str] = []
        self.page.on("request", self._note)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.goto(site.url + "/tutor/attention/none/0")
        self.page.evaluate("localStorage.clear()")
        self.open()

    def _note(self, request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss"):
            self.hosts.add(parts.netloc)

    def _dialog(self, dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self) -> None:
        self.page.goto(self.site.url)
        self.page.wait_for_selector("#kk-box textarea")
        self.page.wait_for_function("window.kkoma && document.querySelector('.p-scale b')")

    @property
    def box(self):
        return self.page.locator("#kk-box textarea")

    @property
    def chips(self):
        """Tokens that the model generated."""
        return self.page.locator("button.p-chip")

    def send(self, text: str) -> None:
        self.box.fill(text)
        self.box.press("Enter")

    def ask(self, text: str) -> None:
        """Ask and wait until the answer is complete and the panel shows its last token."""
        before = self.page.locator(".kk-note").count()
        self.send(text)
        self.page.locator(".kk-note").nth(before).wait_for()
        self.page.wait_for_function("!document.documentElement.dataset.busy")
        self.settle()

    def settle(self) -> None:
        """Wait until the panel has caught up: a generated token is selected."""
        self.page.locator("button.p-chip[aria-pressed=true]").wait_for()
        self.page.wait_for_function("document.querySelector('.p-sentence').textContent.length > 4")

    def pick(self, step: int) -> None:
        self.chips.nth(step).click()
        self.page.locator(f"button.p-chip[data-step='{step}'][aria-pressed=true]").wait_for()

    def overflow(self) -> list[str]:
        """What reaches beyond the window's right edge, seen or cut off there."""
        return self.page.evaluate(
            """() => [document.documentElement, ...document.querySelectorAll('main *')]
              .filter((node) => !node.closest('.visually-hidden'))
              .filter((node) => node.getBoundingClientRect().right > innerWidth + 0.5
                || (node.parentElement === null && node.scrollWidth > innerWidth))
              .map((node) => node.outerHTML.slice(0, 80))"""
        )

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()


@pytest.fixture(scope="session")
def windows() -> dict[str, dict[str, int]]:
    return WINDOWS


@pytest.fixture
def visit(contexts, site):
    """Opens visits; every one must end without a script error and without another host."""
    visits: list[Visit] = []

    def make(**options) -> Visit:
        visits.append(Visit(contexts(**options), site))
        return visits[-1]

    yield make
    for each in visits:
        each.page.close()
        assert each.faults == []
        assert each.hosts == {urlsplit(site.url).netloc}
