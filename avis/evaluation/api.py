"""Evaluation of a results file: what it scores."""

import numpy as np
from tqdm import tqdm

from avis.evaluation.average_precision import match_tracks, precision_recall, summarize
from avis.evaluation.loading import JsonSource, load_ground_truth, load_predictions
from avis.evaluation.track_iou import track_iou
from avis.evaluation.tracks import GroundTruth, PredictedTrack, VideoId


def evaluate_predictions(ground_truth: JsonSource, predictions: JsonSource) -> dict[str, float]:
    """Score predicted tracks as the YouTube-VIS evaluation does.

    Args:
        ground_truth: path or parsed content of annotations in the AVISeg format.
        predictions: path or parsed content of results, a list of tracks; see `load_predictions`.

    Returns:
        AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100 and AP/<category>, in percent, -1 where undefined; see
        `avis.evaluation.average_precision.summarize`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an input is malformed; the message names the file, the entry and the problem.
    """
    truth = load_ground_truth(ground_truth)
    return evaluate_tracks(truth, load_predictions(predictions, truth))


def evaluate_tracks(truth: GroundTruth, predictions: dict[VideoId, list[PredictedTrack]]) -> dict[str, float]:
    """Score predicted tracks that are loaded already; see `evaluate_predictions`."""
    matches = {category_id: [] for category_id in truth.categories}
    for video_id in tqdm(truth.videos, desc="matching", unit=" videos", delay=2, leave=False, disable=None):
        predicted, true = predictions[video_id], truth.tracks[video_id]
        iou = track_iou(predicted, true)
        for category_id in {track.category_id for track in (*predicted, *true)}:
            rows = [row for row, track in enumerate(predicted) if track.category_id == category_id]
            columns = [column for column, track in enumerate(true) if track.category_id == category_id]
            matches[category_id].append(
                match_tracks(
                    [predicted[row] for row in rows],
                    [true[column] for column in columns],
                    iou[np.ix_(rows, columns)],
                )
            )
    return summarize(
        {name: precision_recall(matches[category_id]) for category_id, name in truth.categories.items()}
    )
