"""The line that console and log get of an iteration; its length does not depend on the number of losses."""

import datetime
import logging
import resource
import sys
from collections.abc import Mapping

from detectron2.utils.events import EventStorage, EventWriter, get_event_storage

from avis.formats.run_metrics import loss_sums

# A short name, as lines begin with it.
logger = logging.getLogger("avis")

MAX_LENGTH = 160
# What log.txt puts before a line: "[11/27 12:37:35] avis INFO: ".
_PREFIX = 28
# Numbers are medians over as many iterations, the ETA is by the median of more.
_WINDOW, _LONG_WINDOW = 20, 1000
# Of the losses, those that every line has.
_SUMS = ("class", "mask", "dice")
# What the total is called, and what stands between a name and its number, and between two of them: the first
# that fits.
_LAYOUTS = (("total_loss", ": ", "  "), ("total_loss", ": ", " "), ("total", ": ", " "), ("total", " ", " "))


class MetricPrinter(EventWriter):
    """Writes what there is to see of an iteration; all loss terms are in the other files of metrics.

    Args:
        max_iter: iterations of the training, for the ETA.
    """

    def __init__(self, max_iter: int) -> None:
        self.max_iter = max_iter

    def write(self) -> None:
        """Write the line of the iteration at hand; none after the last one."""
        storage = get_event_storage()
        if storage.iter >= self.max_iter:
            return
        known = storage.histories()
        values = {name: known[name].median(storage.count_samples(name, _WINDOW)) for name in known}
        lr, _ = storage.latest().get("lr", (None, 0))
        head = {"eta": _duration(eta) if (eta := self._eta(storage)) is not None else ""}
        head |= {"iter": str(storage.iter), "total_loss": _number(values.get("total_loss"))}
        tail = {
            "lr": _number(lr),
            "grad_norm": _number(values.get("grad_norm"), 3),
            "time": _number(values.get("time"), 3),
            "data": _number(values.get("data_time"), 3),
            "mem": _gigabytes(values.get("max_mem_mb", _peak_memory())),
            "skipped": _skipped(storage.latest()),
        }
        logger.info("%s", progress_line(head, loss_sums(values), tail))

    def _eta(self, storage: EventStorage) -> float | None:
        """Seconds that are left; None in the first iterations, which take longer than others."""
        if "time" not in storage.histories():
            return None
        left = self.max_iter - storage.iter - 1
        seconds = storage.history("time").median(_LONG_WINDOW) * left
        storage.put_scalar("eta_seconds", seconds, smoothing_hint=False)
        return seconds


def progress_line(head: Mapping[str, str], sums: Mapping[str, float], tail: Mapping[str, str]) -> str:
    """Lay out an iteration in at most `MAX_LENGTH` characters, and with the log's prefix if that can be.

    Args:
        head: numbers that come first, as text by name; "" leaves one out.
        sums: of the losses, as `loss_sums` gives them.
        tail: numbers that come last.
    """
    always = {name: _number(sums[name], 3) for name in _SUMS if name in sums}
    others = {name: value for name, value in sums.items() if name not in _SUMS}
    named = {name: _number(value, 3) for name, value in others.items()}
    joined = {"other": _number(sum(others.values()), 3)} if others else {}
    line = ""
    for losses in (always | named, always | joined, always):
        fields = {name: text for name, text in {**head, **losses, **tail}.items() if text}
        for total, mark, gap in _LAYOUTS:
            names = (total if name == "total_loss" else name for name in fields)
            line = gap.join(f"{name}{mark}{text}" for name, text in zip(names, fields.values(), strict=True))
            if len(line) <= MAX_LENGTH - _PREFIX:
                return line
    return line[:MAX_LENGTH]


def _number(value: float | None, digits: int = 4) -> str:
    """At most six characters, a sign apart: 1235, 12.35, 0.912, 1.2e-5; "" for None."""
    if value is None:
        return ""
    if value and not 1e-2 <= abs(value) < 1e4:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}" if exponent else mantissa
    if abs(value) < 1:
        return f"{value:.3f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"


def _duration(seconds: float) -> str:
    days, rest = divmod(int(seconds), 24 * 3600)
    if days:
        return f"{days}d" if days >= 10 else f"{days}d {rest // 3600}h"
    return str(datetime.timedelta(seconds=rest))


def _gigabytes(megabytes: float) -> str:
    return f"{megabytes / 1024:.0f}G" if megabytes >= 100 * 1024 else f"{megabytes / 1024:.1f}G"


def _skipped(latest: Mapping[str, tuple[float, int]]) -> str:
    """Clips + iterations that were skipped; "" for none."""
    counts = [int(latest.get(name, (0, 0))[0]) for name in ("skipped_clips", "skipped_iterations")]
    return "+".join(map(str, counts)) if any(counts) else ""


def _peak_memory() -> float:
    """The most memory that this process had, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
