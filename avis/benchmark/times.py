"""Seconds of several calls, in short."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """Seconds of several calls: the median, the fastest and the slowest."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Times":
        """Of the seconds of each call."""
        return cls(statistics.median(seconds), min(seconds), max(seconds))
