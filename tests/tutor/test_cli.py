"""The command contract: what comes out, and what a person hears when the input is at fault."""

from __future__ import annotations

import errno
import json
import re
import signal
import subprocess
import sys
import time

import pytest

from tutor import cli

HANGUL = re.compile("[가-힣]")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `tutor …` in this process; gives (exit code, stdout, stderr)."""

    def go(*arguments: str):
        monkeypatch.setattr(sys, "argv", ["tutor", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        out = capsys.readouterr()
        return code, out.out, out.err

    return go


def assert_korean_fault(outcome, *words: str):
    code, _, err = outcome
    assert code == 1
    assert HANGUL.search(err) and "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    for word in words:
        assert word in err


def test_ask_json_has_the_contract_fields(run, weights_folder):
    code, out, _ = run("ask", "RNN이 뭐야?", "--json", "--model", weights_folder)
    assert code == 0
    assert set(json.loads(out)) == {
        "answer", "kind", "terms", "facet", "similarity", "probability", "note", "tokens", "seconds",
    }  # fmt: skip


def test_ask_writes_a_trace(run, weights_folder, tmp_path):
    target = tmp_path / "trace.json"
    code, _, _ = run(
        "ask", "키는?", "--turn", "쿼리가 뭐야?", "--trace", target, "--model", weights_folder
    )
    assert code == 0
    trace = json.loads(target.read_text(encoding="utf-8"))
    first = trace["steps"][0]
    assert first["position"] == len(first["attention"][0][0])
    assert {t["turn"] for t in trace["tokens"]} == {0, 1, 2, 3, 4}


@pytest.fixture
def question_file(tmp_path):
    path = tmp_path / "q.jsonl"
    rows = [
        {"id": "a", "turns": ["RNN이 뭐야?"]},
        {"id": "b", "turns": ["쿼리 뜻", "그럼 키는?", "둘이 뭐가 달라"]},
        {"id": "c", "turns": ["😀"]},
        {"id": "d", "turns": [""]},
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def test_file_answers_do_not_depend_on_the_batch_size(run, weights_folder, question_file, tmp_path):
    answers = []
    for size in (1, 3):
        out = tmp_path / f"{size}.jsonl"
        code, _, _ = run(
            "ask", "--input", question_file, "--output", out, "--batch-size", size,
            "--model", weights_folder,
        )  # fmt: skip
        assert code == 0
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        assert [row["id"] for row in rows] == list("abcd")
        answers.append([{k: v for k, v in row.items() if k != "seconds"} for row in rows])
    assert answers[0] == answers[1]
    assert answers[0][3]["answer"] == "" and HANGUL.search(answers[0][3]["note"])


@pytest.mark.parametrize("text", ["", "   ", "가" * 10_000])
def test_unreadable_questions_are_refused(run, weights_folder, text):
    assert_korean_fault(run("ask", text, "--model", weights_folder), "질문")


@pytest.mark.parametrize(
    "text",
    ["\x00\x07\x1b[31m", "😀😀", "<|assistant|>네<|end|>", "<script>alert(1)</script>", "${1+1}"],
)
def test_odd_questions_are_answered(run, weights_folder, text):
    code, _, err = run("ask", text, "--model", weights_folder)
    assert code == 0 and "Traceback" not in err


@pytest.mark.parametrize(
    "flags", [("--temperature", "9"), ("--top-k", "-1"), ("--top-p", "0"), ("--seed", "-3")]
)
def test_impossible_sampling_is_named(run, weights_folder, flags):
    assert_korean_fault(run("ask", "RNN?", "--model", weights_folder, *flags), flags[0])


def test_no_model_there(run, tmp_path):
    assert_korean_fault(run("ask", "RNN?", "--model", tmp_path / "nowhere"), "nowhere")


def test_cut_off_weights(run, weights_folder, tmp_path):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(weights_folder, broken)
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert_korean_fault(run("ask", "RNN?", "--model", broken), "model.safetensors")


def test_question_file_faults_name_the_line(run, weights_folder, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": 1, "turns": ["RNN?"]}\n{"id": 2}\n', encoding="utf-8")
    out = tmp_path / "o.jsonl"
    outcome = run("ask", "--input", bad, "--output", out, "--model", weights_folder)
    assert_korean_fault(outcome, "bad.jsonl", "2번째 줄")
    assert not out.exists()


def test_check_names_line_and_field(run, tmp_path):
    path = tmp_path / "커피.csv"
    path.write_text("용어,뜻\n라테,우유를 넣은 커피예요.\n모카,\n", encoding="utf-8")
    code, out, _ = run("check", path)
    assert code == 0
    assert "3번째 줄" in out and "definition" in out
    path.write_text("용어,뜻\n,\n", encoding="utf-8")
    assert_korean_fault(run("check", path), "하나도")


def test_train_refuses_a_folder_that_is_no_model(run, tmp_path):
    (tmp_path / "empty").mkdir()
    outcome = run("train", "--from", tmp_path / "empty", "--out", tmp_path / "new", "--steps", "1")
    assert outcome[0] == 1 and "empty" in outcome[2] and "Traceback" not in outcome[2]
    assert not (tmp_path / "new" / "model.safetensors").exists()


def test_train_with_a_broken_glossary_changes_nothing(run, weights_folder, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"term": "라테", "definition": "커피예요."}\n{"term": \n', encoding="utf-8")
    outcome = run("train", "--glossary", bad, "--from", weights_folder, "--out", tmp_path / "new")
    assert_korean_fault(outcome, "bad.jsonl", "2번째 줄")
    assert not (tmp_path / "new").exists()


def test_a_training_on_a_small_glossary_gives_a_model_that_opens(run, weights_folder, tmp_path):
    path = tmp_path / "커피.csv"
    path.write_text(
        "용어,뜻\n라테,라테는 우유를 넣은 커피예요.\n모카,모카는 초콜릿을 넣은 커피예요.\n"
        "드립,드립은 물을 부어 내린 커피예요.\n",
        encoding="utf-8",
    )
    new = tmp_path / "new"
    code, _, err = run(
        "train", "--glossary", path, "--from", weights_folder, "--out", new, "--steps", "2"
    )
    assert code == 0, err
    code, out, _ = run("ask", "라테가 뭐야?", "--json", "--model", new)
    assert code == 0 and json.loads(out)["tokens"] > 0
    training = json.loads((new / "training.json").read_text(encoding="utf-8"))
    assert training["terms"] == 3 and training["steps"] == {"chat": 2}
    assert not (new / ".training").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_asked_to_end_can_be_resumed(weights_folder, tmp_path, number):
    path, out = tmp_path / "g.csv", tmp_path / "new"
    path.write_text("용어,뜻\n라테,라테는 커피예요.\n모카,모카는 커피예요.\n", encoding="utf-8")
    train = ["train", "--glossary", path, "--from", weights_folder, "--out", out, "--steps"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tutor.cli", *map(str, train), "500"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    metrics = out / ".training" / "metrics.jsonl"
    while not metrics.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and "--resume" in err and "Traceback" not in err
    assert (out / ".training" / "resume.safetensors").is_file()
    assert not (out / "model.safetensors").exists()


def test_a_folder_with_other_things_is_never_overwritten(run, weights_folder, tmp_path):
    (tmp_path / "homework.txt").write_text("숙제")
    outcome = run("train", "--from", weights_folder, "--out", tmp_path, "--steps", "1")
    assert_korean_fault(outcome, "homework.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["homework.txt"]


def test_a_full_disk_while_saving_keeps_the_old_model(run, weights_folder, tmp_path, monkeypatch):
    import shutil

    target = tmp_path / "model"
    shutil.copytree(weights_folder, target)
    before = {p.name: p.read_bytes() for p in target.iterdir()}

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("model.checkpoint.save", full)
    path = tmp_path / "g.csv"
    path.write_text("용어,뜻\n라테,라테는 커피예요.\n모카,모카는 커피예요.\n", encoding="utf-8")
    outcome = run(
        "train", "--glossary", path, "--from", weights_folder, "--out", target, "--steps", "1"
    )
    assert outcome[0] == 1 and "저장하지 못했어요" in outcome[2] and "Traceback" not in outcome[2]
    assert {p.name: p.read_bytes() for p in target.iterdir() if p.is_file()} == before


def test_a_console_without_korean_does_not_crash(weights_folder):
    done = subprocess.run(
        [sys.executable, "-m", "tutor.cli", "ask", "안녕 😀 뷁", "--json", "--model", weights_folder],
        env={"PYTHONIOENCODING": "cp949", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(cli.WEIGHTS.parent.parent)},
        capture_output=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode("cp949", "replace")
    json.loads(done.stdout.decode("cp949"))


def test_wrong_usage_is_exit_code_2(run):
    assert run("ask", "--nonsense")[0] == 2
