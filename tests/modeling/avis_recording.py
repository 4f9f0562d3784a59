"""The recipe of the numbers in tests/recorded/avis: the whole audio-visual model at a small size.

python -m tests.modeling.avis_recording records what today's code computes.
"""

from pathlib import Path

import numpy as np
import torch
from detectron2.structures import BitMasks, Instances
from pycocotools import mask as mask_utils
from torch import nn

from avis.config import get_avis_cfg
from avis.modeling import build_model
from tests.modeling.recorded import RecordedRand, fill_parameters, normal
from tests.modeling.test_reference_model import SMALL

RECORDING = Path(__file__).parents[1] / "recorded" / "avis" / "small_r18.npz"
HEIGHT, WIDTH = 64, 96


def make_model() -> nn.Module:
    """ResNet-18, AudioCNN, TPAVI on three levels, the mean audio query and the mask head of Eq. (1)."""
    options = SMALL | {"MODEL.AUDIO.NAME": "AudioCNN", "MODEL.AUDIO.FREEZE": False}
    settings = [item for pair in options.items() for item in pair]
    model = build_model(get_avis_cfg("configs/avis_R50.yaml", settings))
    fill_parameters(model, skip=("criterion.empty_weight",))
    return model


def make_clip(generator: np.random.Generator, num_frames: int, num_tracks: int) -> dict:
    """A clip of noise whose tracks fill rectangles; the first is silent in the last frame."""
    masks = torch.zeros(num_frames, num_tracks, HEIGHT, WIDTH, dtype=torch.bool)
    for track in range(num_tracks):
        masks[:, track, 20 * track : 20 * track + 16, 10 : 50 + 10 * track] = True
    masks[-1, :1] = False
    classes, ids = torch.arange(num_tracks) + 2, torch.arange(num_tracks)
    return {
        "image": [
            torch.from_numpy(generator.integers(0, 256, (3, HEIGHT, WIDTH), dtype=np.uint8))
            for _ in range(num_frames)
        ],
        "audio_examples": normal(generator, num_frames, 96, 64) - 2,
        "instances": [
            Instances((HEIGHT, WIDTH), gt_masks=BitMasks(frame), gt_classes=classes, gt_ids=ids)
            for frame in masks
        ],
        "height": HEIGHT,
        "width": WIDTH,
        "video_id": 1,
    }


def training_numbers() -> dict[str, np.ndarray]:
    """Losses of two clips, and the norm of every parameter's gradient."""
    model, generator = make_model().train(), np.random.default_rng(501)
    model.criterion.terms["prediction"].criterion.rand = RecordedRand(502)
    losses = model([make_clip(generator, 2, 2), make_clip(generator, 2, 1)])
    sum(losses.values()).backward()
    norms = {name: p.grad.double().norm().item() for name, p in model.named_parameters() if p.requires_grad}
    return {
        "loss_names": np.array(list(losses)),
        "losses": np.array([loss.item() for loss in losses.values()]),
        "gradient_names": np.array(list(norms)),
        "gradient_norms": np.array(list(norms.values())),
    }


@torch.no_grad()
def inference_numbers() -> dict[str, np.ndarray]:
    """Scores, labels and masks of a video of three frames, best track first."""
    (video,) = make_model().eval()([make_clip(np.random.default_rng(503), 3, 0)])
    empty = np.zeros((HEIGHT, WIDTH), np.uint8)
    masks = [
        [empty if rle is None else mask_utils.decode(rle) for rle in track.segmentations]
        for track in video.tracks
    ]
    return {
        "scores": np.array([track.score for track in video.tracks]),
        "labels": np.array([track.category_id for track in video.tracks]),
        "masks_packed": np.packbits(np.array(masks)),
    }


def main() -> None:
    RECORDING.parent.mkdir(exist_ok=True)
    np.savez_compressed(RECORDING, **training_numbers(), **inference_numbers())


if __name__ == "__main__":
    main()
