"""The line that the console gets of an iteration, with the norm of the gradient."""

import logging
from collections.abc import MutableMapping
from typing import Any

from detectron2.utils.events import CommonMetricPrinter, get_event_storage

# Of Detectron2's metrics, over as many iterations.
_WINDOW = 20
_SHOWN = ("grad_norm", "skipped_clips", "skipped_iterations")


class MetricPrinter(CommonMetricPrinter):
    """Detectron2's line, and after it the gradient's norm before clipping and what was skipped."""

    def __init__(self, max_iter: int) -> None:
        """Keep the number of iterations, for the ETA."""
        super().__init__(max_iter, _WINDOW)
        self.logger = _WithMore(self.logger)


class _WithMore(logging.LoggerAdapter):
    """Adds metrics to messages."""

    def process(self, msg: str, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        storage = get_event_storage()
        known = storage.histories()
        shown = [
            f"{name}: {known[name].median(storage.count_samples(name, _WINDOW)):.4g}"
            for name in _SHOWN
            if name in known
        ]
        return "  ".join([msg.rstrip(), *shown]), kwargs
