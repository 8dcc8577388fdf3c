"""Accessibility in both colour schemes, and Korean wherever a person reads or hears."""

import re

import pytest

LABELS = """() => [...document.querySelectorAll('[aria-label], [title], [placeholder]')]
  .filter((node) => node.getClientRects().length)
  .flatMap((node) => ['aria-label', 'title', 'placeholder'].map((name) => node.getAttribute(name)))
  .filter(Boolean)"""


def serious(page, axe) -> list[str]:
    found = axe.run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    person = visit(color_scheme=scheme)
    page = person.page
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", dark)[0]) < 80) == (scheme == "dark")
    assert serious(page, axe) == []
    person.ask("RNN은 왜 앞 내용을 잊어버려?")
    person.pick(5)
    page.locator(".p-cell").nth(3).click()
    page.wait_for_timeout(300)
    assert serious(page, axe) == []
    person.tab("용어집")
    page.locator(".g-link").first.wait_for()
    assert serious(page, axe) == []


def test_everything_named_is_named_in_korean_whatever_the_browsers_language(visit):
    person = visit(locale="en-US")
    page = person.page
    assert page.evaluate("document.documentElement.lang") == "ko"
    person.ask("RNN은 뭐야?")
    for tab in ("대화", "용어집"):
        person.tab(tab)
        page.wait_for_timeout(300)
        for label in page.evaluate(LABELS):
            assert re.search("[가-힣]", label), label
    assert not re.search(r"gradio|built with|settings|API", page.locator("body").inner_text(), re.I)
