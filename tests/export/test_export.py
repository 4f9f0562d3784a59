"""Exported models compute what the model computes, in plain torch, or are not written at all."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from pycocotools import mask as mask_utils
from torch import Tensor, nn

from avis.config import get_avis_cfg
from avis.export import export_model
from avis.export.tracing import TOLERANCE, compare, trace
from avis.modeling import AV_FUSION_REGISTRY, build_model, load_trained_model
from tests import preloaded
from tests.docs.markdown import code_blocks
from tests.modeling.test_avis_mask_former import SMALL
from tests.modeling.test_swin import small_swin

ROOT = Path(__file__).parents[2]
T, SIZE, VIDEO = 3, (40, 50), (60, 75)
FAMILY = [
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME", "FrameClipDecoder", "MODEL.CLIP_DECODER.NUM_QUERIES", 6,
    "MODEL.CLIP_DECODER.ENC_LAYERS", 2, "MODEL.CLIP_DECODER.WINDOW", 2,
    "MODEL.CLIP_DECODER.DIM_FEEDFORWARD", 32,
    "MODEL.LOSSES.NAMES", ["frame_prediction", "clip_prediction", "similarity"],
]  # fmt: skip
VARIANTS = {
    "dot head and gate": [
        "MODEL.MASK_FORMER.MASK_HEAD", "dot", "MODEL.MASK_FORMER.SOUNDING_GATE", True,
    ],
    "avism": [
        *FAMILY, "MODEL.MASK_FORMER.AUDIO_QUERY", "localize",
        "MODEL.TEMPORAL_FUSION.NAME", "window_attention", "MODEL.FUSION.NAME", "",
    ],
    "h2s, of fewer rounds": [
        *FAMILY, "MODEL.MASK_FORMER.AUDIO_QUERY", "sources", "MODEL.TEMPORAL_FUSION.NAME", "state_space",
        "MODEL.FUSION.NAME", "TwoWayAttention", "MODEL.FUSION.AT", "pixel_decoder",
        "MODEL.CLUSTERED_ATTENTION.ITERATIONS", 5, "INPUT.AUDIO.NUM_SOURCES", 2,
    ],
}  # fmt: skip


@AV_FUSION_REGISTRY.register()
class LookingFusion(nn.Module):
    """Does something else for some numbers, which no trace can follow."""

    def __init__(self, cfg: CfgNode, shapes: dict) -> None:
        super().__init__()

    def forward(self, visual: Tensor, audio: Tensor) -> Tensor:
        return visual if visual.mean() > 0 else -visual


@AV_FUSION_REGISTRY.register()
class RandomFusion(LookingFusion):
    """Adds other numbers in every run."""

    def forward(self, visual: Tensor, audio: Tensor) -> Tensor:
        return visual + torch.rand_like(visual)


CATEGORIES = [{"id": 2 * number, "name": name} for number, name in enumerate("abcd")]


def small_cfg(folder: Path, *options) -> CfgNode:
    """A small model whose weights are all drawn, so that no part begins without effect."""
    hearing = ["MODEL.AUDIO.NAME", "PrecomputedFeatures", "MODEL.AUDIO.FREEZE", True]
    cfg = get_avis_cfg(ROOT / "configs/avis_R50.yaml", [*SMALL, *hearing, *options])
    torch.manual_seed(0)
    model = build_model(cfg)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    cfg.MODEL.WEIGHTS = str(folder / "weights.pth")
    torch.save({"model": model.state_dict(), "categories": CATEGORIES}, cfg.MODEL.WEIGHTS)
    return cfg


def video(cfg: CfgNode) -> tuple[Tensor, Tensor | None]:
    """Frames and audio features, others than those that exporting compares."""
    torch.manual_seed(7)
    frames = torch.randint(0, 256, (T, 3, *SIZE), dtype=torch.uint8)
    sources = (cfg.INPUT.AUDIO.NUM_SOURCES,) if cfg.INPUT.AUDIO.NUM_SOURCES > 1 else ()
    return frames, torch.rand(T, *sources, 128) if cfg.MODEL.AUDIO.NAME else None


def tracks_of_model(cfg: CfgNode, frames: Tensor, audio: Tensor | None) -> list[tuple[float, str, Tensor]]:
    """Score, category and (T, H, W) masks of what the model itself predicts."""
    inputs = {"image": frames, "height": VIDEO[0], "width": VIDEO[1], "video_id": 1}
    sound = {} if audio is None else {"audio_features": audio}
    with torch.no_grad():
        (found,) = load_trained_model(cfg).eval()([inputs | sound])
    empty = np.zeros(VIDEO, np.uint8)
    return [
        (
            track.score,
            CATEGORIES[track.category_id]["name"],
            torch.from_numpy(
                np.stack([empty if rle is None else mask_utils.decode(rle) for rle in track.segmentations])
            ).bool(),
        )
        for track in found.tracks
    ]


def shown_code() -> str:
    (code,) = (block.text for block in code_blocks(ROOT / "docs/export.md") if block.language == "python")
    return code


def assert_same_tracks(found: list, expected: list) -> None:
    assert len(found) == len(expected) == 10
    assert any(masks.any() and not masks.all() for _, _, masks in expected)
    for (score, name, masks), (own_score, own_name, own_masks) in zip(found, expected, strict=True):
        assert score == pytest.approx(own_score, abs=1e-5) and name == own_name
        # A logit near 0 may turn its sign.
        assert (masks != own_masks).float().mean() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_exported_programs_find_the_model_s_tracks(name: str, tmp_path: Path):
    cfg = small_cfg(tmp_path, *VARIANTS[name])
    about = export_model(cfg, T, SIZE, tmp_path / "exported")
    assert json.loads((tmp_path / "exported/export.json").read_text()) == about
    frames, audio = video(cfg)
    assert about["frame_encoder"]["inputs"]["frames"] == {"shape": [T, 3, *SIZE], "dtype": "uint8"}
    assert about["frame_encoder"]["outputs"] == about["decoder"]["inputs"]["features"]
    assert about["decoder"]["outputs"]["class_logits"]["shape"] == [6, 5]
    assert about["decoder"]["outputs"]["mask_logits"]["shape"] == [6, T, 16, 16]
    shown: dict = {}
    exec(shown_code(), shown)
    found = shown["find_tracks"](tmp_path / "exported", frames, audio, *VIDEO)
    found.sort(key=lambda track: track[0], reverse=True)
    assert_same_tracks(found, tracks_of_model(cfg, frames, audio))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[CfgNode, Path]:
    """A model whose scores are multiplied by the quality of its masks, and where it is exported."""
    folder = tmp_path_factory.mktemp("export")
    cfg = small_cfg(folder, "MODEL.MASK_FORMER.TEST.MASK_QUALITY", True)
    export_model(cfg, T, SIZE, folder / "exported")
    return cfg, folder / "exported"


def test_plain_torch_runs_what_the_page_shows(exported: tuple[CfgNode, Path], tmp_path: Path):
    """In a process in which nothing but torch can be imported of what a model is made with."""
    cfg, folder = exported
    for package in ("avis", "detectron2", "fvcore", "timm"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f"raise ImportError('{package}')")
    torch.save(video(cfg), tmp_path / "video.pt")
    (tmp_path / "run.py").write_text(
        f"{shown_code()}\n"
        "frames, audio = torch.load('video.pt')\n"
        f"torch.save(find_tracks({str(folder)!r}, frames, audio, *{VIDEO}), 'tracks.pt')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "run.py"], cwd=tmp_path, env=environment, check=True)
    found = sorted(torch.load(tmp_path / "tracks.pt"), key=lambda track: track[0], reverse=True)
    assert_same_tracks(found, tracks_of_model(cfg, *video(cfg)))


def test_each_program_has_its_own_weights_alone(exported: tuple[CfgNode, Path]):
    encoder, decoder = (
        set(torch.export.load(exported[1] / name).state_dict) for name in ("frame_encoder.pt2", "decoder.pt2")
    )
    assert any("backbone.stem" in name for name in encoder)
    assert not any("backbone" in name or "pixel_decoder" in name for name in decoder)
    assert any("class_embed" in name for name in decoder)
    assert not any("class_embed" in name or "criterion" in name for name in encoder)


def test_swin_backbones_can_be_traced():
    """On maps that are no multiple of the window, nor of the patches."""
    torch.manual_seed(0)
    backbone = small_swin().eval().requires_grad_(False)
    traced, compared = torch.rand(2, 2, 3, 75, 117)
    program = trace(backbone, (traced,))
    differences = compare("Swin", program.module()(compared), backbone(compared))
    assert set(differences) == {"res2", "res3", "res4", "res5"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_part_that_cannot_be_traced_is_named(exported: tuple[CfgNode, Path], tmp_path: Path):
    before = contents(exported[1])
    cfg = small_cfg(tmp_path, "MODEL.FUSION.NAME", "LookingFusion")
    with pytest.raises(ValueError, match=r"cannot follow LookingFusion .*visual\.mean\(\) > 0"):
        export_model(cfg, T, SIZE, exported[1])
    assert contents(exported[1]) == before


def test_a_program_that_computes_something_else_is_not_written(tmp_path: Path):
    cfg = small_cfg(tmp_path, "MODEL.FUSION.NAME", "RandomFusion")
    with pytest.raises(ValueError, match=r"FrameEncoder: .* differs by"):
        export_model(cfg, T, SIZE, tmp_path / "exported")
    assert contents(tmp_path / "exported") == {}


@pytest.mark.parametrize(
    ("value", "is_close"), [(2 + TOLERANCE, True), (2 + 3 * TOLERANCE, False), (torch.nan, False)]
)
def test_outputs_are_compared_relative_to_the_largest(value: float, is_close: bool):
    expected, output = {"x": torch.tensor([1.0, -2.0])}, {"x": torch.tensor([1.0, -value])}
    if is_close:
        assert compare("program", output, expected)["x"] == pytest.approx(TOLERANCE, rel=0.01)
    else:
        with pytest.raises(ValueError, match="program: x differs"):
            compare("program", output, expected)


def run_tool(*arguments: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    return preloaded.run([sys.executable, ROOT / "tools/export_model.py", *arguments], env=environment)


def test_the_tool_exports_and_says_how_close(tmp_path: Path):
    cfg = small_cfg(tmp_path, "MODEL.AUDIO.NAME", "", "MODEL.MASK_FORMER.DEC_LAYERS", 2)
    (tmp_path / "small.yaml").write_text(cfg.dump())
    options = ("--config-file", tmp_path / "small.yaml", "--frames", 2, "--output", tmp_path / "exported")
    done = run_tool(*options, "--size", 32, 64)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    said = r"(\w+\.pt2): [\d.]+ MiB, .* by at most \d\.\de[+-]\d\d$"
    assert [re.search(said, line)[1] for line in lines] == ["frame_encoder.pt2", "decoder.pt2"]
    done = run_tool(*options, "--size", 0, 64)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: 2 frames of 0×64 pixels: all three must be positive\n"
