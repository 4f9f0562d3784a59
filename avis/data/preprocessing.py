"""What happens to frames before a model takes them, the same in training, evaluation and prediction.

Dimensions: F frames, H×W as they are read, h×w as the model takes them.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from detectron2.data import transforms as T
from torch import Tensor


class PreparedFrames(NamedTuple):
    """Frames as a model takes them.

    Attributes:
        images: F uint8 tensors (3, h, w).
        size: (H, W).
        transforms: what was done to each of them.
    """

    images: list[Tensor]
    size: tuple[int, int]
    transforms: T.Transform


def prepare_frames(
    frames: Iterable[np.ndarray], augmentations: T.AugmentationList, image_format: str
) -> PreparedFrames:
    """Augment the frames of a clip or video, all alike.

    Args:
        frames: at least one, RGB uint8 (H, W, 3).
        augmentations: drawn for the first frame, applied to all.
        image_format: order of the channels that the model takes, "RGB" or "BGR".

    Raises:
        ValueError: the frames differ in size.
    """
    ordered = (frame[..., ::-1] if image_format == "BGR" else frame for frame in frames)
    first = next(ordered)
    augmented = T.AugInput(first)
    transforms = augmentations(augmented)
    images = [_to_tensor(augmented.image)]
    for index, frame in enumerate(ordered, start=1):
        if frame.shape != first.shape:
            raise ValueError(f"frame {index} is {frame.shape}, frame 0 is {first.shape}")
        images.append(_to_tensor(transforms.apply_image(frame)))
    return PreparedFrames(images, first.shape[:2], transforms)


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
