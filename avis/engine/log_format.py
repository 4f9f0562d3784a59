"""Logs in colour on a terminal, and without colour codes everywhere else."""

import logging
import os
import re
import sys
from collections.abc import Iterable

# Escape sequences by which terminals change colours (ECMA-48, "select graphic rendition").
_COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")


class PlainFormatter(logging.Formatter):
    """What another formatter makes of a record, without its colour codes and those of the message.

    Args:
        inner: the other formatter.
    """

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return _COLOUR_CODE.sub("", self.inner.format(record))


def keep_colours_from_files(loggers: Iterable[logging.Logger]) -> None:
    """Let files, and consoles that are no terminal or where NO_COLOR is set, have plain text."""
    for handler in {handler for each in loggers for handler in each.handlers}:
        if not (_is_coloured(handler) or isinstance(handler.formatter, PlainFormatter)):
            handler.setFormatter(PlainFormatter(handler.formatter or logging.Formatter()))


def _is_coloured(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    return stream is sys.stdout and stream.isatty() and not os.environ.get("NO_COLOR")
