"""The vision-only model gives the scores, masks, losses and gradients recorded from Mask2Former for VIS."""

import ast

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances
from pycocotools import mask as mask_utils

from avis.config import get_avis_cfg
from tests.modeling.recorded import REFERENCE, RecordedRand, assert_recorded, fill_parameters, recording

NUM_CLASSES = 7
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": NUM_CLASSES,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 64,
    "MODEL.SEM_SEG_HEAD.MASK_DIM": 64,
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 2,
    "MODEL.MASK_FORMER.HIDDEN_DIM": 64,
    "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": 20,
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD": 128,
    "MODEL.MASK_FORMER.DEC_LAYERS": 5,
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": 96,
}


def _model(config: str = "configs/video_maskformer_R50.yaml", **options) -> torch.nn.Module:
    settings = [item for pair in (SMALL | options).items() for item in pair]
    model = build_model(get_avis_cfg(config, settings))
    fill_parameters(model, skip=("criterion.empty_weight",))
    return model


def test_parameter_names_and_shapes_are_mask2formers():
    cfg = get_avis_cfg(
        "configs/video_maskformer_R50.yaml",
        ["MODEL.DEVICE", "cpu", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 40],
    )
    ours = {key: tuple(value.shape) for key, value in build_model(cfg).state_dict().items()}
    lines = (REFERENCE / "videomaskformer_R50_keys.tsv").read_text().splitlines()
    official = {key: ast.literal_eval(shape) for key, shape in (line.split("\t") for line in lines)}
    assert ours == official


@pytest.mark.parametrize("chunk_size", [0, 1, 2])
def test_scores_labels_and_masks(chunk_size):
    arrays, generator = recording("d1_small_r18_eval_T3_64x96"), np.random.default_rng(401)
    model = _model(**{"MODEL.MASK_FORMER.TEST.CHUNK_SIZE": chunk_size}).eval()
    frames = [torch.from_numpy(generator.integers(0, 256, (3, 64, 96), dtype=np.uint8)) for _ in range(3)]
    with torch.no_grad():
        (video,) = model([{"image": frames, "height": 64, "width": 96, "video_id": 1}])

    order = np.argsort(-arrays["scores"], kind="stable")
    np.testing.assert_allclose([t.score for t in video.tracks], arrays["scores"][order], atol=1e-5)
    assert [t.category_id for t in video.tracks] == arrays["labels"][order].tolist()
    masks = np.unpackbits(arrays["masks_packed"])[: 10 * 3 * 64 * 96].reshape(10, 3, 64, 96)[order]
    for track, expected in zip(video.tracks, masks, strict=True):
        for rle, mask in zip(track.segmentations, expected, strict=True):
            found = np.zeros_like(mask) if rle is None else mask_utils.decode(rle)
            assert (found != mask).sum() <= 1  # a logit of about 1e-6 may round to either side of 0


def _training_batch(arrays: dict, seed: int, size: tuple[int, int]) -> list[dict]:
    """The recorded clips by this project's rules: a silent instance has an empty mask and keeps its class."""
    generator, batch = np.random.default_rng(seed), []
    for clip in range(sum(name.startswith("classes") for name in arrays)):
        classes, ids = arrays[f"classes{clip}"], arrays[f"ids{clip}"]
        shape = (*ids.shape, *size)
        masks = np.unpackbits(arrays[f"masks{clip}_packed"])[: np.prod(shape)].reshape(shape).astype(bool)
        images = arrays.get(f"images{clip}")
        if images is None:
            images = generator.integers(0, 256, (len(ids), 3, *size), dtype=np.uint8)
        instances = [
            Instances(
                size,
                gt_masks=BitMasks(torch.from_numpy(frame_masks & (frame_ids >= 0)[:, None, None])),
                gt_classes=torch.from_numpy(classes),
                gt_ids=torch.arange(len(classes)),
            )
            for frame_masks, frame_ids in zip(masks, ids, strict=True)
        ]
        batch.append({"image": list(torch.from_numpy(images)), "instances": instances})
    return batch


def _losses(case: str, seed: int, size: tuple[int, int]) -> tuple[dict, dict, torch.nn.Module]:
    arrays, model = recording(case), _model().train()
    model.criterion.terms["prediction"].criterion.rand = RecordedRand(seed)
    losses = model(_training_batch(arrays, seed, size))
    sum(losses.values()).backward()
    return arrays, losses, model


@pytest.mark.parametrize(
    ("case", "seed", "size"),
    [
        ("d3_small_r18_train_B2T3", 403, (64, 96)),
        ("d4_small_r18_train_B2T3_one_empty", 405, (60, 90)),
    ],
)
def test_losses_and_gradients(case, seed, size):
    arrays, losses, model = _losses(case, seed, size)
    assert list(losses)[:4] == ["loss_ce", "loss_mask", "loss_dice", "loss_ce_0"]
    assert_recorded(torch.stack(list(losses.values())), arrays, "losses", rtol=1e-4)
    gradients = {name: p.grad.double().norm() for name, p in model.named_parameters() if p.requires_grad}
    names = (REFERENCE / "small_r18_param_keys.txt").read_text().split()
    assert set(names) == set(gradients)
    norms = torch.stack([gradients[name] for name in names])
    assert_recorded(norms, arrays, "param_grad_norms", rtol=1e-3, atol=1e-5)


def test_instance_silent_in_the_last_frame_keeps_its_class():
    """Mask2Former's mapper gives it the class no-object there, and its model takes the last frame's class."""
    arrays, losses, _ = _losses("d4b_small_r18_train_last_frame_absent_BUG", 409, (64, 96))
    ours = torch.stack(list(losses.values())).detach().double().numpy()
    is_class_loss = np.array([name.startswith("loss_ce") for name in losses])
    difference = np.abs(ours / arrays["losses"] - 1)
    assert (difference[is_class_loss] > 1e-2).all()
