"""`tutor …`: a thin layer of commands over the other modules.

Exit codes: 0 done; 1 the input was at fault, said in one Korean sentence on stderr; 2 wrong usage.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tutor.paths import EVAL, GLOSSARY, WEIGHTS

app = typer.Typer(
    help="꼬마GPT 튜터: 속을 들여다볼 수 있는 작은 한국어 GPT",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ModelDir = Annotated[Path, typer.Option("--model", help="모델 폴더")]
Temperature = Annotated[float, typer.Option(help="온도. 0이면 가장 그럴듯한 토큰만 골라요")]
TopK = Annotated[int, typer.Option(help="확률이 높은 K개 가운데서만 골라요. 0이면 모두")]
TopP = Annotated[float, typer.Option(help="확률의 합이 P가 될 때까지의 토큰 가운데서만 골라요")]
Seed = Annotated[int, typer.Option(help="같은 씨앗이면 같은 답이 나와요")]


# Typer 0.2x carries its own copy of click; this is the class that both know.
_UsageError = typer.BadParameter.__base__


class Fault(Exception):
    """The input was at fault; the message is one Korean sentence."""


def console(*, error: bool = False) -> Console:
    """A console that never crashes on a terminal that cannot show a character (CP949)."""
    stream = sys.stderr if error else sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
    return Console(file=stream, highlight=False, soft_wrap=True, markup=False)


def _open(directory: Path, max_batch: int = 16):
    import torch

    from tutor.chat import Tutor

    cores = torch.get_num_threads()
    torch.set_num_threads(1)  # this thread's; the engine takes all of them when it is full
    return Tutor.open(directory, max_batch, cores)


def _sampling(temperature: float, top_k: int, top_p: float, seed: int):
    from model.generate import Sampling

    words = {
        "temperature": "--temperature는 0 이상 5 이하여야 해요.",
        "top_k": "--top-k는 0 이상이어야 해요.",
        "top_p": "--top-p는 0보다 크고 1 이하여야 해요.",
        "seed": "--seed는 0 이상의 정수여야 해요.",
    }
    try:
        return Sampling(temperature, top_k, top_p, seed=seed)
    except ValueError as error:
        raise Fault(words[str(error)]) from error


def _print_json(value: Any) -> None:
    console().print(json.dumps(value, ensure_ascii=False))


def _write(path: Path, text: str) -> None:
    from model.checkpoint import write_atomically

    try:
        write_atomically(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise Fault(f"{path}에 쓸 수 없어요: {error.strerror or error}.") from error


@app.command()
def ask(
    question: Annotated[str | None, typer.Argument(help="물어볼 말")] = None,
    turn: Annotated[
        list[str] | None, typer.Option(help="앞서 나눈 질문. 여러 번 쓸 수 있어요")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON으로 출력")] = False,
    model: ModelDir = WEIGHTS,
    trace: Annotated[Path | None, typer.Option(help="토큰·어텐션·후보를 JSON 파일로 저장")] = None,
    source: Annotated[Path | None, typer.Option("--input", help="질문 JSONL 파일")] = None,
    output: Annotated[Path | None, typer.Option("--output", help="답을 쓸 JSONL 파일")] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=256, help="한꺼번에 답할 수")] = 16,
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    seed: Seed = 0,
) -> None:
    """한 번 물어봐요. --input과 --output을 주면 파일의 질문에 모두 답해요."""
    sampling = _sampling(temperature, top_k, top_p, seed)
    if source is not None:
        if question is not None or output is None:
            raise Fault("--input에는 --output이 함께 있어야 하고, 질문은 따로 적지 않아요.")
        _ask_file(source, output, model, batch_size, sampling)
        return
    if question is None:
        raise Fault('물어볼 말을 적어 주세요. 예: tutor ask "RNN이 뭐야?"')
    tutor = _open(model, 1)
    result, recorded = tutor.ask([*(turn or []), question], sampling, capture=trace is not None)
    if trace is not None:
        _write(trace, json.dumps(recorded.to_json(), ensure_ascii=False))
    if as_json:
        _print_json(result.to_json())
        return
    out = console()
    out.print(result.answer)
    out.print(
        f"  ({tutor.source(tutor.ground(recorded.text)) or '정해진 인사·거절 말이에요'})",
        style="dim",
    )


def _ask_file(source: Path, output: Path, model: Path, batch_size: int, sampling) -> None:
    from tutor.evaluate import answer_all, read_questions

    questions = read_questions(source, labelled=False)
    results = answer_all(_open(model, batch_size), questions, sampling)
    lines = [
        json.dumps({"id": q.id, **r.to_json()}, ensure_ascii=False) + "\n"
        for q, r in zip(questions, results, strict=True)
    ]
    _write(output, "".join(lines))
    console().print(f"질문 {len(lines)}개에 답해 {output}에 썼어요.")


@app.command()
def chat(
    model: ModelDir = WEIGHTS,
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    seed: Seed = 0,
) -> None:
    """터미널에서 이야기해요. 빈 줄이나 Ctrl+D를 치면 끝나요."""
    from tutor.chat import MessageError

    sampling = _sampling(temperature, top_k, top_p, seed)
    tutor = _open(model, 1)
    out = console()
    messages: list[dict[str, str]] = []
    out.print("무엇이든 물어보세요. 빈 줄을 치면 끝나요.")
    while True:
        try:
            text = input("나: ").strip()
        except (EOFError, KeyboardInterrupt):
            break
        if not text:
            break
        messages.append({"role": "user", "content": text})
        try:
            reply = tutor.reply(messages, sampling, capture=False)
        except MessageError as error:
            messages.pop()
            out.print(str(error), style="yellow")
            continue
        shown = ""
        out.print("꼬마GPT: ", end="")
        for _ in reply:
            text_so_far = reply.trace.text
            out.print(text_so_far[len(shown) :], end="")
            shown = text_so_far
        out.print()
        source = tutor.source(tutor.ground(shown))
        if source:
            out.print(f"  ({source})", style="dim")
        messages.append({"role": "assistant", "content": shown})
    out.print("안녕히 가세요!")


@app.command()
def train(
    glossary: Annotated[list[Path] | None, typer.Option(help="용어집 파일이나 폴더")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="기본 용어집도 함께 가르쳐요")] = False,
    start: Annotated[str, typer.Option("--from", help="이어 배울 모델 폴더, 또는 scratch")] = str(
        WEIGHTS
    ),
    out: Annotated[Path | None, typer.Option(help="새 모델을 둘 폴더")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.1, help="걸릴 시간(분)")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="대화 학습 단계 수")] = None,
    seed: Seed = 1,
    resume: Annotated[bool, typer.Option("--resume", help="멈춘 학습을 이어서 해요")] = False,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="실험: 학습 설정 하나를 바꿔요 (이름=값)")
    ] = None,
) -> None:
    """용어집을 가르쳐 새 모델을 만들어요. 쓰던 모델은 끝날 때까지 그대로 있어요."""
    from model.train import Interrupted, process_rank
    from tutor.glossary import load_glossary
    from tutor.recipe import Recipe
    from tutor.retrain import default_out, retrain

    recipe = Recipe().changed(changes or [])
    if minutes is not None and steps is not None:
        raise Fault("--minutes와 --steps 가운데 하나만 주세요.")
    if resume and out is None:
        raise Fault("--resume에는 멈춘 학습의 --out 폴더를 함께 주세요.")
    paths = [*([GLOSSARY] if keep or not glossary else []), *(glossary or [])]
    taught = load_glossary(*paths)
    out = out or default_out()
    note = console(error=True)
    if process_rank()[0] == 0:
        console().print(f"용어 {len(taught)}개를 가르쳐 {out}에 새 모델을 만들어요.")
    with _gentle_stop() as should_stop, _training_bar(note) as (on_plan, on_progress):
        try:
            recall = retrain(
                taught,
                out,
                start=None if start == "scratch" else Path(start),
                seed=seed,
                steps=steps,
                minutes=minutes,
                resume=resume,
                recipe=recipe,
                on_plan=on_plan,
                on_progress=on_progress,
                should_stop=should_stop,
            )
        except Interrupted as stopped:
            raise Fault(
                f"학습을 멈췄어요. 같은 명령에 --resume과 --out {out}을 붙이면 이어서 할 수 있어요."
            ) from stopped
    if process_rank()[0]:
        return
    console().print(
        f"다 배웠어요: {out}\n"
        f"뜻을 글자까지 똑같이 말한 용어 {recall.exact:.0%}, "
        f"처음 보는 말투에 맞게 답한 비율 {recall.held_out:.0%}"
    )
    if recall.not_learnt:
        names = ", ".join(taught[term].term for term in recall.not_learnt)
        console().print(f"아직 다 배우지 못한 용어: {names}")


@contextmanager
def _gentle_stop():
    """The first Ctrl+C, or a request to end, asks to stop after the step in progress.

    A second one breaks off at once.
    """
    asked = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(*_: Any) -> None:
        asked.set()
        restore()

    for number in before:
        signal.signal(number, handle)
    try:
        yield asked.is_set
    finally:
        restore()


@contextmanager
def _training_bar(out: Console):
    """A progress bar with time left, loss and live accuracy; yields its two callbacks."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    names = {"pretrain": "글 읽기(사전 학습)", "chat": "대화 배우기"}
    if not out.is_terminal:
        yield lambda plan: None, _progress_lines(out, names)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("손실 {task.fields[loss]:.3f}"),
        TextColumn("처음 보는 질문 {task.fields[accuracy]}"),
        TimeElapsedColumn(),
        TextColumn("남은 시간 {task.fields[left]}"),
    )
    with Progress(*columns, console=out, refresh_per_second=2) as bar:
        tasks: dict[str, Any] = {}
        accuracy = {"text": "–"}

        def on_plan(plan: dict[str, int]) -> None:
            for name, total in plan.items():
                tasks[name] = bar.add_task(
                    names[name], total=total, loss=float("nan"), accuracy="–", left="–"
                )

        def on_progress(progress) -> None:
            if "held_out" in progress.metrics:
                accuracy["text"] = f"{progress.metrics['held_out']:.0%}"
            bar.update(
                tasks[progress.stage],
                completed=progress.step,
                loss=progress.loss,
                accuracy=accuracy["text"] if progress.stage == "chat" else "–",
                left=_minutes(progress.seconds_left),
            )

        yield on_plan, on_progress


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}분 {int(seconds) % 60:02d}초"


