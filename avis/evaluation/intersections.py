"""How many pixels tracks have in common, frame by frame.

pycocotools gives the IoU of all pairs of masks in a frame with one call of compiled code. As an IoU is a
fraction of whole pixels whose areas are known, the pixels in common follow from it exactly.

Dimensions: T frames, D predicted tracks, G ground-truth tracks.
"""

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from avis.formats.tracks import MaskTrack


def frame_intersections(predicted: Sequence[MaskTrack], ground_truth: Sequence[MaskTrack]) -> np.ndarray:
    """Count the pixels that every pair of tracks of a video has in common in each frame.

    Returns:
        int64 (T, D, G).

    Raises:
        ValueError: the tracks are not all of the same number of frames.
    """
    lengths = {len(track.masks) for track in (*predicted, *ground_truth)}
    if len(lengths) > 1:
        raise ValueError(f"tracks of one video differ in their numbers of frames: {sorted(lengths)}")
    if not (predicted and ground_truth):
        return np.zeros((max(lengths, default=0), len(predicted), len(ground_truth)), np.int64)
    predicted_areas = np.stack([track.areas for track in predicted], axis=1)  # (T, D)
    true_areas = np.stack([track.areas for track in ground_truth], axis=1)  # (T, G)
    iou = np.zeros((*predicted_areas.shape, len(ground_truth)))
    compared = (predicted_areas > 0)[:, :, None] & (true_areas > 0)[:, None]  # (T, D, G)
    iou[compared] = np.concatenate(
        [
            _frame_ious(predicted, ground_truth, frame)
            for frame in np.flatnonzero(compared.any((1, 2))).tolist()
        ]
        or [[]]
    )
    # iou = i / (a + b - i), solved for i
    sums = predicted_areas[:, :, None] + true_areas[:, None]
    return np.rint(iou * sums / (1 + iou)).astype(np.int64)


def _frame_ious(predicted: Sequence[MaskTrack], ground_truth: Sequence[MaskTrack], frame: int) -> np.ndarray:
    """IoU of each two masks of a frame that are not empty, row by row."""
    masks = [mask for track in predicted if (mask := track.masks[frame]) is not None]
    true_masks = [mask for track in ground_truth if (mask := track.masks[frame]) is not None]
    return coco_mask.iou(masks, true_masks, [0] * len(true_masks)).ravel()
