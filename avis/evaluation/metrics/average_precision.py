"""Average precision and recall of tracks, exactly as the YouTube-VIS evaluation computes them.

Follows Yang et al., "Video Instance Segmentation", ICCV 2019: the procedure of COCO (Lin et al., "Microsoft
COCO", 2014) with tracks for boxes. One thing is mended: there, an annotation with id 0 is never found.

Dimensions: V videos, D predicted and G ground-truth tracks of one category, A area ranges, K IoU thresholds,
R recalls, L limits of the number of detections, N predictions of all videos.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avis.evaluation.overlap import ComparedTracks
from avis.formats.tracks import VideoId

RECALLS = np.linspace(0, 1, 101)
# Mean area of a track in pixels, both bounds inclusive: all, small, medium, large.
AREA_RANGES = np.array([[0, 1e10], [0, 128**2], [128**2, 256**2], [256**2, 1e10]])
ALL, SMALL, MEDIUM, LARGE = range(len(AREA_RANGES))
# Index of a ground-truth track where none is found.
NOTHING = -1

_EPSILON = np.spacing(1)


@dataclass(frozen=True)
class MatchingRules:
    """What may differ between implementations of the metric.

    Attributes:
        iou_thresholds: an IoU of at least that is a match, ascending, (K,).
        limits: best-scored predictions that count, per video and category, ascending, None for all.
        crowd_is_taken: whether a crowd, like any other track, is found once only.
        first_leaves_free: whether what the very first prediction finds can be found again.
    """

    iou_thresholds: np.ndarray
    limits: tuple[int | None, ...]
    crowd_is_taken: bool
    first_leaves_free: bool


YOUTUBE_VIS = MatchingRules(
    iou_thresholds=np.linspace(0.5, 0.95, 10),
    limits=(1, 10, 100),
    crowd_is_taken=False,
    first_leaves_free=False,
)


@dataclass(frozen=True)
class Matches:
    """What became of the predictions of one category in one video.

    Attributes:
        predicted: index of each prediction among those of the video, best score first, int (D,).
        scores: (D,).
        found: index of the ground-truth track found among those of the video, or NOTHING, int (A, K, D).
        ignored: whether a prediction counts neither as right nor as wrong, bool (A, K, D).
        num_ground_truth: tracks to be found, int (A,).
    """

    predicted: np.ndarray
    scores: np.ndarray
    found: np.ndarray
    ignored: np.ndarray
    num_ground_truth: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Predictions that have found a track to be found, bool (A, K, D)."""
        return (self.found != NOTHING) & ~self.ignored

    @property
    def wrong(self) -> np.ndarray:
        """Predictions that have found nothing, bool (A, K, D)."""
        return (self.found == NOTHING) & ~self.ignored


@dataclass(frozen=True)
class PrecisionRecall:
    """The curves of one category; NaN in an area range without ground truth.

    Attributes:
        precision: at each of the RECALLS, with the most detections, (A, K, R).
        recall: reached with each limit of the number of detections, over all areas, (L, K).
    """

    precision: np.ndarray
    recall: np.ndarray


def match_videos(
    videos: Mapping[VideoId, ComparedTracks], categories: Collection[int], rules: MatchingRules
) -> dict[int, dict[VideoId, Matches]]:
    """Assign the predictions of each category in each video; see `match_tracks`.

    Args:
        videos: in the order that decides between equal scores.
        categories: ids of the categories.
        rules: of the implementation.

    Returns:
        By category and video, for the videos that have tracks of the category.
    """
    matches = {category_id: {} for category_id in categories}
    first_video = next((video_id for video_id, tracks in videos.items() if len(tracks.scores)), None)
    for video_id, tracks in videos.items():
        leaves_free = (0,) if rules.first_leaves_free and video_id == first_video else ()
        for category_id in np.union1d(tracks.categories, tracks.true_categories).tolist():
            matches[category_id][video_id] = match_tracks(tracks, category_id, rules, leaves_free)
    return matches


