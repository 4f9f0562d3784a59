"""tools/plan_scale.py: counts of real models, and the formulas of docs/scaling.md."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from avis.config import get_avis_cfg
from avis.modeling import build_model

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "plan_scale.py"


def rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *words: str) -> dict[str, str]:
    monkeypatch.setattr(sys, "argv", [str(TOOL), *words])
    runpy.run_path(str(TOOL), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    return dict(re.fullmatch(r"\| (.*) \| (.*) \|", line).groups() for line in lines)


def test_numbers_of_a_small_model(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    config = str(ROOT / "configs/quickstart.yaml")
    words = ("--gpus", "4", "--clips-per-gpu", "3", "--step-seconds", "0.5", "--link", "2", "--jpeg-kb", "50")
    found = rows(monkeypatch, capsys, "--config-file", config, *words, "SOLVER.IMS_PER_BATCH", "3")
    cfg = get_avis_cfg(config, ["MODEL.DEVICE", "cpu"])
    parameters = list(build_model(cfg).parameters())
    kept, learning = (
        sum(p.numel() for p in ps) for ps in (parameters, filter(lambda p: p.requires_grad, parameters))
    )
    assert found["parameters, and those that learn"] == f"{kept / 1e6:.1f} M, {learning / 1e6:.1f} M"
    assert found["clips of a step"] == "12, 4.00 times the config's"
    lr = cfg.SOLVER.BASE_LR
    assert found["SOLVER.BASE_LR, by the square root"] == f"{2 * lr:.2e} (linear: {4 * lr:.2e})"
    assert found["SOLVER.MAX_ITER for as many clips"].startswith(f"{cfg.SOLVER.MAX_ITER // 4}, ")
    assert found["clips to load"].startswith("24 /s")
    assert found["to read"] == f"{24 * cfg.INPUT.SAMPLING_FRAME_NUM * 0.05:.0f} MB/s"
    sent = 2 * 3 / 4 * learning * 4
    assert found["sent by copies (DDP)"].startswith(f"{sent / 1e9:.2f} GB a GPU, {sent / 2e9:.3f} s")
    assert found["memory of copies, without activations"] == f"{4 * (kept + 4 * learning) / 1e9:.2f} GB"
    assert found["a checkpoint in one file"].startswith(f"{4 * (kept + 2 * learning) / 1e9:.2f} GB")


@pytest.mark.parametrize("words", [("--gpus", "0"), ("--link", "-1"), ("--step-seconds", "nan")])
def test_numbers_that_mean_nothing_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, words: tuple[str, str]
):
    monkeypatch.setattr(sys, "argv", [str(TOOL), "--config-file", "configs/quickstart.yaml", *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(TOOL), run_name="__main__")
    assert ended.value.code == 2
    assert f"{words[0]} is more than 0" in capsys.readouterr().err