def _progress_lines(out: Console, names: dict[str, str]):
    """For a log file: a line now and then instead of a moving bar."""

    def on_progress(progress) -> None:
        accuracy = progress.metrics.get("held_out")
        if accuracy is None and progress.step % 100 and progress.step != progress.steps:
            return
        seen = "" if accuracy is None else f" · 처음 보는 질문 {accuracy:.0%}"
        out.print(
            f"{names[progress.stage]} {progress.step}/{progress.steps} · "
            f"손실 {progress.loss:.3f}{seen} · 남은 시간 {_minutes(progress.seconds_left)}"
        )

    return on_progress


@app.command()
def check(glossary: Annotated[Path, typer.Argument(help="용어집 파일이나 폴더")]) -> None:
    """용어집에 잘못된 곳이 있는지 줄과 칸을 짚어 알려 줘요."""
    from tutor.glossary import read_glossary
    from tutor.lint import lint

    found, problems = read_glossary([glossary])
    out = console()
    for problem in problems:
        out.print(f"- {problem}")
    if not len(found):
        raise Fault(f"{glossary}: 쓸 수 있는 용어가 하나도 없어요.")
    remarks = lint(found)
    for remark in remarks:
        out.print(f"- 다듬을 곳: {remark}")
    compare = sum(len(entry.compare) for entry in found)
    checks = sum(len(entry.checks) for entry in found)
    out.print(
        f"쓸 수 있는 용어 {len(found)}개, 비교 {compare}개, 확인 {checks}개. "
        + (f"고칠 곳 {len(problems)}군데. " if problems else "고칠 곳이 없어요. ")
        + (f"다듬으면 좋을 곳 {len(remarks)}군데." if remarks else "다듬을 곳도 없어요.")
    )