def match_tracks(
    tracks: ComparedTracks,
    category_id: int,
    rules: MatchingRules = YOUTUBE_VIS,
    leaves_free: Collection[int] = (),
) -> Matches:
    """Assign predictions to ground-truth tracks, best score first, for each area range and IoU threshold.

    A prediction takes the free track with the highest IoU that reaches the threshold, of equal ones the last.
    A track that need not be found (a crowd, or outside the area range) is taken only for want of another.
    The prediction is then ignored. It is also ignored if it finds no track and its own area is outside the
    range. A crowd can be taken any number of times.

    Args:
        tracks: of one video.
        category_id: whose predictions and ground truth are matched.
        rules: of the implementation.
        leaves_free: predictions by whom a track is found, but not taken.
    """
    predicted = np.flatnonzero(tracks.categories == category_id)
    true = np.flatnonzero(tracks.true_categories == category_id)
    predicted = predicted[np.argsort(-tracks.scores[predicted], kind="stable")][: rules.limits[-1]]
    iou, crowd = tracks.iou[np.ix_(predicted, true)], tracks.is_crowd[true]
    thresholds, stays_free = rules.iou_thresholds[:, None], crowd & (not rules.crowd_is_taken)
    not_to_be_found = crowd | _outside_areas(tracks.true_mean_areas[true])
    found = np.full((len(AREA_RANGES), len(thresholds), len(predicted)), NOTHING)
    ignored = np.zeros(found.shape, bool)
    taken = np.zeros((*found.shape[:2], len(true)), bool)
    for index in np.flatnonzero((iou >= thresholds[0]).any(1)):
        candidates = (iou[index] >= thresholds) & (~taken | stays_free)
        preferred = candidates & ~not_to_be_found[:, None]
        candidates = np.where(preferred.any(-1, keepdims=True), preferred, candidates)
        chosen = _last_best(candidates, iou[index])
        found[..., index] = np.where(chosen.any(-1), true[chosen.argmax(-1)], NOTHING)
        ignored[..., index] = (chosen & not_to_be_found[:, None]).any(-1)
        if predicted[index] not in leaves_free:
            taken |= chosen
    outside = _outside_areas(tracks.mean_areas[predicted])[:, None]
    ignored |= (found == NOTHING) & outside
    return Matches(predicted, tracks.scores[predicted], found, ignored, (~not_to_be_found).sum(-1))


class RankedMatches:
    """The matches of one category in V videos, ranked once, for the curves of any choice of these videos."""

    def __init__(self, matches: Sequence[Matches], rules: MatchingRules = YOUTUBE_VIS) -> None:
        """Rank all predictions, best score first.

        Args:
            matches: of V videos, in the order that decides between equal scores: that of the video ids in
                YouTube-VIS.
            rules: by which they were matched.
        """
        self._rules, self._num_videos = rules, len(matches)
        if not matches:
            return
        scores = np.concatenate([match.scores for match in matches])
        videos = np.repeat(np.arange(len(matches)), [len(match.scores) for match in matches])
        order = np.argsort(-scores, kind="stable")
        self._right = np.concatenate([match.right for match in matches], axis=-1)[..., order]
        self._wrong = np.concatenate([match.wrong for match in matches], axis=-1)[..., order]
        self._runs = _Runs(scores[order], videos[order])
        self._num_ground_truth = np.stack([match.num_ground_truth for match in matches])  # (V, A)
        self._num_right = np.stack([_num_right(match, rules.limits) for match in matches])  # (V, L, K)

    def precision_recall(self, times: np.ndarray | None = None) -> PrecisionRecall:
        """Compute the curves.

        Args:
            times: how often each video is there, one copy after the other, int (V,); None: once.
        """
        num_thresholds = len(self._rules.iou_thresholds)
        precision = np.full((len(AREA_RANGES), num_thresholds, len(RECALLS)), np.nan)
        recall = np.full((len(self._rules.limits), num_thresholds), np.nan)
        times = np.ones(self._num_videos, int) if times is None else times
        if not times.any():
            return PrecisionRecall(precision, recall)
        num_ground_truth = times @ self._num_ground_truth
        chosen = self._runs.repeat(times)
        for area in np.flatnonzero(num_ground_truth):
            right, wrong = self._right[area][:, chosen], self._wrong[area][:, chosen]
            precision[area] = _precision_at_recalls(right, wrong, num_ground_truth[area])
        if num_ground_truth[ALL]:
            recall = np.tensordot(times, self._num_right, 1) / num_ground_truth[ALL]
        return PrecisionRecall(precision, recall)


