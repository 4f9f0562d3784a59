"""The metrics of audio-visual segmentation for tracks, which are collapsed to maps of each frame.

A pixel sounds with the score of the best track over it. J is of the tracks that score more than a threshold;
F tries all scores, by its definition. In the map of classes a pixel belongs to the best-scored of the tracks
above the threshold, and in the ground truth to the last one in the file. Crowds sound like any other track.

No map is ever drawn. Tracks are piled up, the best first: layer k is the union of the first k masks, as run
lengths. What each layer has in common with those of the other pile says it all: the visible part of a mask is
the difference of two layers, and the map at a threshold is the layer of the tracks that reach it.

Dimensions: T frames, D predicted tracks, best first, G ground-truth tracks, topmost first; piles of D + 2 and
G + 2 layers, from the empty one to the whole frame; C classes with background.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from avis.evaluation.metrics.avs_maps import (
    THRESHOLDS,
    BinaryScores,
    SemanticScores,
    binary_metrics,
)
from avis.formats.tracks import GroundTruth, GroundTruthTrack, PredictedTrack, Video, VideoId
from avis.structures import RLE

# What each task is scored by: maps of what sounds (S4, MS3), and maps of its classes (AVSS).
AVS, AVSS = "avs", "avss"
METRICS_OF = {AVS: ("J", "F"), AVSS: ("mIoU", "mF")}


def evaluate_avs(
    truth: GroundTruth,
    predictions: Mapping[VideoId, Sequence[PredictedTrack]],
    score_threshold: float = 0.5,
    tasks: Iterable[str] = (AVS, AVSS),
) -> dict[str, float]:
    """Score tracks as the maps of sounding pixels and of their classes that they make.

    Args:
        truth: the data set.
        predictions: the tracks of each of its videos; read one video at a time.
        score_threshold: tracks that score more are in the maps of J, mIoU and mF.
        tasks: among METRICS_OF.

    Returns:
        The metrics of the tasks in percent, -1 where undefined; see `avis.evaluation.metrics.avs_maps`.
    """
    labels = {category_id: index for index, category_id in enumerate(truth.categories, start=1)}
    binary: list[BinaryScores] = []
    semantic = SemanticScores.zero(len(labels) + 1)
    for video_id, video in tqdm(truth.videos.items(), "maps", unit=" videos", delay=2, disable=None):
        scores = score_tracks(predictions[video_id], truth.tracks[video_id], video, labels, score_threshold)
        binary.append(scores[0])
        semantic += scores[1]
    metrics = binary_metrics(binary) | semantic.metrics()
    return {
        name: -1.0 if np.isnan(metrics[name]) else 100 * metrics[name]
        for task in tasks
        for name in METRICS_OF[task]
    }


def score_tracks(
    predicted: Sequence[PredictedTrack],
    true: Sequence[GroundTruthTrack],
    video: Video,
    labels: Mapping[int, int],
    score_threshold: float,
) -> tuple[BinaryScores, SemanticScores]:
    """Score the tracks of one video.

    Args:
        predicted: D tracks in any order.
        true: G tracks in the order of the file.
        video: theirs.
        labels: class 1 … C-1 of each category id.
        score_threshold: tracks that score more are in the maps.
    """
    pile = sorted(predicted, key=lambda track: track.score, reverse=True)
    true_pile = true[::-1]
    num_pixels = video.height * video.width
    common = np.stack(
        [
            common_pixels(
                [track.masks[t] for track in pile], [track.masks[t] for track in true_pile], num_pixels
            )
            for t in range(video.length)
        ]
    )
    scores = np.array([track.score for track in pile])
    num_chosen = int((scores > score_threshold).sum())
    return (
        _binary_scores(common, scores, num_chosen),
        _semantic_scores(
            common,
            np.array([*(labels[track.category_id] for track in pile[:num_chosen]), 0]),
            np.array([*(labels[track.category_id] for track in true_pile), 0]),
            num_classes=len(labels) + 1,
        ),
    )


def common_pixels(
    masks: Sequence[RLE | None], true_masks: Sequence[RLE | None], num_pixels: int
) -> np.ndarray:
    """Count the pixels that each two layers of a frame's piles have in common.

    Args:
        masks: of the D predicted tracks.
        true_masks: of the G ground-truth tracks.
        num_pixels: of the frame.

    Returns:
        int64 (D + 2, G + 2).
    """
    layers, true_layers = _layers(masks), _layers(true_masks)
    first, true_first = len(masks) - len(layers) + 1, len(true_masks) - len(true_layers) + 1
    areas, true_areas = coco_mask.area(layers), coco_mask.area(true_layers)
    common = np.zeros((len(masks) + 2, len(true_masks) + 2), np.int64)
    common[first:-1, -1], common[-1, true_first:-1], common[-1, -1] = areas, true_areas, num_pixels
    if layers and true_layers:
        iou = coco_mask.iou(layers, true_layers, [0] * len(true_layers))
        # iou = i / (a + b - i), solved for i
        sums = areas[:, None].astype(float) + true_areas
        common[first:-1, true_first:-1] = np.rint(iou * sums / (1 + iou))
    return common


def _layers(masks: Iterable[RLE | None]) -> list[RLE]:
    """The union of the first mask, of the first two, and so on, without the empty ones at the beginning."""
    layers = []
    for mask in masks:
        if mask is not None:
            layers.append(coco_mask.merge([layers[-1], mask]) if layers else mask)
        elif layers:
            layers.append(layers[-1])
    return layers


def _binary_scores(common: np.ndarray, scores: np.ndarray, num_chosen: int) -> BinaryScores:
    """Scores of a video from (T, D + 2, G + 2) common pixels; `scores` descend."""
    pixels, true_pixels = common[..., -1], common[..., -2]  # of a layer, and of these those that sound
    probability = np.clip(scores, 0, 1).astype(np.float32)
    layer = np.searchsorted(-probability, -THRESHOLDS, side="right")
    layer[THRESHOLDS <= 0] = -1  # which every pixel reaches
    return BinaryScores.from_pixels(
        true_pixels[:, layer],
        pixels[:, layer],
        true_pixels[:, -1],
        int(common[0, -1, -1]),
        (true_pixels[:, num_chosen], pixels[:, num_chosen]),
    )


def _semantic_scores(
    common: np.ndarray, labels: np.ndarray, true_labels: np.ndarray, num_classes: int
) -> SemanticScores:
    """Scores of a video from (T, D + 2, G + 2) common pixels; both lists of classes end with background."""
    layers = [*range(len(labels)), -1]
    visible = np.diff(np.diff(common[:, layers], axis=1), axis=2)
    right = visible * (labels[:, None] == true_labels)
    return SemanticScores.from_pixels(
        _sum_by_label(right.sum(2), labels, num_classes),
        _sum_by_label(visible.sum(2), labels, num_classes),
        _sum_by_label(visible.sum(1), true_labels, num_classes),
    )


def _sum_by_label(pixels: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Sum (T, N) pixels over the parts of each class, (T, C)."""
    sums = np.zeros((len(pixels), num_classes), np.int64)
    np.add.at(sums, (slice(None), labels), pixels)
    return sums
