"""What the server remembers for the page: recordings of answers, and answers in the making."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict

from tutor.chat import Reply
from tutor.trace import Trace

MAX_BYTES = 128 * 2**20


def trace_bytes(trace: Trace) -> int:
    """Memory that a recording's attention rows take."""
    return sum(step.attention.nbytes for step in trace.steps if step.attention is not None)


class TraceStore:
    """Recordings by an unguessable id; the least recently used leave first. Safe among threads.

    Args:
        max_bytes: how much attention may be kept. The newest recording always stays.
        max_count: how many recordings may be kept.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, max_count: int = 256) -> None:
        self.max_bytes, self.max_count = max_bytes, max_count
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._traces)

    def put(self, trace: Trace) -> str:
        """Keep a recording, which may still be growing, and say under which id."""
        trace_id = secrets.token_urlsafe(18)
        with self._lock:
            self._traces[trace_id] = trace
            sizes = {key: trace_bytes(kept) for key, kept in self._traces.items()}
            total = sum(sizes.values())
            while len(self._traces) > 1 and (
                total > self.max_bytes or len(self._traces) > self.max_count
            ):
                oldest, _ = self._traces.popitem(last=False)
                total -= sizes[oldest]
        return trace_id

    def get(self, trace_id: str) -> Trace:
        """A recording.

        Raises:
            KeyError: when it was never there or has left.
        """
        with self._lock:
            self._traces.move_to_end(trace_id)
            return self._traces[trace_id]


class Running:
    """Which session is being answered right now, so that its person can stop it."""

    def __init__(self) -> None:
        self._replies: dict[str, Reply] = {}
        self._stopped: set[Reply] = set()

    def start(self, session: str, reply: Reply) -> None:
        """A session's answer begins."""
        self._replies[session] = reply

    def stop(self, session: str) -> bool:
        """Stop the session's answer after the token in progress; whether there was one."""
        reply = self._replies.get(session)
        if reply is None:
            return False
        self._stopped.add(reply)
        reply.cancel()
        return True

    def stopped(self, reply: Reply) -> bool:
        """Whether the person stopped this answer."""
        return reply in self._stopped

    def finish(self, session: str, reply: Reply) -> None:
        """The answer is over, however it ended; its generation takes no more time."""
        reply.cancel()
        self._stopped.discard(reply)
        if self._replies.get(session) is reply:
            del self._replies[session]
