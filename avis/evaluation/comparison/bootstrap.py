"""Paired comparison of models on the same videos, with bootstrap intervals.

Follows the percentile bootstrap of Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979. Videos
are drawn with replacement, as many as there are. The metrics of a draw are those of a data set of the drawn
videos. A video that is drawn twice counts as two. All models are scored on the same draws. So what makes a
video easy or hard for all of them does not blur their differences.

Dimensions: R resamples, V videos, M metrics.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from avis.evaluation.api import AnyEvaluation
from avis.formats.tracks import VideoId


@dataclass(frozen=True)
class Resampling:
    """How intervals are found.

    Attributes:
        number: of resamples, R.
        confidence: share of the resamples within an interval, in percent.
        seed: of the draws, not negative.
    """

    number: int = 1000
    confidence: float = 95.0
    seed: int = 0

    def check(self) -> None:
        """Make sure that there are enough resamples for the ends of an interval.

        Raises:
            ValueError: there are not, or the confidence is no percentage, or the seed negative.
        """
        if self.seed < 0:
            raise ValueError(f"the seed is 0 or more, not {self.seed}")
        if not 0 < self.confidence < 100:
            raise ValueError(f"the confidence is between 0 and 100 %, not {self.confidence:g}")
        least = math.ceil(200 / (100 - self.confidence))
        if self.number < least:
            raise ValueError(
                f"an interval of {self.confidence:g} % needs {least} resamples or more, not {self.number}"
            )

    def draw(self, videos: Sequence[VideoId]) -> list[list[VideoId]]:
        """R resamples of V videos, of as many videos each."""
        generator = np.random.default_rng(self.seed)
        draws = generator.integers(len(videos), size=(self.number, len(videos)))
        return [[videos[index] for index in draw] for draw in draws.tolist()]

    def interval(self, values: np.ndarray) -> tuple[float, float]:
        """Both ends of the interval of a metric's values (R,); those that are NaN do not count."""
        defined, outside = values[~np.isnan(values)], (100 - self.confidence) / 2
        if not len(defined):
            return np.nan, np.nan
        low, high = np.percentile(defined, [outside, 100 - outside]).tolist()
        return low, high


@dataclass(frozen=True)
class Estimate:
    """A metric, or a difference of two, in percent or percentage points; NaN where undefined.

    Attributes:
        value: of all videos.
        low: the lower end of its interval.
        high: the upper end.
        num_defined: resamples in which it is defined, of which the interval is.
    """

    value: float
    low: float
    high: float
    num_defined: int

    @property
    def contains_zero(self) -> bool:
        """Whether the videos do not tell the value from 0."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Difference:
    """What a model has more than the reference.

    Attributes:
        estimate: of the difference.
        better: videos on which the model has more, of those that define the metric for both.
        equal: videos on which it has as much.
        worse: videos on which it has less.
    """

    estimate: Estimate
    better: int
    equal: int
    worse: int


@dataclass(frozen=True)
class Comparison:
    """Models on the same videos.

    Attributes:
        reference: name of the model that the others are compared with.
        estimates: by model and metric.
        differences: by model, but for the reference, and metric.
        by_video: metrics of single videos by model and video, NaN where undefined.
        resampling: how the intervals were found.
    """

    reference: str
    estimates: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Difference]]
    by_video: dict[str, dict[VideoId, dict[str, float]]]
    resampling: Resampling


def compare(evaluations: Mapping[str, AnyEvaluation], reference: str, resampling: Resampling) -> Comparison:
    """Compare models on the same videos.

    Args:
        evaluations: of each model by its name, of one protocol and one data set.
        reference: name of the model that the others are compared with.
        resampling: how intervals are found; they depend on it and the evaluations alone.

    Raises:
        ValueError: there are too few videos or resamples.
    """
    resampling.check()
    videos = evaluations[reference].counted_videos
    if len(videos) < 2:
        raise ValueError("intervals need two videos or more: those of one would have no width")
    resamples = resampling.draw(videos)
    metrics = [name for name in evaluations[reference].metrics() if "/" not in name]
    scores = _score(evaluations, metrics, [videos, *resamples], "resampling")
    single = _score(evaluations, metrics, [[video] for video in videos], "single videos")
    others = [name for name in evaluations if name != reference]
    return Comparison(
        reference,
        {name: _estimates(scores[name], metrics, resampling) for name in evaluations},
        {
            name: _differences(
                _estimates(scores[name] - scores[reference], metrics, resampling),
                single[name] - single[reference],
            )
            for name in others
        },
        {
            name: {
                video: dict(zip(metrics, row, strict=True))
                for video, row in zip(videos, single[name].tolist(), strict=True)
            }
            for name in evaluations
        },
        resampling,
    )


def _score(
    evaluations: Mapping[str, AnyEvaluation],
    metrics: Sequence[str],
    choices: Sequence[Sequence[VideoId]],
    title: str,
) -> dict[str, np.ndarray]:
    """The M metrics of each model on choices of the videos, NaN where undefined, (number of choices, M)."""
    values = {name: np.full((len(choices), len(metrics)), np.nan) for name in evaluations}
    total = len(evaluations) * len(choices)
    with tqdm(total=total, desc=title, unit=" sets", delay=2, leave=False, disable=None) as bar:
        for row, choice in enumerate(choices):
            for name, evaluation in evaluations.items():
                found = evaluation.metrics(choice)
                values[name][row] = [found[metric] for metric in metrics]
                bar.update()
    for found in values.values():
        found[found == -1] = np.nan
    return values


def _estimates(values: np.ndarray, metrics: Sequence[str], resampling: Resampling) -> dict[str, Estimate]:
    """By metric; given values (1 + R, M), of all videos first."""
    return {
        metric: Estimate(
            column[0].item(), *resampling.interval(column[1:]), int((~np.isnan(column[1:])).sum())
        )
        for metric, column in zip(metrics, values.T, strict=True)
    }


def _differences(estimates: Mapping[str, Estimate], by_video: np.ndarray) -> dict[str, Difference]:
    """By metric; given the differences on single videos (V, M)."""
    return {
        metric: Difference(
            estimate, int((column > 0).sum()), int((column == 0).sum()), int((column < 0).sum())
        )
        for (metric, estimate), column in zip(estimates.items(), by_video.T, strict=True)
    }
