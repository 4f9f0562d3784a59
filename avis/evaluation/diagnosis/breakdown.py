"""Metrics of parts of a data set: by category, scenario, number of sources and length of the videos.

- Scenario: what the annotations say under "scenario" of a video; there is no such part if none says it.
- Sources: the most ground-truth tracks that sound in the same frame of the video.
- Length: in frames; in AVISeg, which has one frame a second, that is seconds.

AP and AR of a part are those of its videos alone, averaged over the categories that have ground truth there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from avis.evaluation.diagnosis.analysis import Analysis
from avis.evaluation.metrics.average_precision import YOUTUBE_VIS, summarize
from avis.evaluation.protocols.avtrack import AVTrackEvaluation
from avis.formats.tracks import GroundTruth, VideoId

METRICS = ("AP", "AP50", "AP75", "AR1", "AR10")
# Frames from which on a video is in each part.
LENGTHS = {"short (up to 15)": 1, "medium (16 to 60)": 16, "long (more than 60)": 61}
# Videos with as many or more sources are one part.
MANY_SOURCES = 4
NO_ATTRIBUTE = "none"


@dataclass(frozen=True)
class Subset:
    """One part of a data set.

    Attributes:
        name: what its videos or tracks have in common.
        num_videos: videos in it; by category, videos with the category.
        num_tracks: ground-truth tracks in it, without crowds.
        metrics: in percent, -1 where undefined; by default the METRICS.
    """

    name: str
    num_videos: int
    num_tracks: int
    metrics: dict[str, float]


def break_down(analysis: Analysis) -> dict[str, list[Subset]]:
    """Score the parts of a data set.

    Args:
        analysis: of all videos.

    Returns:
        The parts by category, by scenario (unless there are none), by sources and by length.

    Raises:
        ValueError: a scenario is not a text.
    """
    videos = analysis.truth.videos
    lengths = {video_id: _length_name(video.length) for video_id, video in videos.items()}
    sources = {video_id: _sources_name(found.num_sources) for video_id, found in analysis.findings.items()}
    breakdown = {"category": _by_category(analysis)}
    if scenarios := _scenarios(analysis.truth):
        breakdown["scenario"] = _by_videos(analysis, scenarios, sorted(set(scenarios.values())))
    breakdown["sources"] = _by_videos(analysis, sources, sorted(set(sources.values())))
    breakdown["length"] = _by_videos(
        analysis, lengths, [name for name in LENGTHS if name in lengths.values()]
    )
    return breakdown


def break_down_by_attribute(evaluation: AVTrackEvaluation) -> list[Subset]:
    """Score the videos with each attribute; a video may have several, and so be in several parts.

    Raises:
        ValueError: no video has an attribute.
    """
    truth = evaluation.truth
    videos: dict[str, list[VideoId]] = {}
    for video_id in evaluation.counted_videos:
        for name in truth.videos[video_id].attributes or (NO_ATTRIBUTE,):
            videos.setdefault(name, []).append(video_id)
    if not videos.keys() - {NO_ATTRIBUTE}:
        raise ValueError(f'{truth.source}: no video has "attributes"; give them with --attributes')
    return [
        Subset(
            name,
            len(videos[name]),
            sum(not track.is_crowd for video_id in videos[name] for track in truth.tracks[video_id]),
            evaluation.metrics(videos[name]),
        )
        for name in sorted(videos, key=lambda name: (name == NO_ATTRIBUTE, name))
    ]


def _scenarios(truth: GroundTruth) -> dict[VideoId, str]:
    """The scenario of each video; empty if no video has one."""
    scenarios = {video_id: video.scenario for video_id, video in truth.videos.items()}
    for video_id, scenario in scenarios.items():
        if not isinstance(scenario, str | None):
            raise ValueError(f"{truth.source}: video {video_id!r}: scenario is {scenario!r}, not a text")
    if not any(scenario is not None for scenario in scenarios.values()):
        return {}
    return {key: "not given" if scenario is None else scenario for key, scenario in scenarios.items()}


def _length_name(length: int) -> str:
    return [name for name, least in LENGTHS.items() if length >= least][-1]


def _sources_name(number: int) -> str:
    return str(number) if number < MANY_SOURCES else f"{MANY_SOURCES} or more"


def _by_category(analysis: Analysis) -> list[Subset]:
    curves = analysis.evaluation.curves()
    subsets = []
    for category_id, name in analysis.truth.categories.items():
        counts = [
            sum(track.category_id == category_id and not track.is_crowd for track in tracks)
            for tracks in analysis.truth.tracks.values()
        ]
        metrics = _in_percent(summarize({name: curves[name]}, YOUTUBE_VIS))
        subsets.append(Subset(name, sum(count > 0 for count in counts), sum(counts), metrics))
    return subsets


def _by_videos(analysis: Analysis, groups: Mapping[VideoId, str], names: list[str]) -> list[Subset]:
    return [
        _subset(analysis, name, {key for key, group in groups.items() if group == name}) for name in names
    ]


def _subset(analysis: Analysis, name: str, videos: set[VideoId]) -> Subset:
    num_tracks = sum(not track.is_crowd for video_id in videos for track in analysis.truth.tracks[video_id])
    metrics = _in_percent(summarize(analysis.evaluation.curves(videos), YOUTUBE_VIS))
    return Subset(name, len(videos), num_tracks, metrics)


def _in_percent(fractions: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * fractions[name] if fractions[name] >= 0 else -1.0 for name in METRICS}
