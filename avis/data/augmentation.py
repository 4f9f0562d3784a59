"""Augmentations of clips, by config. They are drawn once a clip.

Every frame is changed alike, but for the moving crop (avis/data/moving_crop.py). Follows Mask2Former's video
data pipeline (Cheng et al., 2021) in kinds, order and ranges.
"""

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T

from avis.data.moving_crop import MovingCrop
from avis.data.resizing import ResizeShortestEdge

_FLIPS = ("none", "horizontal", "vertical", "flip_by_clip")
_COLOURS = ("brightness", "contrast", "saturation", "rotation")
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def build_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Augmentations as INPUT.* asks: crop, resize, flip, colour in training; resize in evaluation.

    Values of Mask2Former's configs that end in "_by_clip" mean the same as those without: nothing is drawn
    frame by frame.

    Raises:
        ValueError: an unknown RANDOM_FLIP, MIN_SIZE_TRAIN_SAMPLING or member of AUGMENTATIONS; a PROB or SIZE
            of the crop that is out of range.
    """
    if not is_train:
        return [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")]
    return [*_build_crop(cfg.INPUT.CROP), _build_resize(cfg), *_build_flip(cfg), *_build_colours(cfg)]


class VerticalFlip(T.VFlipTransform):
    """Turns an image upside down; the parent goes through torch, which warns of Pillow's read-only arrays."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """(H, W) or (H, W, C) to the same."""
        return np.flip(img, axis=0)


class RandomVerticalFlip(T.Augmentation):
    """Turns every second clip upside down."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Draw whether this clip is turned."""
        return VerticalFlip(image.shape[0]) if self._rand_range() < 0.5 else T.NoOpTransform()


class SaturationTransform(T.Transform):
    """Blends an image with its own greys: weight 0 gives greys, 1 the image, more deepens the colours."""

    def __init__(self, weight: float, grey_weights: np.ndarray) -> None:
        """Keep the weight, and the weights (3,) of the channels in a grey, in the order of the channels."""
        super().__init__()
        self.weight, self.grey_weights = weight, grey_weights

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Uint8 (H, W, 3) to the same."""
        greys = (img @ self.grey_weights)[..., None]
        return np.clip(np.rint(greys + self.weight * (img - greys)), 0, 255).astype(np.uint8)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Nothing moves."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Nothing moves."""
        return segmentation


class RandomClipSaturation(T.Augmentation):
    """Draws a saturation; Detectron2's own blends all frames with the greys of the frame it was drawn for."""

    def __init__(self, low: float, high: float, image_format: str) -> None:
        """Weights are drawn from [low, high); `image_format` is "RGB" or "BGR"."""
        super().__init__()
        self.low, self.high = low, high
        self.grey_weights = _GREY_WEIGHTS[::-1] if image_format == "BGR" else _GREY_WEIGHTS

    def get_transform(self, image: np.ndarray) -> SaturationTransform:
        """Draw the weight."""
        return SaturationTransform(np.random.uniform(self.low, self.high), self.grey_weights)


def _build_crop(options: CfgNode) -> list[T.Augmentation]:
    if not options.ENABLED:
        return []
    if not 0 <= options.PROB <= 1:
        raise ValueError(f"INPUT.CROP.PROB is {options.PROB}, a probability lies within [0, 1]")
    is_moving = options.TYPE == "moving"
    crop = MovingCrop(options.SIZE) if is_moving else T.RandomCrop(options.TYPE, options.SIZE)
    resize = ResizeShortestEdge(options.MIN_SIZE, options.MAX_SIZE, "choice") if options.MIN_SIZE else None
    steps = [resize, crop] if resize else [crop]
    return steps if options.PROB == 1 else [T.RandomApply(T.AugmentationList(steps), options.PROB)]


def _build_resize(cfg: CfgNode) -> T.Augmentation:
    sampling = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING.removesuffix("_by_clip")
    if sampling not in ("choice", "range"):
        raise ValueError(
            f"INPUT.MIN_SIZE_TRAIN_SAMPLING is {cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING!r}, not 'choice' or 'range'"
        )
    return ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, sampling)


def _build_flip(cfg: CfgNode) -> list[T.Augmentation]:
    if cfg.INPUT.RANDOM_FLIP not in _FLIPS:
        raise ValueError(f"INPUT.RANDOM_FLIP is {cfg.INPUT.RANDOM_FLIP!r}, not one of {_FLIPS}")
    if cfg.INPUT.RANDOM_FLIP == "none":
        return []
    return [RandomVerticalFlip() if cfg.INPUT.RANDOM_FLIP == "vertical" else T.RandomFlip()]


def _build_colours(cfg: CfgNode) -> list[T.Augmentation]:
    wanted = cfg.INPUT.AUGMENTATIONS
    unknown = set(wanted) - set(_COLOURS)
    if unknown:
        raise ValueError(f"INPUT.AUGMENTATIONS has {sorted(unknown)}; known are {_COLOURS}")
    augmentations = {
        "brightness": T.RandomBrightness(0.9, 1.1),
        "contrast": T.RandomContrast(0.9, 1.1),
        "saturation": RandomClipSaturation(0.9, 1.1, cfg.INPUT.FORMAT),
        "rotation": T.RandomRotation([-15, 15], expand=False, center=[(0.4, 0.4), (0.6, 0.6)]),
    }
    return [augmentations[name] for name in _COLOURS if name in wanted]