@app.command(name="eval")
def evaluate(
    questions: Annotated[Path, typer.Argument(help="질문 JSONL 파일")] = EVAL / "questions.jsonl",
    model: ModelDir = WEIGHTS,
    as_json: Annotated[bool, typer.Option("--json", help="JSON으로 출력")] = False,
    wrong: Annotated[bool, typer.Option("--wrong", help="틀린 답도 보여 줘요")] = False,
    peers: Annotated[bool, typer.Option("--peers/--no-peers", help="다른 방법들과 견줘요")] = True,
) -> None:
    """처음 보는 질문으로 점수를 매기고, 같은 글로 배운 다른 방법들과 견줘요."""
    from tutor.evaluate import (
        answer_all,
        calibration,
        exact_definitions,
        judge,
        read_questions,
        score,
        taught,
    )

    written = read_questions(questions)
    tutor = _open(model)
    asked = taught(written, tutor.glossary)
    results = answer_all(tutor, asked)
    scores = score(tutor.glossary, asked, results)
    exact, missed = exact_definitions(tutor)
    verdicts = [judge(q, r) for q, r in zip(asked, results, strict=True)]
    error, bins = calibration(results, verdicts)
    compared, absent = _peers(tutor, asked, verdicts) if peers else ([], "")
    if as_json:
        _print_json(
            {
                **scores.to_json(),
                "exact_definitions": vars(exact),
                "missed": missed,
                "calibration_error": error,
                "calibration": [vars(b) for b in bins],
                "peers": [asdict(c) for c in compared],
            }
        )
        return
    out = console()
    table = Table(title=f"{questions.name} · 질문 {len(asked)}개 · 모델 {tutor.checkpoint.hash}")
    for heading in ("항목", "점수", "맞음/전체", "95 % 구간"):
        table.add_column(heading, justify="left" if heading == "항목" else "right")
    rows = [
        ("배운 용어: 용어와 측면 모두 맞음", scores.in_scope),
        ("배운 용어: 용어가 맞음", scores.term),
        ("배운 용어: 측면이 맞음", scores.facet),
        ("다른 용어로 답함(낮을수록 좋음)", scores.wrong_term),
        ("아는 것을 모른다고 함(낮을수록 좋음)", scores.wrongly_declined),
        ("범위 밖 질문을 모델이 스스로 사양함", scores.declined),
        ("인사와 잡담에 답함", scores.smalltalk),
        ("답이 용어집과 글자까지 같음", scores.word_perfect),
        ("뜻 질문에 글자까지 똑같이 답함", exact),
    ]
    groups = (("말투", scores.by_style), ("측면", scores.by_facet), ("분류", scores.by_category))
    for name, group in (*groups, ("사양", scores.by_kind)):
        rows += [(f"{name}: {key}", value) for key, value in group.items()]
    for name, value in rows:
        interval = f"{value.low:.1%}–{value.high:.1%}" if value.count else "–"
        table.add_row(name, f"{value.value:.1%}", f"{value.right}/{value.count}", interval)
    out.print(table)
    if len(asked) < len(written):
        left_out = len(written) - len(asked)
        out.print(f"이 모델이 배우지 않은 용어를 묻는 질문 {left_out}개는 빼고 쟀어요.")
    out.print(f"확률이 믿을 만한가: 기대 보정 오차(ECE) {error:.3f}, 구간 {len(bins)}개")
    for b in bins:
        out.print(f"  확률 {b.probability:.0%}쯤: 답 {b.count}개 가운데 {b.right:.0%}가 맞음")
    if compared:
        out.print(_peer_table(scores, compared))
    if absent:
        out.print(absent)
    if missed:
        out.print("글자까지 똑같이 말하지 못한 뜻: " + ", ".join(missed))
    if wrong:
        for q, r in zip(asked, results, strict=True):
            if not judge(q, r).right:
                wanted = ",".join(q.terms) + "/" + ",".join(q.facets)
                said = ",".join(r.terms) + f"/{r.facet or r.kind}"
                out.print(
                    f"{q.id} {q.style} | {' ▸ '.join(q.turns)} | {wanted} ← {said} | {r.answer}"
                )


