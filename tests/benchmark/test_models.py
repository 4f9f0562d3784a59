"""Training steps and whole videos, measured in real processes at tiny sizes."""

import os
from pathlib import Path

import pytest
import torch

from avis.benchmark.definitions import as_defined
from avis.benchmark.fresh import in_fresh_process
from avis.benchmark.random_clips import NUM_OBJECTS, random_clips
from avis.benchmark.timing import allocated_memory
from avis.benchmark.train import cases
from avis.config import get_avis_cfg
from avis.modeling import TPAVI, build_model
from avis.modeling.ms_deform_attn import MSDeformAttn
from tests.benchmark.command import benchmark
from tests.benchmark.fake_clone import make_clone

ROOT = Path(__file__).parents[2]
QUICKSTART = "configs/quickstart.yaml"
PROBE = """
import os
import signal

from avis.benchmark.timing import peak_memory


def hold(mebibytes):
    held = bytearray(b"x") * (mebibytes * 2**20)
    return {"peak": peak_memory(), "held": len(held)}


def exhaust():
    os.kill(os.getpid(), signal.SIGKILL)
"""
SMALL = ["--config-file", QUICKSTART, "--size", 48, 64, "--repeats", 1]


def test_clips_are_random_and_always_the_same():
    clips = random_clips(2, 3, (48, 64), num_classes=6)
    assert [clip["image"].shape for clip in clips] == [(3, 3, 48, 64)] * 2
    assert not torch.equal(*(clip["image"] for clip in clips))
    masks = torch.stack([frame.gt_masks.tensor for frame in clips[0]["instances"]])
    assert masks.shape == (3, NUM_OBJECTS, 48, 64)
    assert (masks.sum(dim=(2, 3)) == 16 * 22).all()
    again = random_clips(2, 3, (48, 64), num_classes=6)
    assert all(torch.equal(one["image"], two["image"]) for one, two in zip(clips, again, strict=True))


def test_cases_grow_in_frames_and_in_clips():
    assert cases([2, 5, 10], [1, 4]) == [(2, 1), (5, 1), (10, 1), (2, 4)]


def losses_and_gradient(batch: list[dict]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    cfg = get_avis_cfg(
        QUICKSTART, ["MODEL.RESNETS.NORM", "FrozenBN", "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", 64]
    )
    torch.manual_seed(0)
    model = build_model(cfg).train()
    for module in model.fusion.values():
        torch.nn.init.ones_(module.W_z[1].weight)  # 0 at the start, which would hide the attention
    for module in model.modules():
        if isinstance(module, MSDeformAttn):
            module.sampling_offsets.bias.data += 0.1  # off the borders of pixels
    losses = model(batch)
    sum(losses.values()).backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return losses, gradient


def test_model_as_it_is_defined_has_the_same_losses_and_gradients():
    batch = random_clips(1, 2, (64, 64), num_classes=6)
    losses, gradient = losses_and_gradient(batch)
    calls = []
    with as_defined():
        defined = TPAVI.forward
        TPAVI.forward = lambda *args: calls.append(1) or defined(*args)
        plain_losses, plain_gradient = losses_and_gradient(batch)
    assert len(calls) == 3 and TPAVI.forward.__name__ == "forward"
    # Sums in another order, over ten thousands of terms.
    for name, loss in losses.items():
        torch.testing.assert_close(plain_losses[name], loss, atol=1e-4, rtol=1e-4)
    assert (plain_gradient - gradient).norm() < 1e-3 * gradient.norm()


def test_original_is_measured_on_the_same_clips(tmp_path: Path):
    clone = make_clone(tmp_path / "Mask2Former")
    run = benchmark(tmp_path, "train", "--peer", clone, "--no-plain", "--frames", 2, "--clips", 1, *SMALL)
    ours, theirs = rows = run.rows["train"]
    assert [(row["model"], row["form"]) for row in rows] == [
        ("quickstart", "ours"),
        ("Mask2Former", "original"),
    ]
    for row, cells in zip(rows, run.cells, strict=True):
        parts = [row[part]["median"] for part in ("forward", "backward", "update")]
        assert min(parts) > 0 and sum(parts) == pytest.approx(row["step"]["median"])
        assert cells[:4] == [row["model"], row["form"], "2", "1"]
    assert 0 < theirs["peak"] < ours["peak"]  # a linear layer, and a model
    assert "its own torch form" in run.printed and run.numbers["run"]["cores"] >= 1
    assert run.printed.startswith(f"Measured {run.numbers['run']['date']} by `tools/benchmark.py train ")


def test_videos_are_measured_and_drawn(tmp_path: Path):
    peer = ["--peer", make_clone(tmp_path / "Mask2Former"), "--plot", tmp_path / "growth.svg"]
    run = benchmark(tmp_path, "inference", *peer, "--video-frames", 3, *SMALL)
    rows = run.rows["inference"]
    assert [(row["form"], row["frames"]) for row in rows] == [("ours", 3), ("original", 3)]
    assert all(row["seconds"]["median"] > 0 and 0 < row["before"] <= row["peak"] for row in rows)
    figure = (tmp_path / "growth.svg").read_text()
    assert figure.startswith("<?xml") and figure.count('<g id="axes_') == 2


def test_folder_that_is_no_clone_is_refused(tmp_path: Path):
    run = benchmark(tmp_path, "train", "--peer", tmp_path, *SMALL, code=2)
    assert f"error: {tmp_path} is no clone of Mask2Former: it has no mask2former/__init__.py" in run.errors


def test_figure_of_no_known_kind_is_refused(tmp_path: Path):
    run = benchmark(tmp_path, "inference", "--plot", tmp_path / "growth.txt", *SMALL, code=2)
    assert "a figure ends in .png or .svg" in run.errors


def test_mistake_in_a_config_is_told_before_anything_is_measured(tmp_path: Path):
    run = benchmark(tmp_path, "train", *SMALL, "MODEL.MASK_FORMER.HIDEN_DIM", 8, code=2)
    assert "HIDEN_DIM" in run.errors


def test_peak_of_a_row_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "probe.py").write_text(PROBE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path)]))
    rows = [in_fresh_process("probe", "hold", mebibytes=size) for size in (600, 1)]
    assert rows[0]["peak"] > 600 / 1024
    assert rows[0]["peak"] - rows[1]["peak"] > 0.5
    assert in_fresh_process("probe", "exhaust") == {"failed": "out of memory"}


def test_memory_in_use_is_what_tensors_hold():
    before = allocated_memory()
    held = torch.ones(2**22)
    assert allocated_memory() - before == pytest.approx(held.nbytes / 2**30, rel=0.05)


@pytest.mark.slow
def test_all_measures_everything(tmp_path: Path):
    run = benchmark(tmp_path, "all", "--quick", "--plot", tmp_path / "growth.png")
    assert list(run.rows) == ["parts", "train", "inference", "data", "evaluation"]
    assert {row["form"] for row in run.rows["train"]} == {"ours", "plain"}
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    assert all(f"**{command}**" in run.printed for command in run.rows)
