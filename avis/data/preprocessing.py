"""What happens to frames before a model takes them, the same in training, evaluation and prediction.

Dimensions: F frames, H×W as they are read, h×w as the model takes them.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from detectron2.data import transforms as T
from torch import Tensor

from avis.data.moving_crop import transform_of_frame


class PreparedFrames(NamedTuple):
    """Frames as a model takes them.

    Attributes:
        images: F uint8 tensors (3, h, w).
        size: (H, W).
        transforms: what was done to each of them, F.
    """

    images: list[Tensor]
    size: tuple[int, int]
    transforms: list[T.Transform]


class ClipInput(T.AugInput):
    """What augmentations are drawn for: the first frame of a clip, and how many it has, if that is known."""

    def __init__(self, image: np.ndarray, num_frames: int | None) -> None:
        super().__init__(image)
        self.num_frames = num_frames


def prepare_frames(
    frames: Iterable[np.ndarray],
    augmentations: T.AugmentationList,
    image_format: str,
    num_frames: int | None = None,
) -> PreparedFrames:
    """Augment the frames of a clip or video, all alike or as the augmentations say.

    Args:
        frames: at least one, RGB uint8 (H, W, 3).
        augmentations: drawn for the first frame, applied to all.
        image_format: order of the channels that the model takes, "RGB" or "BGR".
        num_frames: F, for a crop that moves through the clip.

    Raises:
        ValueError: the frames differ in size.
    """
    ordered = (frame[..., ::-1] if image_format == "BGR" else frame for frame in frames)
    first = next(ordered)
    augmented = ClipInput(first, num_frames)
    drawn = augmentations(augmented)
    images, transforms = [_to_tensor(augmented.image)], [transform_of_frame(drawn, 0)]
    for index, frame in enumerate(ordered, start=1):
        if frame.shape != first.shape:
            raise ValueError(f"frame {index} is {frame.shape}, frame 0 is {first.shape}")
        transforms.append(transform_of_frame(drawn, index))
        images.append(_to_tensor(transforms[-1].apply_image(frame)))
    return PreparedFrames(images, first.shape[:2], transforms)


def _to_tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) in any layout to a contiguous (3, H, W)."""
    planes = image.transpose(2, 0, 1)
    if planes.strides[2] < 0:  # flipped: torch turns rows round ten times as fast as numpy
        return torch.from_numpy(np.ascontiguousarray(planes[..., ::-1])).flip(2)
    return torch.from_numpy(np.ascontiguousarray(planes))
