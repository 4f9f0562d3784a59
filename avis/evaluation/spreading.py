"""Work on the videos of a data set one by one, in this process or spread over several.

Processes are forked: they find ground truth and predictions as this process has loaded them, and send back
what the work gives. This process keeps the order of the videos, so results do not depend on their number.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from avis.evaluation.overlap import VideoOverlap
from avis.formats.results import Predictions
from avis.formats.tracks import GroundTruth, PredictedTrack, VideoId

Result = TypeVar("Result")

# Predicted masks that are worth a process: to start it takes as long as to compare a few thousand.
MASKS_A_JOB = 20_000
# Videos go to the processes in so many portions each, so that none waits long for the last.
_PORTIONS = 8


def choose_jobs(predictions: Predictions) -> int:
    """How many processes are worth their start: at most one for each core that this process may use."""
    if "fork" not in multiprocessing.get_all_start_methods():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, predictions.num_masks // MASKS_A_JOB))


def over_videos(
    work: Callable[[VideoOverlap], Result],
    truth: GroundTruth,
    predictions: Mapping[VideoId, Sequence[PredictedTrack]],
    description: str,
    jobs: int = 1,
) -> Iterator[tuple[VideoId, Result]]:
    """Do some work on the overlaps of each video, in the order of `truth.videos`.

    Args:
        work: what to do; in other processes what it leaves behind is lost.
        truth: the ground truth.
        predictions: the tracks of each of its videos, which are asked for once.
        description: of the progress bar.
        jobs: processes that work at once; 1: this one alone.

    Yields:
        A video's id and the work's result.

    Raises:
        ValueError: `jobs` is not positive, or a mask is malformed: the same error for any number of jobs.
    """
    if jobs < 1:
        raise ValueError(f"the number of jobs is {jobs}, it is 1 or more")

    def work_on(video_id: VideoId) -> Result:
        return work(VideoOverlap(truth.videos[video_id], predictions[video_id], truth.tracks[video_id]))

    results = _spread(work_on, list(truth.videos), jobs)
    options = {"unit": " videos", "delay": 2, "leave": False, "disable": None}
    yield from tqdm(results, desc=description, total=len(truth.videos), **options)


def _spread(
    work_on: Callable[[VideoId], Result], video_ids: list[VideoId], jobs: int
) -> Iterator[tuple[VideoId, Result]]:
    if jobs == 1:
        yield from ((video_id, work_on(video_id)) for video_id in video_ids)
        return
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"), _Worker.begin, (work_on,))
    portion = max(1, len(video_ids) // (_PORTIONS * jobs))
    try:
        done = pool.map(_Worker.run, video_ids, chunksize=portion)
        for video_id, results in zip(video_ids, done, strict=True):
            # What has failed there fails here again, with the error of one process.
            yield video_id, results[0] if results else work_on(video_id)
    finally:
        pool.shutdown(cancel_futures=True)


class _Worker:
    """What a forked process does, which it finds in memory: only the ids of videos are sent to it."""

    work_on: Callable[[VideoId], object]

    @classmethod
    def begin(cls, work_on: Callable[[VideoId], object]) -> None:
        """Take the work, and leave Ctrl-C to the process that has started this one."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        cls.work_on = staticmethod(work_on)

    @classmethod
    def run(cls, video_id: VideoId) -> list[object]:
        """The result, or nothing if the work fails."""
        try:
            return [cls.work_on(video_id)]
        except Exception:  # `_spread` does this video again, and raises what one process raises
            return []
