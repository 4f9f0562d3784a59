"""FSLA: the share of frames in which all that sounds is found, and nothing else.

Frame-level Sound Localization Accuracy, Guo et al., "Audio-Visual Instance Segmentation", CVPR 2025, as the
text defines it. FSLAn, FSLAs and FSLAm are the shares among the frames with no, one and several sources.

Predicted tracks are associated with ground-truth tracks once per video, whatever their categories. A frame is
right at a threshold if two things hold. As many predicted as ground-truth tracks sound in it. And each
ground-truth track that sounds has the category of its associated track, and overlaps it with an IoU above the
threshold.

Dimensions: T frames, D predicted and G ground-truth tracks, A localisation thresholds (alpha).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from avis.evaluation.metrics.hota import ALPHAS, global_alignment
from avis.evaluation.overlap import Detections, associate

# Kinds of frames: with no, a single, and multiple sources.
KINDS = ("n", "s", "m")


@dataclass(frozen=True)
class FrameCounts:
    """Frames by their number of sources; counts of several videos may be added.

    Attributes:
        total: frames of each of the KINDS, int (3,).
        right: those that are right at each threshold, int (3, A).
    """

    total: np.ndarray
    right: np.ndarray


def frame_quality(detections: Detections, categories: np.ndarray, true_categories: np.ndarray) -> np.ndarray:
    """Find up to which threshold each frame is right.

    Args:
        detections: all of a video.
        categories: of the predicted tracks, (D,).
        true_categories: of the ground-truth tracks, (G,).

    Returns:
        The lowest IoU among the frame's sources, (T,): 0 where the frame is wrong at any threshold, infinite
        where nothing sounds and nothing is predicted.
    """
    columns, rows = associate(global_alignment(detections))
    agree = categories[rows] == true_categories[columns]
    rows, columns = rows[agree], columns[agree]
    iou_of_sources = np.zeros(detections.true.shape)
    iou_of_sources[:, columns] = detections.iou[:, rows, columns]
    lowest = np.where(detections.true, iou_of_sources, np.inf).min(1, initial=np.inf)
    return np.where(detections.predicted.sum(1) == detections.true.sum(1), lowest, 0.0)


def count_frames(quality: np.ndarray, num_sources: np.ndarray) -> FrameCounts:
    """Count right frames by their number of sources.

    Args:
        quality: a frame is right at the thresholds below it, (T,).
        num_sources: tracks that sound in each frame, int (T,).
    """
    of_kind = np.minimum(num_sources, len(KINDS) - 1) == np.arange(len(KINDS))[:, None]
    is_right = quality[:, None] > ALPHAS
    return FrameCounts(of_kind.sum(1), of_kind.astype(int) @ is_right)


def pool_frames(counts: Iterable[FrameCounts]) -> FrameCounts:
    """Add the counts of several videos."""
    all_counts = list(counts)
    return FrameCounts(
        sum((part.total for part in all_counts), np.zeros(len(KINDS), int)),
        sum((part.right for part in all_counts), np.zeros((len(KINDS), len(ALPHAS)), int)),
    )


def fsla_fields(counts: FrameCounts) -> dict[str, float]:
    """FSLA, FSLAn, FSLAs and FSLAm of pooled counts, means over the thresholds; NaN without such a frame."""
    values = {"FSLA": _share(counts.right.sum(0), counts.total.sum())}
    return values | {
        f"FSLA{kind}": _share(counts.right[row], counts.total[row]) for row, kind in enumerate(KINDS)
    }


def _share(right: np.ndarray, total: int) -> float:
    return float(right.mean() / total) if total else np.nan
