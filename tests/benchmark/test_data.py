"""The plain mapper gives the clips that ours gives; the rounding of pixels differs."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from avis.benchmark.data import PlainMapper, clip_difference, compare_loading
from avis.data import ClipMapper, load_aviseg_json
from tests.benchmark.command import benchmark
from tests.benchmark.fake_clone import make_clone

AUGMENTED = {
    "flip and resize": [],
    "crop": ["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [0.6, 0.6]],
    "crop sometimes": [
        *("INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [0.6, 0.6], "INPUT.CROP.PROB", 0.5),
        *("INPUT.CROP.MIN_SIZE", (40, 60)),
    ],
    "moving crop": ["INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "moving", "INPUT.CROP.SIZE", [20, 40]],
    "BGR": ["INPUT.FORMAT", "BGR"],
}
CASES = ["pictures and masks", "first heard", "heard before"]


@pytest.mark.parametrize("kind", AUGMENTED)
def test_both_mappers_load_the_same_clips(cfg, train_json, kind: str):
    cfg.INPUT.RANDOM_FLIP, cfg.INPUT.MIN_SIZE_TRAIN = "horizontal", (30, 48, 70)
    cfg.merge_from_list(AUGMENTED[kind])
    ours = ClipMapper(cfg, is_train=True, audio_source="waveform")
    plain = PlainMapper(ours)
    shapes = set()
    for seed, record in enumerate(load_aviseg_json(train_json) * 4):
        clips = []
        for mapper in (ours, plain):
            np.random.seed(seed)
            clips.append(mapper(record))
        pixels, mean, masks, sound = clip_difference(*clips)
        # Crops are resized twice, so rounded four times.
        assert pixels <= 4 and mean < 0.1 and masks == 0
        assert sound < 1e-3
        shapes.add(clips[0]["image"].shape)
    assert len(shapes) > 1


def test_what_differs_is_told(cfg, train_json):
    mapper = ClipMapper(cfg, is_train=True, audio_source="waveform")
    np.random.seed(0)
    plain = PlainMapper(mapper)(load_aviseg_json(train_json)[0])
    ours = {**plain, "image": torch.stack(plain["image"]), "audio_examples": plain["audio_examples"] + 0.5}
    assert clip_difference(ours, plain) == (0, 0, 0, pytest.approx(0.5))
    ours["image"][0, 0, 0, 0] ^= 7
    ours["instances"] = copy.deepcopy(plain["instances"])
    ours["instances"][0].gt_masks.tensor[0, 0, :3] ^= True
    pixels, _, masks, _ = clip_difference(ours, plain)
    assert 1 <= pixels <= 7 and masks == 3
    ours["instances"] = [frame[1:] for frame in ours["instances"]]
    with pytest.raises(ValueError, match=r"objects \[2\] are not \[1, 2\]"):
        clip_difference(ours, plain)


def test_costs_are_of_the_same_clips(cfg, train_json):
    cfg.INPUT.MIN_SIZE_TRAIN = (60, 36)
    rows = list(compare_loading(cfg, train_json, num_clips=3))
    assert [row["case"].rpartition(", ")[2] for row in rows] == CASES * 2
    assert [row["size"] for row in rows] == [36] * 3 + [60] * 3
    assert all(row["ours"]["lowest"] > 0 and row["plain"]["lowest"] > 0 for row in rows)
    assert all(row["different_masks"] == 0 and row["pixel_difference"] <= 2 for row in rows)


@pytest.mark.parametrize("with_peer", [False, True])
def test_table_and_numbers(tmp_path: Path, with_peer: bool):
    peer = ["--peer", make_clone(tmp_path / "Mask2Former")] if with_peer else []
    size = ["--size", "36", "64", "--video-frames", "4", "--clips", "2"]
    run = benchmark(tmp_path, "data", *peer, *size, "INPUT.MIN_SIZE_TRAIN", "(48,)")
    rows = run.rows["data"]
    assert [row["case"].rpartition(", ")[2] for row in rows] == CASES
    assert ["original" in row for row in rows] == [with_peer, False, False]
    for cells, row in zip(run.cells, rows, strict=True):
        assert cells[:2] == ["48", row["case"]]
        assert float(cells[4]) == pytest.approx(row["plain"]["median"] / row["ours"]["median"], rel=0.01)