def _peers(tutor: Any, asked: Any, verdicts: Any) -> tuple[list[Any], str]:
    """The comparison, or why there is none."""
    try:
        from tutor.peers import compare_peers
        from tutor.retrain import Curriculum

        maker = Curriculum(tutor.glossary, int(tutor.checkpoint.training.get("seed", 1))).maker
        return compare_peers(maker, asked, verdicts), ""
    except ImportError as error:
        return [], (
            f"다른 방법들은 빼고 쟀어요: {error.name or error} 꾸러미가 없어요. "
            'pip install -e ".[bench]"로 넣을 수 있어요.'
        )


def _peer_table(scores: Any, compared: Any) -> Table:
    table = Table(
        title="같은 질문, 같은 학습 글: 다른 방법들 (앞섬은 꼬마GPT와의 차이와 95 % 구간)"
    )
    for i, heading in enumerate(("방법", "맞음", "사양함", "잘못 사양", "다른 용어", "앞섬")):
        table.add_column(heading, justify="right" if i else "left")
    ours = (scores.in_scope, scores.declined, scores.wrongly_declined, scores.wrong_term)
    table.add_row("꼬마GPT", *(f"{s.value:.1%}" for s in ours), "")
    for c in compared:
        ahead = "\n".join(
            f"{group}({d.count}) {d.value:+.1%} ({d.low:+.1%}–{d.high:+.1%})"
            for group, d in c.ahead.items()
        )
        theirs = (c.in_scope, c.declined, c.wrongly_declined, c.wrong_term)
        table.add_row(c.name, *(f"{s.value:.1%}" for s in theirs), ahead)
    return table


