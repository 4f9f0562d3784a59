"""How far the prediction of a video is, and how long it will still take.

On a terminal there is a bar, elsewhere a line in the log every half minute. A program that shows it in a
way of its own, such as a web page, listens:

    with listen(lambda done, seconds_left: …):
        model([video])
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

# Takes the share that is done, 0 … 1, and the seconds that are left, about.
Listener = Callable[[float, float], object]

_SECONDS_BETWEEN_LINES = 30.0
# What a bar shows; a count where nobody knows how much there is to do.
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
_COUNT = "{desc}: {n:.0f} s done in {elapsed}"

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_with_bars: ContextVar[bool] = ContextVar("with_bars", default=True)


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Tell a listener of the videos that are predicted meanwhile in this thread, instead of bar and log."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def show_no_bars() -> None:
    """From now on, log lines also on a terminal, which processes share that compute at once."""
    _with_bars.set(False)


class Progress:
    """Counts work of a video that is done, in units of about the same time; a context that ends it."""

    def __init__(self, name: str, work: float | None) -> None:
        """Begin.

        Args:
            name: of the video.
            work: to do in all, which may be an estimate; more than 0. None: nobody knows, and what is done is
                said as seconds of the video.
        """
        self._name, self._work, self._done = name, work, 0.0
        self._start = self._reported = time.monotonic()
        self._listener = _listener.get()
        self._bar = tqdm(
            desc=name,
            total=work,
            bar_format=_BAR if work else _COUNT,
            delay=2,
            leave=False,
            disable=True if self._listener or not _with_bars.get() else None,
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def add(self, work: float) -> None:
        """Some more is done."""
        self.reach(self._done + work)

    def reach(self, done: float) -> None:
        """So much is done in all, and not more than there is to do."""
        done = min(done, self._work or done)
        if done <= self._done:
            return
        self._bar.update(done - self._done)
        self._done = done
        now = time.monotonic()
        if self._listener:
            if self._work:
                self._listener(self._done / self._work, self._seconds_left(now))
        elif self._bar.disable and now - self._reported >= _SECONDS_BETWEEN_LINES:
            self._reported = now
            logger.info("%s: %s", self._name, self._describe(now))

    def _describe(self, now: float) -> str:
        if not self._work:
            return f"{self._done:.0f} s done"
        left = tqdm.format_interval(self._seconds_left(now))
        return f"{100 * self._done / self._work:.0f} % done, {left} left"

    def _seconds_left(self, now: float) -> float:
        return (now - self._start) / self._done * (self._work - self._done)
