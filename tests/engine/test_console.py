import logging
import math
import re
from pathlib import Path

import pytest
from detectron2.utils.events import EventStorage
from hypothesis import given
from hypothesis import strategies as st

from avis.engine.console import MAX_LENGTH, MetricPrinter, progress_line
from tests.engine.small_model import small_cfg
from tests.engine.test_trainer import train

LAYERS = ["", *(f"_{layer}" for layer in range(9))]
BASELINE = [f"loss_{kind}{layer}" for kind in ("ce", "mask", "dice") for layer in LAYERS]
FAMILY = [f"loss_{part}_{kind}" for part in ("frame", "clip") for kind in ("ce", "mask", "dice")]
# The prefixes that console and log.txt put before a message.
PREFIXES = ("[11/27 12:37:35 avis]: ", "[11/27 12:37:35] avis INFO: ")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("avis"), "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


def line_of(log: pytest.LogCaptureFixture, losses: dict, iteration: int = 299_999, **scalars: float) -> str:
    with EventStorage(iteration) as storage:
        total = {"total_loss": sum(losses.values())}
        storage.put_scalars(**losses, **total, **scalars, smoothing_hint=False)
        MetricPrinter(1_000_000).write()
    return log.messages[-1]


LONGEST = {
    "lr": 1.2346e-5, "grad_norm": 1234.5, "time": 12.345, "data_time": 10.234, "max_mem_mb": 139_870,
}  # fmt: skip


def test_the_papers_thirty_losses_make_three_sums(log: pytest.LogCaptureFixture):
    line = line_of(log, dict.fromkeys(BASELINE, 1.5), iteration=1239, lr=1e-4, grad_norm=12.345, time=0.9)
    assert line.startswith("eta: 10d ") and " iter: 1239 " in line
    for part in ("total_loss: 45", "class: 15", "mask: 15", "dice: 15", "lr: 1e-4", "grad_norm: 12.3"):
        assert re.search(rf"\b{re.escape(part)}(\s|$)", line), part
    assert "skipped" not in line and "loss_ce" not in line


@pytest.mark.parametrize("losses", [BASELINE, [*FAMILY, "loss_similarity", "loss_count", "loss_of_my_own_0"]])
@pytest.mark.parametrize("skipped", [{}, {"skipped_clips": 99, "skipped_iterations": 12}])
def test_longest_line_fits_with_its_prefix(
    log: pytest.LogCaptureFixture, losses: list[str], skipped: dict[str, int]
):
    line = line_of(log, dict.fromkeys(losses, 123.456), **LONGEST, **skipped)
    for prefix in PREFIXES:
        assert len(prefix + line) <= MAX_LENGTH
    for name in ("eta", "iter", "total(_loss)?", "class", "mask", "dice", "lr", "grad_norm", "time", "mem"):
        assert re.search(rf"(^| ){name}:? \S", line), line
    assert ("skipped" in line) == bool(skipped)


def test_losses_of_the_family_have_their_names_where_they_fit(log: pytest.LogCaptureFixture):
    losses = dict.fromkeys(FAMILY, 1.0) | {"loss_count": 0.25}
    assert " class: 2 mask: 2 dice: 2 count: 0.250" in " ".join(line_of(log, losses).split())


names = st.text("abcxyz_", min_size=1, max_size=40)


@given(st.dictionaries(names, st.floats(), max_size=8), st.dictionaries(names, names, max_size=8))
def test_no_line_is_longer(sums: dict[str, float], tail: dict[str, str]):
    assert len(progress_line({"iter": "7"}, {**sums, "class": math.nan, "mask": -1e300}, tail)) <= MAX_LENGTH


def test_a_training_writes_its_line_and_all_terms_to_the_file(tmp_path: Path, log: pytest.LogCaptureFixture):
    train(small_cfg(tmp_path))
    (line,) = [message for message in log.messages if "iter: 3" in message]
    for part in ("eta: 0:00:00", "total_loss: ", "square: ", "absolute: ", "time: ", "data: ", "lr: 1e-4"):
        assert part in line
    assert '"loss_square": ' in (tmp_path / "training_metrics.json").read_text()