@app.command()
def bench(
    model: ModelDir = WEIGHTS,
    quick: Annotated[bool, typer.Option("--quick", help="짧게 재요")] = False,
) -> None:
    """속도를 같은 자리에서 다른 구현과 견주어요."""
    from tutor.bench import bench as run_bench

    report = run_bench(model, quick=quick)
    out = console()
    for title, headings, rows in report.tables():
        table = Table(title=title)
        for i, heading in enumerate(headings):
            table.add_column(heading, justify="right" if i else "left")
        for row in rows:
            table.add_row(*row)
        out.print(table)
    for line in report.notes:
        out.print(f"- {line}")


@app.command(name="app")
def page(
    model: ModelDir = WEIGHTS,
    host: Annotated[str | None, typer.Option(help="열어 둘 주소")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="포트 번호")] = None,
) -> None:
    """페이지를 열어요."""
    if host:
        os.environ["GRADIO_SERVER_NAME"] = host
    if port:
        os.environ["GRADIO_SERVER_PORT"] = str(port)
    os.environ["TUTOR_MODEL"] = str(model)
    from tutor.ui.page import main as run_page

    raise SystemExit(run_page())


def main() -> None:
    """Run a command; faults of the input become one Korean sentence and exit code 1."""
    from model.checkpoint import CheckpointError
    from model.engine import TooLong
    from tutor.chat import MessageError
    from tutor.evaluate import QuestionFileError
    from tutor.glossary import GlossaryError
    from tutor.recipe import RecipeError

    faults = (
        Fault,
        CheckpointError,
        MessageError,
        QuestionFileError,
        GlossaryError,
        RecipeError,
        TooLong,
    )
    try:
        outcome = typer.main.get_command(app).main(standalone_mode=False)
    except _UsageError as error:
        console(error=True).print(_usage_words(error))
        raise SystemExit(2) from None
    except faults as error:
        console(error=True).print(str(error))
        raise SystemExit(1) from None
    except (KeyboardInterrupt, typer.Abort):
        console(error=True).print("멈췄어요.")
        raise SystemExit(1) from None
    raise SystemExit(outcome if isinstance(outcome, int) else 0)


def _usage_words(error: Any) -> str:
    """What is wrong with the way a command was typed."""
    command = error.ctx.command_path if error.ctx else "tutor"
    seek = f"'{command} --help'에서 쓰는 법을 볼 수 있어요."
    if option := getattr(error, "option_name", None):
        return f"{option}라는 옵션은 없어요. {seek}"
    parameter = getattr(error, "param", None)
    if parameter is not None:
        name = next((o for o in parameter.opts if o.startswith("--")), parameter.name)
        missing = hasattr(error, "param_type")
        return f"{name} " + ("값이 없어요" if missing else "값이 맞지 않아요") + f". {seek}"
    return f"명령을 알아듣지 못했어요. {seek}"


if __name__ == "__main__":
    main()
