"""Ask, watch the answer grow, open a token: at a desk and on a phone."""

import numpy as np
import pytest

QUESTION = "RNN은 왜 앞 내용을 잊어버려?"

WATCH = """() => {
  window.lengths = [];
  new MutationObserver(() => {
    const grown = document.querySelector('.kk-growing');
    if (grown) window.lengths.push(grown.textContent.length);
  }).observe(document.querySelector('#kk-chat'), {subtree: true, childList: true, characterData: true});
}"""

CHIPS = """() => [...document.querySelectorAll('.p-chip')].map((chip) => ({
  made: chip.matches('button'),
  selected: chip.getAttribute('aria-pressed') === 'true',
  weight: chip.dataset.weight === undefined ? null : Number(chip.dataset.weight),
  colour: getComputedStyle(chip).backgroundColor,
  text: chip.textContent,
}))"""

OPENED = """() => performance.getEntriesByType('resource').map((each) => each.name)
  .filter((name) => /tutor\\/attention\\/[^/]+\\/\\d+$/.test(name))"""

CANVAS_COLOURS = """() => {
  const canvas = document.querySelector('.p-map canvas');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const seen = new Set();
  for (let i = 0; i < data.length; i += 4) seen.add(data.slice(i, i + 4).join());
  return seen.size;
}"""


@pytest.mark.parametrize("window", ["desk", "phone"])
def test_ask_stream_open_a_token(visit, windows, window):
    person = visit(viewport=windows[window])
    page = person.page
    assert person.overflow() == []
    page.evaluate(WATCH)
    person.ask(QUESTION)
    assert person.box.input_value() == ""
    lengths = page.evaluate("window.lengths")
    assert len(set(lengths)) >= 2 and lengths == sorted(lengths)

    person.pick(3)
    page.wait_for_load_state("networkidle")
    chips = page.evaluate(CHIPS)
    selected = next(i for i, chip in enumerate(chips) if chip["selected"])
    before, after = chips[:selected], chips[selected:]
    assert [chip["made"] for chip in chips].index(True) == selected - 3
    assert all(chip["weight"] is None for chip in after)
    weights = np.array([chip["weight"] for chip in before])
    assert weights.sum() == pytest.approx(1, abs=1e-3)

    # What is coloured is what the server says, in both of its forms.
    address = next(name for name in page.evaluate(OPENED) if name.endswith("/3"))
    seen = page.request.get(address + "/view").json()
    assert np.allclose(seen["weights"], weights)
    raw = np.frombuffer(page.request.get(address).body(), np.uint8)
    rows = (raw.reshape(-1, selected) / 255) ** 2
    assert np.allclose(rows.mean(0), weights, atol=0.005)
    assert np.allclose(rows.sum(1), 1, atol=0.1)
    assert before[int(weights.argmax())]["colour"] != before[int(weights.argmin())]["colour"]

    assert page.locator(".p-sentence").inner_text().replace("\xa0", " ") == seen["sentence"]
    assert chips[selected]["text"] in page.locator(".p-whose").inner_text()
    assert page.locator(".p-list li").count() == 10
    assert page.locator(".p-list li.chosen").count() == 1
    assert page.locator(".p-list li.chosen .share").inner_text().endswith("%")
    assert page.evaluate(CANVAS_COLOURS) > 2
    assert "방금 계산한 값" in page.locator(".p-origin").inner_text()
    assert "고른 확률 평균" in page.locator(".kk-note").inner_text()
    assert person.overflow() == []
    if window == "phone":
        talk, inside = page.locator("#kk-talk"), page.locator("#kk-inside")
        assert inside.bounding_box()["y"] > talk.bounding_box()["y"] + 200


def test_heads_preview_lock_and_mean(visit):
    person = visit()
    page = person.page
    person.ask(QUESTION)
    person.pick(2)
    mean = page.evaluate(CHIPS)
    head = page.locator(".p-cell").nth(1)
    head.hover()
    page.get_by_text("1층 2번 헤드 ·").wait_for()
    assert page.evaluate(CHIPS) != mean
    page.locator(".p-sentence").hover()
    page.get_by_text("모든 헤드 평균 ·").wait_for()
    assert page.evaluate(CHIPS) == mean

    head.click()
    page.locator(".p-sentence").hover()
    page.get_by_text("1층 2번 헤드 ·").wait_for()
    assert head.get_attribute("aria-pressed") == "true"
    person.pick(3)
    page.get_by_text("1층 2번 헤드 ·").wait_for()
    page.locator(".p-mean").click()
    page.get_by_text("모든 헤드 평균 ·").wait_for()
    assert head.get_attribute("aria-pressed") == "false"


def test_the_panel_works_by_keyboard_alone(visit):
    person = visit()
    page = person.page
    person.ask(QUESTION)
    person.chips.nth(0).focus()
    page.keyboard.press("Home")

    def step():
        page.wait_for_timeout(150)
        return page.evaluate(
            "[document.activeElement.dataset.step,"
            " document.querySelector('button.p-chip[aria-pressed=true]').dataset.step]"
        )

    assert step() == ["0", "0"]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert step() == ["2", "2"]
    ring = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(ring) == "solid"
    page.keyboard.press("ArrowLeft")
    assert step() == ["1", "1"]
    assert page.locator("button.p-chip[tabindex='0']").count() == 1
    page.keyboard.press("End")
    last = str(person.chips.count() - 1)
    assert step() == [last, last]

    page.locator(".p-cell").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.get_by_text("2층 2번 헤드 ·").wait_for()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "false"


def test_earlier_answers_can_be_opened_again(visit):
    person = visit()
    page = person.page
    person.ask("RNN은 뭐야?")
    person.ask("GPT는 뭐야?")
    assert page.locator(".p-number").inner_text() == "2번째 답"
    page.locator(".kk-look").first.click()
    assert page.locator(".p-number").inner_text() == "1번째 답"
    assert page.locator(".p-turn").count() == 3
    page.locator(".p-after").click()
    assert page.locator(".p-turn").count() == 5


def test_stop_keeps_what_was_said(visit):
    person = visit()
    page = person.page
    person.send("안녕")
    page.locator(".kk-growing").wait_for()
    page.locator("#kk-stop").click(timeout=3000)
    page.locator(".kk-note", has_text="여기서 멈췄어요.").wait_for()
    assert page.locator(".kk-answer").inner_text()
    assert page.locator("#kk-send").is_visible()


def test_what_the_server_no_longer_has_is_said_calmly(visit):
    person = visit()
    page = person.page
    person.ask("RNN은 뭐야?")
    page.route("**/tutor/attention/**", lambda route: route.abort())
    person.chips.nth(1).click()
    page.get_by_text("연결이 끊겼어요").wait_for()
    page.unroute("**/tutor/attention/**")
    gone = page.request.get(person.site.url + "/tutor/attention/nothing/0")
    assert gone.status == 404
    assert "남아 있지 않아요" in gone.json()["error"]
