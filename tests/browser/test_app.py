"""The process behind the page: start-up, memory, refusals, the API."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tutor.paths import ROOT


def test_ready_within_twenty_seconds(site):
    assert site.ready_after < 20


def test_under_a_gigabyte_after_some_talk(visit):
    person = visit()
    person.ask("RNN은 뭐야?")
    status = Path(f"/proc/{person.site.process.pid}/status")
    if not status.exists():
        pytest.skip("no /proc here")
    resident = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) * 1024 < 10**9


def test_the_first_token_comes_at_once(visit):
    # 300 ms on a free machine (`pytest -s` prints them); the bound leaves room for a busy one.
    person = visit()
    person.page.evaluate(
        """() => {
          document.addEventListener('keydown', () => (window.pressed ??= performance.now()), true);
          new MutationObserver(() => {
            if (document.querySelector('.kk-growing')?.textContent)
              window.first ??= performance.now();
          }).observe(document.querySelector('#kk-chat'), {subtree: true, childList: true, characterData: true});
        }"""
    )
    waits = []
    for _ in range(2):
        person.page.locator("#kk-new").click()
        person.page.evaluate("() => { window.pressed = window.first = undefined; }")
        person.ask("RNN은 뭐야?")
        waits.append(person.page.evaluate("window.first - window.pressed"))
    print(f"\nEnter to first token: {[round(wait) for wait in waits]} ms")
    assert min(waits) < 1000


def test_a_model_that_cannot_be_opened_is_one_korean_sentence(tmp_path, model_folder):
    cut = tmp_path / "cut"
    shutil.copytree(model_folder, cut, ignore=shutil.ignore_patterns("pretrained"))
    weights = next(cut.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    runs = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "app.py")],
            env=os.environ | {"TUTOR_MODEL": str(folder)},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for folder in (tmp_path / "missing", cut)
    ]
    for run in runs:
        _, words = run.communicate(timeout=60)
        assert run.returncode == 1
        assert "Traceback" not in words
        assert len(words.strip().splitlines()) == 1
        assert any("가" <= letter <= "힣" for letter in words)


@pytest.fixture(scope="module")
def client(site):
    gradio_client = pytest.importorskip("gradio_client")
    return gradio_client.Client(site.url, verbose=False)


def test_only_the_two_documented_calls_are_offered(client):
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {"/ask", "/trace"}


def test_ask_reads_the_history(client):
    first = client.predict("RNN은 뭐야?", api_name="/ask")
    assert set(first) >= {"answer", "kind", "terms", "facet", "similarity", "probability", "note"}
    again = client.predict("RNN은 뭐야?", [], api_name="/ask")
    assert again["answer"] == first["answer"]
    history = [
        {"role": "user", "content": "RNN은 뭐야?"},
        {"role": "assistant", "content": [{"type": "text", "text": first["answer"]}]},
    ]
    trace = client.predict("왜 필요해?", history, api_name="/trace")
    assert max(token["turn"] for token in trace["tokens"]) == 4
    for step in trace["steps"]:
        row = step["attention"][0][0]
        assert len(row) == step["position"]
        assert sum(row) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "call", [["", []], ["가" * 501, []], ["안녕", [{"role": "tool", "content": "x"}]]]
)
def test_bad_calls_are_refused_in_korean(client, call):
    with pytest.raises(Exception, match=r"[가-힣]+.*요"):
        client.predict(*call, api_name="/ask")
