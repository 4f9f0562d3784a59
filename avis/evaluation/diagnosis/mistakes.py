"""What kind of mistake each track is, and how much AP50 each kind costs.

Follows Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, with the
kinds of mistake that tracks of sounding objects allow. A prediction is right if it has found a track of its
class at a spatio-temporal IoU of 0.5. Any other makes the first of these mistakes that fits:

- duplicate: IoU of 0.5 with a track of its class, which a better-scored prediction has found.
- wrong class: IoU of 0.5 with a track of another class.
- identity switch: it follows two or more tracks at different times, each in at least a fifth of the frames in
  which it sounds. In a frame it follows the track with the best mask IoU, if that is at least 0.5.
- sounding interval: IoU of 0.5 with a track of its class over the frames in which both sound, not over all.
- poor mask: IoU of 0.1 with a track of its class.
- false positive: nothing of all this; background, an object that is silent, or anything else.

A track is missed if no prediction has found it and none has made a mistake about it other than a duplicate.

The cost of a kind is the AP50 that is gained if it alone is mended. Duplicates and false positives are
removed then, and missed tracks need not be found. The others find what they were about, or are removed if
that is found already. The gains do not add up to what is lost, so they are also given as shares of their sum.

Dimensions: T frames, D predicted and G ground-truth tracks of a video.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from avis.evaluation.metrics.average_precision import (
    ALL,
    AREA_RANGES,
    NOTHING,
    YOUTUBE_VIS,
    Matches,
    match_tracks,
    precision_recall,
)
from avis.evaluation.overlap import MIN_IOU, VideoOverlap

IOU_THRESHOLD = 0.5
MIN_FOLLOWED = 0.2
AT_HALF = replace(YOUTUBE_VIS, iou_thresholds=np.array([IOU_THRESHOLD]))


class Mistake(StrEnum):
    """A kind of mistake, in the order in which they are shown."""

    MISSED = "missed"
    WRONG_CLASS = "wrong class"
    POOR_MASK = "poor mask"
    SOUNDING_INTERVAL = "sounding interval"
    IDENTITY_SWITCH = "identity switch"
    DUPLICATE = "duplicate"
    FALSE_POSITIVE = "false positive"


REMOVED = (Mistake.DUPLICATE, Mistake.FALSE_POSITIVE)


@dataclass(frozen=True)
class JudgedTracks:
    """Right and wrong tracks of a set of videos; predictions that count as neither are left out.

    Attributes:
        categories: of the predictions, int (D,).
        scores: (D,).
        mistakes: the kind of mistake, "" of those that are right, str (D,).
        targets: index of the ground-truth track found or meant, or NOTHING, int (D,).
        true_categories: of the ground truth, int (G,).
        to_be_found: the ground truth without crowds, bool (G,).
        missed: bool (G,).
    """

    categories: np.ndarray
    scores: np.ndarray
    mistakes: np.ndarray
    targets: np.ndarray
    true_categories: np.ndarray
    to_be_found: np.ndarray
    missed: np.ndarray

    @classmethod
    def pool(cls, videos: Iterable["JudgedTracks"]) -> "JudgedTracks":
        """The tracks of several videos together."""
        videos = [cls.nothing(), *videos]
        offsets = np.cumsum([0, *(len(video.true_categories) for video in videos)])
        targets = [
            np.where(video.targets == NOTHING, NOTHING, video.targets + offset)
            for video, offset in zip(videos, offsets[:-1], strict=True)
        ]
        return cls(
            categories=np.concatenate([video.categories for video in videos]),
            scores=np.concatenate([video.scores for video in videos]),
            mistakes=np.concatenate([video.mistakes for video in videos]),
            targets=np.concatenate(targets),
            true_categories=np.concatenate([video.true_categories for video in videos]),
            to_be_found=np.concatenate([video.to_be_found for video in videos]),
            missed=np.concatenate([video.missed for video in videos]),
        )

    @classmethod
    def nothing(cls) -> "JudgedTracks":
        """No track at all."""
        ids, flags = np.zeros(0, int), np.zeros(0, bool)
        return cls(ids, np.zeros(0), np.zeros(0, "<U20"), ids, ids, flags, flags)


@dataclass(frozen=True)
class MistakeCost:
    """What a kind of mistake costs.

    Attributes:
        count: predictions (of the missed, ground-truth tracks) of the kind, whatever their scores.
        gain: of AP50, in percentage points, if they were mended.
        share: of the sum of the gains of all kinds, in percent.
    """

    count: int
    gain: float
    share: float


def judge_tracks(overlap: VideoOverlap) -> JudgedTracks:
    """Tell right from wrong in one video."""
    tracks = overlap.tracks
    present = np.union1d(tracks.categories, tracks.true_categories).tolist()
    matches = [match_tracks(tracks, category_id, AT_HALF) for category_id in present]
    order = _joined([match.predicted for match in matches])
    found = _joined([match.found[ALL, 0] for match in matches])
    counts = ~_joined([match.ignored[ALL, 0] for match in matches]).astype(bool)
    order, targets = order[counts], found[counts]
    mistakes = np.full(len(order), "", "<U20")
    for kind, (meant, fits) in _attempts(overlap).items():
        chosen = (targets == NOTHING) & (mistakes == "") & fits[order]
        mistakes[chosen] = kind
        if kind not in REMOVED:
            targets[chosen] = meant[order[chosen]]
    missed = ~tracks.is_crowd
    missed[targets[targets != NOTHING]] = False
    return JudgedTracks(
        categories=tracks.categories[order],
        scores=tracks.scores[order],
        mistakes=mistakes,
        targets=targets,
        true_categories=tracks.true_categories,
        to_be_found=~tracks.is_crowd,
        missed=missed,
    )


def mistake_costs(judged: JudgedTracks, categories: Collection[int]) -> dict[Mistake, MistakeCost]:
    """Find out what each kind of mistake costs.

    Args:
        judged: the tracks of all videos.
        categories: ids, over which AP50 is averaged.

    Returns:
        By kind; gains are NaN without any ground truth.
    """
    now = ap50(judged, categories)
    gains = {kind: _or_perfect(ap50(mend(judged, kind), categories)) - now for kind in Mistake}
    total = sum(gains.values())
    counts = {kind: int((judged.mistakes == kind).sum()) for kind in Mistake}
    counts[Mistake.MISSED] = int(judged.missed.sum())
    return {
        kind: MistakeCost(counts[kind], gain, 100 * gain / total if total else 0.0)
        for kind, gain in gains.items()
    }


def mend(judged: JudgedTracks, kind: Mistake) -> JudgedTracks:
    """The tracks without one kind of mistake."""
    if kind == Mistake.MISSED:
        return replace(judged, to_be_found=judged.to_be_found & ~judged.missed)
    wrong = judged.mistakes == kind
    mended = np.zeros(len(wrong), bool) if kind in REMOVED else _first_about_each(judged, wrong)
    kept, categories = ~wrong | mended, judged.categories.copy()
    categories[mended] = judged.true_categories[judged.targets[mended]]
    return replace(
        judged,
        categories=categories[kept],
        scores=judged.scores[kept],
        mistakes=np.where(mended, "", judged.mistakes)[kept],
        targets=judged.targets[kept],
    )


def ap50(judged: JudgedTracks, categories: Collection[int]) -> float:
    """AP at an IoU of 0.5 in percent, over the categories with ground truth; NaN without any."""
    values = [_category_ap50(judged, category_id) for category_id in categories]
    defined = [value for value in values if not np.isnan(value)]
    return 100 * float(np.mean(defined)) if defined else np.nan


def _attempts(overlap: VideoOverlap) -> dict[Mistake, tuple[np.ndarray, np.ndarray]]:
    """Try the kinds of mistake, in order.

    Returns:
        Of each kind, which track each prediction is about, int (D,), and whether the kind fits, bool (D,).
    """
    tracks = overlap.tracks
    num_predicted, num_true = tracks.iou.shape
    nothing = np.full(num_predicted, NOTHING)
    false_positive = {Mistake.FALSE_POSITIVE: (nothing, np.ones(num_predicted, bool))}
    if not num_true:
        return false_positive
    of_class = tracks.categories[:, None] == tracks.true_categories
    iou = np.where(tracks.is_crowd, 0, tracks.iou)
    return {
        Mistake.DUPLICATE: _best(np.where(of_class, iou, 0), IOU_THRESHOLD),
        Mistake.WRONG_CLASS: _best(np.where(of_class, 0, iou), IOU_THRESHOLD),
        Mistake.IDENTITY_SWITCH: _followed(overlap),
        Mistake.SOUNDING_INTERVAL: _best(np.where(of_class, _common_iou(overlap), 0), IOU_THRESHOLD),
        Mistake.POOR_MASK: _best(np.where(of_class, iou, 0), MIN_IOU),
        **false_positive,
    }


def _best(iou: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    return iou.argmax(1), iou.max(1) >= threshold


def _followed(overlap: VideoOverlap) -> tuple[np.ndarray, np.ndarray]:
    """The track that each prediction follows longest, and whether it follows several."""
    iou = np.where(overlap.tracks.is_crowd, 0, overlap.frame_iou)
    best = iou.argmax(2)[..., None] == np.arange(iou.shape[2])
    followed = (best & (iou >= IOU_THRESHOLD)).sum(0)
    sounding = (overlap.areas > 0).sum(0)
    several = ((followed > 0) & (followed >= MIN_FOLLOWED * sounding[:, None])).sum(1) > 1
    return followed.argmax(1), several


def _common_iou(overlap: VideoOverlap) -> np.ndarray:
    """IoU over the frames in which both tracks sound, (D, G); 0 with crowds."""
    areas, true_areas = overlap.areas[:, :, None], overlap.true_areas[:, None]
    both = (areas > 0) & (true_areas > 0)
    intersection = overlap.intersections.sum(0)
    union = ((areas + true_areas) * both).sum(0) - intersection
    iou = np.divide(intersection, union, out=np.zeros(union.shape), where=union > 0)
    return np.where(overlap.tracks.is_crowd, 0, iou)


def _first_about_each(judged: JudgedTracks, wrong: np.ndarray) -> np.ndarray:
    """Of the predictions that are wrong, the best about each track that no other has found, bool (D,)."""
    found = set(judged.targets[judged.mistakes == ""].tolist())
    first = np.zeros(len(wrong), bool)
    candidates = np.flatnonzero(wrong)
    for index in candidates[np.argsort(-judged.scores[candidates], kind="stable")]:
        first[index] = judged.targets[index] not in found
        found.add(judged.targets[index])
    return first


def _category_ap50(judged: JudgedTracks, category_id: int) -> float:
    of_class = judged.categories == category_id
    scores = judged.scores[of_class]
    num_true = int((judged.to_be_found & (judged.true_categories == category_id)).sum())
    found = np.where(judged.mistakes[of_class] == "", judged.targets[of_class], NOTHING)
    shape = (len(AREA_RANGES), 1, len(scores))
    matches = Matches(
        predicted=np.arange(len(scores)),
        scores=scores,
        found=np.broadcast_to(found, shape),
        ignored=np.zeros(shape, bool),
        num_ground_truth=np.full(len(AREA_RANGES), num_true),
    )
    return float(precision_recall([matches], AT_HALF).precision[ALL, 0].mean())


def _or_perfect(value: float) -> float:
    """Where nothing is left to be found, nothing is lost."""
    return 100.0 if np.isnan(value) else value


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0, int)
