"""Detectron2's evaluator around the metrics."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from avis.data import get_metadata
from avis.evaluation.api import evaluate_tracks
from avis.evaluation.json_file import write_json
from avis.evaluation.loading import load_ground_truth, load_predictions
from avis.evaluation.tables import metrics_table
from avis.evaluation.tracks import VideoId
from avis.structures import VideoPrediction

logger = logging.getLogger(__name__)

Results = dict[VideoId, list[dict]]


class AVISEvaluator(DatasetEvaluator):
    """Scores a model's predictions for a data set, and writes them down.

    With several processes the results are those of one: predictions are put into the order of the video ids,
    and a video that several processes have seen counts once.
    """

    def __init__(
        self, dataset_name: str, output_dir: str | Path | None = None, distributed: bool = True
    ) -> None:
        """Look up the data set.

        Args:
            dataset_name: a registered name, or the path of annotations.
            output_dir: gets results.json and metrics.json; None: nothing is written.
            distributed: collect the predictions of all processes; False: every process for itself.

        Raises:
            FileNotFoundError: the data set's annotations do not exist.
            ValueError: the data set is unknown or malformed.
        """
        metadata = get_metadata(dataset_name)
        self.dataset_name = dataset_name
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.distributed = distributed
        self._json_file = metadata.json_file
        contiguous_ids = metadata.thing_dataset_id_to_contiguous_id
        self._category_ids = {index: category_id for category_id, index in contiguous_ids.items()}
        self._results: Results = {}

    def reset(self) -> None:
        """Forget all predictions."""
        self._results = {}

    def process(self, inputs: Sequence[dict], outputs: Sequence[VideoPrediction]) -> None:
        """Take the predictions for a batch of videos."""
        for prediction in outputs:
            self._results[prediction.video_id] = prediction.to_results(self._category_ids)

    def evaluate(self) -> OrderedDict:
        """Score the predictions of all processes.

        Returns:
            {"avis": metrics} on the main process (see `evaluate_predictions`), with empty metrics if the data
            set has no annotations; {} on the others.

        Raises:
            ValueError: a prediction does not fit its video.
        """
        results = self._collect()
        if results is None:
            return OrderedDict()
        truth = load_ground_truth(self._json_file)
        self._warn_about_missing(truth.videos.keys() - results.keys())
        entries = list(chain.from_iterable(results.get(video_id, []) for video_id in truth.videos))
        self._write("results.json", entries)
        if not any(truth.tracks.values()):
            logger.info("%s has no annotations: the predictions are not scored", self.dataset_name)
            return OrderedDict(avis={})
        metrics = evaluate_tracks(truth, load_predictions(entries, truth))
        self._write("metrics.json", metrics)
        logger.info("%s, %d tracks predicted:\n%s", self.dataset_name, len(entries), metrics_table(metrics))
        if self.output_dir is not None:
            logger.info("Predictions and metrics are in %s", self.output_dir)
        return OrderedDict(avis=metrics)

    def _collect(self) -> Results | None:
        """The predictions of all processes; None where they are not wanted."""
        if not self.distributed:
            return self._results
        gathered = comm.gather(self._results)
        return {key: value for part in gathered for key, value in part.items()} if gathered else None

    def _warn_about_missing(self, video_ids: set[VideoId]) -> None:
        if video_ids:
            logger.warning(
                "%s: nothing was predicted for %d videos, which counts as finding no object there; one is %r",
                self.dataset_name,
                len(video_ids),
                min(video_ids, key=str),
            )

    def _write(self, name: str, content: list | dict) -> None:
        if self.output_dir is not None:
            write_json(self.output_dir / name, content)
