"""How command lines end on bad input; imported by tools that do without torch, too."""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

# What torch makes of an error in a loader's worker: the traceback there, and at its end the message.
WORKER_ERROR = re.compile(r"Caught \w+ in DataLoader worker process.*\n[\w.]+: (.*)$", re.DOTALL)


@contextmanager
def exit_on_bad_input() -> Iterator[None]:
    """End the program with one line on stderr and exit code 2 on an error about its input.

    Once `avis.engine.startup` has opened the log, the traceback goes there.
    """
    try:
        yield
    except (FloatingPointError, KeyError, OSError, ValueError) as error:
        logger.debug("Ended by this error:", exc_info=True)
        message = error.args[0] if isinstance(error, KeyError) else error
        if in_worker := WORKER_ERROR.match(str(message)):
            message = in_worker[1].rstrip()
        log_files = [h.stream.name for h in logging.getLogger("avis").handlers if h.stream is not sys.stdout]
        hint = f" [traceback in {log_files[0]}]" if log_files else ""
        sys.stderr.write(f"error: {message}{hint}\n")
        sys.exit(2)
