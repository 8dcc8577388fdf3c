"""GET routes beside Gradio's: attention as bytes, a row read in words, the glossary.

They are given to the web application when it is made, so they are there before the page is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tutor.attention import view
from tutor.glossary import Glossary
from tutor.trace import Trace, encode_attention
from tutor.ui.glossary_data import glossary_page
from tutor.ui.store import TraceStore

GONE = "이 답의 속은 이제 서버에 남아 있지 않아요. 다시 물어보면 새로 볼 수 있어요."
NO_STEP = "이 답에는 그런 조각이 없어요."
NO_HEAD = "이 모델에는 그런 헤드가 없어요."
FOREVER = {"Cache-Control": "private, max-age=86400, immutable"}


class _Refused(Exception):
    """A request that cannot be served: status and one Korean sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _guarded(handler: Callable[[Request], Response]) -> Callable[[Request], Response]:
    def handle(request: Request) -> Response:
        try:
            return handler(request)
        except _Refused as refused:
            return JSONResponse({"error": str(refused)}, status_code=refused.status)

    return handle


def parse_heads(text: str, layers: int, heads: int) -> list[tuple[int, int]]:
    """`"0.3,2.1"` as `(layer, head)` pairs counted from 0; nothing means all.

    Raises:
        ValueError: when one is not a head of the model.
    """
    out = []
    for part in filter(None, text.split(",")):
        layer, _, head = part.partition(".")
        pair = int(layer), int(head)
        if not (0 <= pair[0] < layers and 0 <= pair[1] < heads):
            raise ValueError(part)
        out.append(pair)
    return out


def build_routes(store: TraceStore, glossary: Glossary) -> list[Route]:
    """The routes of the page.

    - `tutor/attention/{id}/{step}`: one generated token's row, uint8 as
      `round(255·sqrt(weight))`, layer by layer, head by head, key by key
    - `tutor/attention/{id}/{step}/view?heads=0.3`: the row averaged over some heads (all without
      `heads`): weights, share on special tokens, one Korean sentence
    - `tutor/glossary`: the entries, ready to show

    An unknown id answers 404, an impossible step or head 400, both with `{"error": …}` in Korean.
    """

    def find(request: Request) -> tuple[Trace, int, np.ndarray]:
        try:
            trace = store.get(request.path_params["trace_id"])
        except KeyError:
            raise _Refused(404, GONE) from None
        step = request.path_params["step"]
        if step >= len(trace.steps):
            raise _Refused(400, NO_STEP)
        return trace, step, trace.attention(step)

    def row(request: Request) -> Response:
        _, _, weights = find(request)
        return Response(
            encode_attention(weights), media_type="application/octet-stream", headers=FOREVER
        )

    def words(request: Request) -> Response:
        trace, step, _ = find(request)
        try:
            chosen = parse_heads(request.query_params.get("heads", ""), trace.layers, trace.heads)
        except ValueError:
            raise _Refused(400, NO_HEAD) from None
        seen = asdict(view(trace, step, chosen))
        return JSONResponse(seen, headers=FOREVER)

    entries = glossary_page(glossary)

    def terms(request: Request) -> Response:
        return JSONResponse(entries)

    return [
        Route("/tutor/attention/{trace_id}/{step:int}", _guarded(row)),
        Route("/tutor/attention/{trace_id}/{step:int}/view", _guarded(words)),
        Route("/tutor/glossary", terms),
    ]
