"""Metrics of audio-visual segmentation: how well the sounding pixels of each frame are found.

Follows Zhou et al., "Audio-Visual Segmentation", ECCV 2022 (J and F of one map of all that sounds) and
"Audio-Visual Segmentation with Semantics", arXiv 2301.13190 (mIoU and mF of a map of classes), as AVSBench's
code computes them:

- J (the papers' M_J): of each video the mean over its frames of the IoU, then the mean over the videos. Of a
  frame without any sounding object, the share of pixels left free.
- F (M_F): F-measure with β² = 0.3 at 255 thresholds, averaged over the frames of a video that have a sounding
  object; the best of the 255, then the mean over the videos.
- mIoU, mF: of each class the mean over the frames in which it is predicted or true, then the mean over the
  classes, background included.

AVSBench's code gives these numbers with its batches of one video, but for four things. It gives F = 0 to a
video without a sounding object: here such a video does not count. It counts a class that never occurs as 0:
here it does not count. It scales maps to 224×224: here they have the size of the annotations. And it fills
AVSS's videos of 5 s up to 10 with black frames, which count as background: here only frames that exist do.

Dimensions: N frames of H×W pixels, C classes with background, D predicted and G ground-truth tracks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BETA_SQUARED = 0.3
THRESHOLDS = np.linspace(0, 1 - 1e-10, 255, dtype=np.float32)


@dataclass(frozen=True)
class BinaryScores:
    """What a map of sounding pixels scores in the N frames of a video.

    Attributes:
        j: mean IoU.
        f: mean F-measure of the frames with a sounding object, at the best threshold; NaN without such.
    """

    j: float
    f: float

    @classmethod
    def from_pixels(
        cls,
        intersections: np.ndarray,
        areas: np.ndarray,
        true_areas: np.ndarray,
        num_pixels: int,
        chosen: tuple[np.ndarray, np.ndarray],
    ) -> "BinaryScores":
        """Score N frames by their numbers of pixels.

        Args:
            intersections: both predicted at each threshold and true, (N, 255).
            areas: predicted at each threshold, (N, 255).
            true_areas: true, (N,).
            num_pixels: H·W.
            chosen: intersections and areas of the map that J is taken of, (N,) each.
        """
        sounding = true_areas > 0
        f_measure = f_measures(intersections, areas, true_areas[:, None])
        jaccard = np.where(
            sounding,
            _ratio(chosen[0], chosen[1] + true_areas - chosen[0]),
            1 - chosen[1] / num_pixels,
        )
        best = float(f_measure[sounding].mean(0).max()) if sounding.any() else np.nan
        return cls(float(jaccard.mean()), best)


def binary_metrics(videos: Sequence[BinaryScores]) -> dict[str, float]:
    """J and F of a data set as fractions, NaN where undefined."""
    scores = {"J": [video.j for video in videos], "F": [video.f for video in videos if not np.isnan(video.f)]}
    return {name: float(np.mean(values)) if values else np.nan for name, values in scores.items()}


@dataclass(frozen=True)
class SemanticScores:
    """Sums over frames for each class; those of two sets of frames can be added.

    Attributes:
        iou: sum of the IoUs, (C,).
        f_measure: sum of the F-measures, (C,).
        num_frames: in which the class is predicted or true, int (C,).
    """

    iou: np.ndarray
    f_measure: np.ndarray
    num_frames: np.ndarray

    @classmethod
    def zero(cls, num_classes: int) -> "SemanticScores":
        """The scores of no frame."""
        return cls(np.zeros(num_classes), np.zeros(num_classes), np.zeros(num_classes, int))

    @classmethod
    def from_pixels(
        cls, intersections: np.ndarray, areas: np.ndarray, true_areas: np.ndarray
    ) -> "SemanticScores":
        """Score N frames by their numbers of pixels.

        Args:
            intersections: both predicted and true, of each class, (N, C).
            areas: predicted, (N, C).
            true_areas: true, (N, C).
        """
        union = areas + true_areas - intersections
        return cls(
            _ratio(intersections, union).sum(0),
            f_measures(intersections, areas, true_areas).sum(0),
            (union > 0).sum(0),
        )

    def __add__(self, other: "SemanticScores") -> "SemanticScores":
        """The scores of all frames of both."""
        return SemanticScores(
            self.iou + other.iou, self.f_measure + other.f_measure, self.num_frames + other.num_frames
        )

    def metrics(self) -> dict[str, float]:
        """mIoU and mF over the classes that occur, as fractions; NaN without any frame."""
        occurs = self.num_frames > 0
        if not occurs.any():
            return {"mIoU": np.nan, "mF": np.nan}
        return {
            "mIoU": float((self.iou[occurs] / self.num_frames[occurs]).mean()),
            "mF": float((self.f_measure[occurs] / self.num_frames[occurs]).mean()),
        }


def score_maps(probability: np.ndarray, truth: np.ndarray, score_threshold: float = 0.5) -> BinaryScores:
    """Score a video's maps of how likely each pixel sounds.

    Args:
        probability: (N, H, W), within [0, 1].
        truth: where something sounds, bool or 0 / 1, (N, H, W).
        score_threshold: J is of the pixels above it.
    """
    frames = probability.reshape(len(probability), -1).astype(np.float32)
    true = truth.reshape(len(truth), -1).astype(bool)
    areas = np.stack([_reached(frame) for frame in frames])
    intersections = np.stack([_reached(frame[inside]) for frame, inside in zip(frames, true, strict=True)])
    above = frames > score_threshold
    chosen = (above & true).sum(1), above.sum(1)
    return BinaryScores.from_pixels(intersections, areas, true.sum(1), frames.shape[1], chosen)


def score_label_maps(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> SemanticScores:
    """Score maps of classes.

    Args:
        predicted: class of each pixel, int (N, H, W), 0 … C-1.
        truth: the same.
        num_classes: C.
    """
    frames = [(one.ravel(), other.ravel()) for one, other in zip(predicted, truth, strict=True)]
    counts = [
        [np.bincount(labels, minlength=num_classes) for labels in (one[one == other], one, other)]
        for one, other in frames
    ]
    return SemanticScores.from_pixels(*np.array(counts).swapaxes(0, 1))


def f_measures(intersections: np.ndarray, areas: np.ndarray, true_areas: np.ndarray) -> np.ndarray:
    """F-measure with β² = 0.3 of precision and recall, 0 where nothing is right."""
    precision, recall = _ratio(intersections, areas), _ratio(intersections, true_areas)
    return _ratio((1 + BETA_SQUARED) * precision * recall, BETA_SQUARED * precision + recall)


def _reached(values: np.ndarray) -> np.ndarray:
    """How many values are at least each of the THRESHOLDS, (255,)."""
    return len(values) - np.searchsorted(np.sort(values), THRESHOLDS, side="left")


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where there is nothing."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.zeros(whole.shape), where=whole > 0)
