"""Detectron2's evaluator around the metrics."""

import logging
import math
import shutil
import tempfile
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from avis.data import get_categories, get_metadata, is_class_agnostic
from avis.evaluation.api import evaluate_tracks, with_thresholds
from avis.evaluation.metrics.avs_tracks import AVS, METRICS_OF, evaluate_avs
from avis.evaluation.prediction_store import PredictionStore, PredictionWriter
from avis.evaluation.tables import comparison_table, metrics_table
from avis.files import write_json
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import METRICS, RESULTS, load_predictions
from avis.formats.tracks import VideoId
from avis.structures import Categories, VideoPrediction

logger = logging.getLogger(__name__)

# Instances, maps of what sounds, maps of its classes.
AVIS = "avis"
TASKS = (AVIS, *METRICS_OF)


def needs_no_classes(tasks: Collection[str]) -> bool:
    """Whether tasks of TEST.TASKS take the predictions of a model whatever its classes are."""
    return set(tasks) == {AVS}


class AVISEvaluator(DatasetEvaluator):
    """Scores a model's predictions for a data set, and writes them down.

    Predictions go to disk as they come: memory does not grow with the data set, and a run that was killed can
    go on (`identify`). With several processes the results are those of one: predictions are put into the
    order of the video ids, and a video that several processes have seen counts once. The main process reads
    what the others have written, so all must see the same folder.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | Path | None = None,
        distributed: bool = True,
        score_threshold: float = 0.5,
        tasks: Sequence[str] = (AVIS,),
    ) -> None:
        """Look up the data set.

        Args:
            dataset_name: a registered name, or the path of annotations.
            output_dir: gets results.json and metrics.json, and until they are there the predictions of each
                process; None: nothing stays.
            distributed: collect the predictions of all processes; False: every process for itself, in a
                folder of its own.
            score_threshold: HOTA, FSLA and maps are of the tracks that score more; AP and AR are of all.
            tasks: what is scored, any of TASKS.

        Raises:
            FileNotFoundError: the data set's annotations do not exist.
            ValueError: the data set is unknown or malformed, or there is no such task.
        """
        if not tasks or not set(tasks) <= set(TASKS):
            raise ValueError(f"TEST.TASKS is {list(tasks)}; it lists any of {', '.join(TASKS)}")
        self.categories = get_categories(dataset_name)
        self.dataset_name = dataset_name
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.distributed = distributed
        self.score_threshold = score_threshold
        self.tasks = tuple(tasks)
        self._json_file = get_metadata(dataset_name).json_file
        self._category_ids = dict(enumerate(self.categories.ids))
        self._num_left_out = 0
        self._run = uuid.uuid4().hex
        self._resumes = False
        self._remove_temporary: Callable[[], object] = lambda: None
        self._store: PredictionStore
        self._writer: PredictionWriter

    def match_classes(self, classes: Categories) -> None:
        """Say what the model's classes are; unless this is called, they are the data set's categories.

        The two are matched by name. What is predicted of classes that the data set lacks is left out. Where
        classes do not matter, as for maps of what sounds, all is kept.

        Raises:
            ValueError: the model lacks categories of the data set.
        """
        if is_class_agnostic(self.dataset_name) or needs_no_classes(self.tasks):
            self._category_ids = dict.fromkeys(range(len(classes.names)), self.categories.ids[0])
            return
        if missing := self.categories.missing_in(classes):
            raise ValueError(
                f"{self.dataset_name!r} has categories that the model has not: {', '.join(missing)}. Its "
                f"classes are {', '.join(classes.names)}"
            )
        indices = self.categories.indices_in(classes)
        self._category_ids = dict(zip(indices, self.categories.ids, strict=True))

    def identify(self, run: str, resume: bool) -> set[VideoId]:
        """Say what the coming predictions are made from, so that an interrupted run can go on.

        Args:
            run: stands for all that the predictions depend on: weights, config, data.
            resume: keep what an interrupted run with the same `run` has left in `output_dir`.

        Returns:
            The videos that need not be predicted again.
        """
        self._run, self._resumes = run, resume and self.output_dir is not None
        done = PredictionStore(self.output_dir, run).videos() if self._resumes else set()
        if self.distributed:
            comm.synchronize()  # nobody writes before all have read
        if done:
            logger.info("%s: %d videos are predicted already", self.dataset_name, len(done))
        return done

    def reset(self) -> None:
        """Forget all predictions, but once after `identify` not those of the run that resumes."""
        self._store = self._open_store()
        if self._collects():
            self._store.clear(keep_own=self._resumes)
        if self.distributed:
            comm.synchronize()  # nobody writes before all is cleared
        self._resumes = False
        self._num_left_out = 0
        self._writer = self._store.writer(comm.get_rank())

    def process(self, inputs: Sequence[dict], outputs: Sequence[VideoPrediction]) -> None:
        """Write down the predictions for a batch of videos.

        Raises:
            ValueError: a score is not finite.
        """
        for prediction in outputs:
            for track in prediction.tracks:
                if not math.isfinite(track.score):
                    raise ValueError(f"video {prediction.video_id!r}: the model scores a track {track.score}")
            known = [track for track in prediction.tracks if track.category_id in self._category_ids]
            self._num_left_out += len(prediction.tracks) - len(known)
            results = replace(prediction, tracks=known).to_results(self._category_ids)
            self._writer.write(prediction.video_id, results)

    def evaluate(self) -> OrderedDict:
        """Score the predictions of all processes.

        Returns:
            {"avis": metrics} on the main process (see `evaluate_predictions`), with empty metrics if the data
            set has no annotations; {} on the others.

        Raises:
            ValueError: a prediction does not fit its video.
            FileNotFoundError: the main process does not see what another has written.
        """
        own = (self._writer.written(), self._num_left_out)
        parts = comm.gather(own) if self.distributed else [own]
        if not self._collects():
            return OrderedDict()
        for written, _ in parts:
            written.check()
        self._report_left_out(sum(number for _, number in parts))
        metrics = self._score()
        self._store.clear(keep_own=False)
        self._remove_temporary()
        return OrderedDict(avis=metrics)

    def _score(self) -> dict[str, float]:
        truth = load_ground_truth(self._json_file)
        self._warn_about_missing(truth.videos.keys() - self._store.videos())
        results = self._store.folder / RESULTS
        num_tracks = self._store.write_results(results, truth.videos)
        if not any(truth.tracks.values()):
            logger.info("%s has no annotations: the predictions are not scored", self.dataset_name)
            return {}
        predictions = load_predictions(results, truth)
        metrics, tables = {}, []
        if AVIS in self.tasks:
            metrics = evaluate_tracks(truth, predictions, score_threshold=self.score_threshold)
            metrics = with_thresholds(metrics, score_threshold=self.score_threshold)
            tables.append(metrics_table(metrics))
        if of_maps := [task for task in self.tasks if task != AVIS]:
            maps = evaluate_avs(truth, predictions, self.score_threshold, of_maps)
            tables.append(comparison_table({"all frames": maps}, list(maps), "maps"))
            metrics |= maps
        text = "\n\n".join(tables)
        logger.info("%s, %d tracks predicted:\n%s", self.dataset_name, num_tracks, text)
        if self.output_dir is not None:
            write_json(self.output_dir / METRICS, metrics)
            logger.info("Predictions and metrics are in %s", self.output_dir)
        return metrics

    def _collects(self) -> bool:
        """Whether this process scores, be it what all have predicted or only what itself has."""
        return comm.is_main_process() or not self.distributed

    def _open_store(self) -> PredictionStore:
        """The store of this run, which all processes that share it must agree on."""
        folder = self.output_dir
        if folder is None and self._collects():
            self._remove_temporary()
            folder = Path(tempfile.mkdtemp(prefix="avis-evaluation-"))
            self._remove_temporary = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        agreed = comm.all_gather((folder, self._run))[0] if self.distributed else (folder, self._run)
        return PredictionStore(*agreed)

    def _report_left_out(self, number: int) -> None:
        if number:
            logger.info(
                "%s: %d predicted tracks are left out, as they are of classes that it has not",
                self.dataset_name,
                number,
            )

    def _warn_about_missing(self, video_ids: set[VideoId]) -> None:
        if video_ids:
            logger.warning(
                "%s: nothing was predicted for %d videos, which counts as finding no object there; one is %r",
                self.dataset_name,
                len(video_ids),
                min(video_ids, key=str),
            )
