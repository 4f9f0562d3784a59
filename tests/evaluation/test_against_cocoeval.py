"""COCOeval of pycocotools, given the IoUs of tracks, is the procedure that YouTube-VIS took over."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from avis.evaluation.metrics.average_precision import (
    AREA_RANGES,
    YOUTUBE_VIS,
    match_videos,
    precision_recall,
    summarize,
)
from avis.evaluation.overlap import ComparedTracks
from avis.formats.tracks import GroundTruthTrack, PredictedTrack

CATEGORIES = (1, 2)
NO_MASKS = ([], np.zeros(0, np.int64), np.zeros(0, bool))
# Few values, so that many are equal, and some lie on the bounds.
IOUS = st.sampled_from([0, 0.3, 0.5, 0.6, 0.74, 0.75, 0.9, 1])
ID = st.just(1)
AREAS = st.sampled_from([0, 900, 128**2, 150**2, 256**2, 400**2])
SCORES = st.sampled_from([0.1, 0.2, 0.5, 0.9])
TRUE_TRACKS = st.lists(
    st.builds(
        GroundTruthTrack,
        st.sampled_from(CATEGORIES),
        *map(st.just, NO_MASKS),
        AREAS,
        st.booleans(),
        st.just(1),
    ),
    max_size=4,
)
PREDICTED_TRACKS = st.lists(
    st.builds(PredictedTrack, st.sampled_from(CATEGORIES), *map(st.just, NO_MASKS), AREAS, SCORES),
    max_size=13,
)
Video = tuple[list[PredictedTrack], list[GroundTruthTrack], np.ndarray]


@st.composite
def video(draw: st.DrawFn) -> Video:
    predicted, true = draw(PREDICTED_TRACKS), draw(TRUE_TRACKS)
    number = len(predicted) * len(true)
    iou = draw(st.lists(IOUS, min_size=number, max_size=number))
    return predicted, true, np.array(iou, float).reshape(len(predicted), len(true))


def our_metrics(videos: list[Video]) -> dict[str, float]:
    compared = {index: ComparedTracks.from_tracks(*video) for index, video in enumerate(videos)}
    matches = match_videos(compared, CATEGORIES, YOUTUBE_VIS)
    curves = {
        str(category): precision_recall(list(by_video.values())) for category, by_video in matches.items()
    }
    return {name: -1 if np.isnan(value) else 100 * value for name, value in summarize(curves).items()}


class TrackEval(COCOeval):
    """COCOeval with IoUs that are given, and with the area ranges of YouTube-VIS."""

    def __init__(self, videos: list[Video]) -> None:
        super().__init__(coco(videos, 1), coco(videos, 0), "segm")
        self.params.areaRng = AREA_RANGES.tolist()
        self.given = [iou for _, _, iou in videos]

    def _prepare(self) -> None:
        self._gts, self._dts = ({}, {})
        for coco_set, by_unit in ((self.cocoGt, self._gts), (self.cocoDt, self._dts)):
            for video_id in coco_set.getImgIds():
                for category in CATEGORIES:
                    ids = coco_set.getAnnIds([video_id], [category])
                    by_unit[video_id, category] = coco_set.loadAnns(ids)
        self.evalImgs, self.eval = [], {}

    def computeIoU(self, imgId: int, catId: int) -> np.ndarray | list:
        true, predicted = self._gts[imgId, catId], self._dts[imgId, catId]
        if not (true and predicted):
            return []
        ranked = sorted(predicted, key=lambda track: -track["score"])
        rows, columns = [track["index"] for track in ranked], [track["index"] for track in true]
        return self.given[imgId][np.ix_(rows, columns)]


def coco(videos: list[Video], kind: int) -> COCO:
    coco_set = COCO()
    coco_set.dataset = {
        "images": [{"id": video_id} for video_id in range(len(videos))],
        "categories": [{"id": category} for category in CATEGORIES],
        "annotations": [
            {
                "image_id": video_id,
                "index": index,
                "category_id": track.category_id,
                "area": track.mean_area,
                "score": getattr(track, "score", None),
                "iscrowd": int(getattr(track, "is_crowd", False)),
                "ignore": getattr(track, "is_crowd", False),
            }
            for video_id, tracks in enumerate(videos)
            for index, track in enumerate(tracks[kind])
        ],
    }
    for number, entry in enumerate(coco_set.dataset["annotations"], start=1):
        entry["id"] = number
    coco_set.createIndex()
    return coco_set


def cocoeval_metrics(videos: list[Video]) -> dict[str, float]:
    evaluation = TrackEval(videos)
    evaluation.evaluate()
    evaluation.accumulate()
    # (threshold, recall, category, area, detections) and (threshold, category, area, detections)
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]

    def mean(values: np.ndarray) -> float:
        return 100 * values[values > -1].mean() if (values > -1).any() else -1

    metrics = {"AP": mean(precision[:, :, :, 0, 2])}
    metrics |= {"AP50": mean(precision[0, :, :, 0, 2]), "AP75": mean(precision[5, :, :, 0, 2])}
    metrics |= {f"AP{size}": mean(precision[:, :, :, area, 2]) for area, size in enumerate("sml", start=1)}
    metrics |= {f"AR{limit}": mean(recall[:, :, 0, index]) for index, limit in enumerate((1, 10, 100))}
    return metrics | {f"AP/{name}": mean(precision[:, :, row, 0, 2]) for row, name in enumerate(CATEGORIES)}


@settings(max_examples=100, deadline=None)
@given(st.lists(video(), min_size=1, max_size=3))
def test_same_numbers_as_cocoeval(videos: list[Video]):
    assert our_metrics(videos) == pytest.approx(cocoeval_metrics(videos), abs=1e-9)
