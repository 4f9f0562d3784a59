"""A crop that moves through a clip, as if the camera panned.

Follows the augmentation of VITA (Heo et al., NeurIPS 2022), which AVISM, ACVIS and H2S take over.

Dimensions: F frames of the clip, H×W an image, h×w the crop.
"""

from collections.abc import Sequence

import numpy as np
from detectron2.data import transforms as T


class MovingCropTransform(T.CropTransform):
    """Crops all frames to one size, each at a place of its own; applied as it is, the first frame."""

    def __init__(self, corners: np.ndarray, crop_size: tuple[int, int], image_size: tuple[int, int]) -> None:
        """Keep the corners, int (F, 2) of (x, y) at the top left, and the sizes (h, w) and (H, W)."""
        (x, y), (height, width) = corners[0].tolist(), crop_size
        super().__init__(x, y, width, height, image_size[1], image_size[0])
        self.corners = corners

    def of_frame(self, frame: int) -> T.CropTransform:
        """The crop of a frame of the clip."""
        x, y = self.corners[frame].tolist()
        return T.CropTransform(x, y, self.w, self.h, self.orig_w, self.orig_h)


class MovingCrop(T.Augmentation):
    """Draws a size of the crop, and a line on which its corner stands at a place of its own in each frame."""

    def __init__(self, size_range: Sequence[int]) -> None:
        """Keep the range of the sides of the crop, in pixels; a smaller image is not cropped.

        Raises:
            ValueError: it is no range.
        """
        super().__init__()
        low, high = size_range
        if not (isinstance(low, int) and isinstance(high, int) and 1 <= low <= high):
            raise ValueError(
                f"INPUT.CROP.SIZE is {size_range}; for a moving crop it is the range of a side in pixels"
            )
        self.low, self.high = low, high

    def get_transform(self, image: np.ndarray, num_frames: int) -> MovingCropTransform:
        """Draw the crops of the F frames of a clip, whose first is `image`."""
        size = np.array(image.shape[:2])
        crop_size = np.random.randint(np.minimum(size, self.low), np.minimum(size, self.high) + 1)
        start = np.random.randint(0, size - crop_size + 1)
        end = np.random.randint(start, size - crop_size + 1)
        places = np.sort(np.random.rand(num_frames))[:, None]
        corners = np.rint(start + (end - start) * places).astype(int)[:, ::-1]
        if np.random.rand() < 0.5:
            corners = corners[::-1]
        return MovingCropTransform(corners, tuple(crop_size.tolist()), tuple(size.tolist()))


def transform_of_frame(transform: T.Transform, frame: int) -> T.Transform:
    """What a transform that was drawn for a clip does to one of its frames."""
    if isinstance(transform, T.TransformList):
        return T.TransformList([transform_of_frame(part, frame) for part in transform.transforms])
    return transform.of_frame(frame) if isinstance(transform, MovingCropTransform) else transform
