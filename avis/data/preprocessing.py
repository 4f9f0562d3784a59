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


class FramePreparation:
    """What is done to every frame of a clip or video; see `draw_preparation`."""

    def __init__(self, drawn: T.Transform, size: tuple[int, int], image_format: str) -> None:
        """Keep what was drawn for the first frame, of size (H, W), and the order of the model's channels."""
        self._drawn, self.size, self._image_format = drawn, size, image_format

    def transform(self, index: int) -> T.Transform:
        """What is done to a frame of the clip."""
        return transform_of_frame(self._drawn, index)

    def __call__(self, frame: np.ndarray, index: int) -> Tensor:
        """Prepare a frame, RGB uint8 (H, W, 3), as a model takes it, uint8 (3, h, w).

        Raises:
            ValueError: it has another size than the first.
        """
        if frame.shape[:2] != self.size:
            raise ValueError(f"frame {index} is {frame.shape}, frame 0 is {(*self.size, 3)}")
        return _to_tensor(self.transform(index).apply_image(_ordered(frame, self._image_format)))


def draw_preparation(
    first: np.ndarray, augmentations: T.AugmentationList, image_format: str, num_frames: int | None = None
) -> tuple[FramePreparation, Tensor]:
    """Draw what is done to every frame of a clip or video.

    Args:
        first: the first frame, RGB uint8 (H, W, 3).
        augmentations: drawn for the first frame, applied to all.
        image_format: order of the channels that the model takes, "RGB" or "BGR".
        num_frames: F, for a crop that moves through the clip.

    Returns:
        What was drawn, and the first frame as a model takes it.
    """
    augmented = ClipInput(_ordered(first, image_format), num_frames)
    drawn = augmentations(augmented)
    return FramePreparation(drawn, first.shape[:2], image_format), _to_tensor(augmented.image)


def prepare_frames(
    frames: Iterable[np.ndarray],
    augmentations: T.AugmentationList,
    image_format: str,
    num_frames: int | None = None,
) -> PreparedFrames:
    """Augment the frames of a clip, all alike or as the augmentations say.

    Args:
        frames: at least one, RGB uint8 (H, W, 3).
        augmentations: and the following, as `draw_preparation` takes them.
        image_format: order of the channels.
        num_frames: F.

    Raises:
        ValueError: the frames differ in size.
    """
    frames = iter(frames)
    prepare, first = draw_preparation(next(frames), augmentations, image_format, num_frames)
    images = [first, *(prepare(frame, index) for index, frame in enumerate(frames, start=1))]
    return PreparedFrames(images, prepare.size, [prepare.transform(index) for index in range(len(images))])


def _ordered(frame: np.ndarray, image_format: str) -> np.ndarray:
    return frame[..., ::-1] if image_format == "BGR" else frame


def _to_tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) in any layout to a contiguous (3, H, W)."""
    planes = image.transpose(2, 0, 1)
    if planes.strides[2] < 0:  # flipped: torch turns rows round ten times as fast as numpy
        return torch.from_numpy(np.ascontiguousarray(planes[..., ::-1])).flip(2)
    return torch.from_numpy(np.ascontiguousarray(planes))