class _Runs:
    """Predictions in their order, as runs of one score and video: a copy of a video has its run after it."""

    def __init__(self, scores: np.ndarray, videos: np.ndarray) -> None:
        """Find the runs, given score and video of each prediction, (N,) each."""
        changes = (np.diff(scores) != 0) | (np.diff(videos) != 0)
        self._starts = np.concatenate(([0], np.flatnonzero(changes) + 1))[: len(scores)]
        self._lengths = np.diff(self._starts, append=len(scores))
        self._videos = videos[self._starts]

    def repeat(self, times: np.ndarray) -> np.ndarray:
        """Indices of the predictions, where each video is there so many times."""
        lengths = self._lengths * times[self._videos]
        places = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
        return np.repeat(self._starts, lengths) + places % np.repeat(self._lengths, lengths)


def precision_recall(matches: Sequence[Matches], rules: MatchingRules = YOUTUBE_VIS) -> PrecisionRecall:
    """Compute the curves of one category from its matches in all videos; see `RankedMatches`."""
    return RankedMatches(matches, rules).precision_recall()


def summarize(curves: Mapping[str, PrecisionRecall], rules: MatchingRules = YOUTUBE_VIS) -> dict[str, float]:
    """Average the curves over the categories that have ground truth.

    Args:
        curves: of each category by its name.
        rules: by which the matches were made.

    Returns:
        Fractions, NaN where undefined: AP (over the IoU thresholds), AP50, AP75; APs, APm, APl (small,
        medium and large tracks); AR1, AR10, AR100 (by detections per video and category; AR without limit);
        AP/<category>.
    """
    # AP by category, area and threshold; AR by category, limit and threshold
    ap = np.array([curve.precision.mean(-1) for curve in curves.values()])
    ar = np.array([curve.recall for curve in curves.values()])
    metrics = {
        "AP": _mean(ap[:, ALL]),
        "AP50": _mean(ap[:, ALL, np.isclose(rules.iou_thresholds, 0.5)]),
        "AP75": _mean(ap[:, ALL, np.isclose(rules.iou_thresholds, 0.75)]),
        "APs": _mean(ap[:, SMALL]),
        "APm": _mean(ap[:, MEDIUM]),
        "APl": _mean(ap[:, LARGE]),
    }
    metrics |= {f"AR{limit or ''}": _mean(ar[:, row]) for row, limit in enumerate(rules.limits)}
    return metrics | {f"AP/{name}": _mean(ap[row, ALL]) for row, name in enumerate(curves)}


def _outside_areas(mean_areas: np.ndarray) -> np.ndarray:
    """Whether each track is outside each area range, bool (A, number of tracks)."""
    return (mean_areas < AREA_RANGES[:, :1]) | (mean_areas > AREA_RANGES[:, 1:])


def _last_best(candidates: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Mark the candidate with the highest IoU, of equal ones the last; nothing where there is no candidate.

    Args:
        candidates: bool (A, K, G).
        iou: (G,).

    Returns:
        bool (A, K, G).
    """
    best = np.where(candidates, iou, -1)
    last_best = best.shape[-1] - 1 - best[..., ::-1].argmax(-1)
    return candidates & (np.arange(len(iou)) == last_best[..., None])


def _num_right(match: Matches, limits: Sequence[int | None]) -> np.ndarray:
    """Right predictions in a video with each limit of their number, over all areas, int (L, K)."""
    right = match.right[ALL]
    return np.stack([right[:, :limit].sum(-1) for limit in limits])


def _precision_at_recalls(right: np.ndarray, wrong: np.ndarray, num_ground_truth: int) -> np.ndarray:
    """The best precision at or beyond each recall, 0 beyond the highest reached, (K, R)."""
    num_right, num_wrong = right.cumsum(-1), wrong.cumsum(-1)
    precision = num_right / (num_right + num_wrong + _EPSILON)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=-1)[:, ::-1]
    envelope = np.pad(envelope, ((0, 0), (0, 1)))
    recall = num_right / num_ground_truth
    reached = [np.searchsorted(row, RECALLS, side="left") for row in recall]
    return np.take_along_axis(envelope, np.array(reached), axis=-1)


def _mean(values: np.ndarray) -> float:
    """The mean of the defined values; NaN if there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else np.nan
