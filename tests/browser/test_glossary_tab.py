"""Browse, search, follow links, ask."""

import pytest


@pytest.fixture
def reader(visit):
    person = visit()
    person.tab("용어집")
    person.page.locator(".g-link").first.wait_for()
    return person


def search(person, text: str) -> list[str]:
    person.page.locator(".g-search input").fill(text)
    return person.page.locator(".g-link b").all_text_contents()


def test_search_forgives(reader):
    for typed in ("RNN", " r n n", "순환신경망", "Recurrent neural"):
        assert search(reader, typed)[0] == "RNN", typed
    assert search(reader, "ㅁㄴㅇㄹ<b>") == []
    assert "아직 용어집에 없어요" in reader.page.locator(".g-count").inner_text()


def test_browse_read_follow_and_ask(reader):
    page = reader.page
    everything = page.locator(".g-link").count()
    page.locator(".g-chip", has_text="순환 신경망").click()
    assert 0 < page.locator(".g-link").count() < everything
    page.locator(".g-link", has_text="RNN").first.click()
    article = page.locator(".g-entry")
    assert article.locator("h2").inner_text() == "RNN"
    headings = article.locator("h3").all_text_contents()
    for heading in ("뜻", "왜 필요한가", "원리", "한계", "다른 말과 견주면", "함께 알면 좋은 말"):
        assert heading in headings
    other = article.locator(".g-related .g-term").first
    name = other.inner_text()
    other.click()
    assert article.locator("h2").inner_text() == name
    page.get_by_role("button", name="이 말에 대해 물어보기").click()
    reader.box.wait_for()
    assert name in reader.box.input_value()
    reader.box.press("Enter")
    page.locator(".kk-note").wait_for()


def test_on_a_phone_the_list_and_the_entry_take_turns(visit, windows):
    person = visit(viewport=windows["phone"])
    page = person.page
    person.tab("용어집")
    page.locator(".g-link").nth(2).click()
    assert not page.locator(".g-list").is_visible()
    assert person.overflow() == []
    page.get_by_role("button", name="목록으로").click()
    assert page.locator(".g-list").is_visible()
    assert person.overflow() == []
