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
from avis.files import read_json
from avis.formats.results import JsonSource
from avis.formats.tracks import VideoId

METRICS = ("AP", "AP50", "AP75", "AR1", "AR10")
# Frames from which on a video is in each part.
LENGTHS = {"short (up to 15)": 1, "medium (16 to 60)": 16, "long (more than 60)": 61}
# Videos with as many or more sources are one part.
MANY_SOURCES = 4


@dataclass(frozen=True)
class Part:
    """One part of a data set.

    Attributes:
        name: what its videos or tracks have in common.
        num_videos: videos in it; by category, videos with the category.
        num_tracks: ground-truth tracks in it, without crowds.
        metrics: the METRICS in percent, -1 where undefined.
    """

    name: str
    num_videos: int
    num_tracks: int
    metrics: dict[str, float]


def break_down(analysis: Analysis, scenarios: Mapping[VideoId, str] | None = None) -> dict[str, list[Part]]:
    """Score the parts of a data set.

    Args:
        analysis: of all videos.
        scenarios: of the videos that have one; see `read_scenarios`.

    Returns:
        The parts by category, by scenario (unless there are none), by sources and by length.
    """
    videos = analysis.truth.videos
    lengths = {video_id: _length_name(video.length) for video_id, video in videos.items()}
    sources = {video_id: _sources_name(found.num_sources) for video_id, found in analysis.findings.items()}
    breakdown = {"category": _by_category(analysis)}
    if scenarios:
        named = {video_id: scenarios.get(video_id, "not given") for video_id in videos}
        breakdown["scenario"] = _by_videos(analysis, named, sorted(set(named.values())))
    breakdown["sources"] = _by_videos(analysis, sources, sorted(set(sources.values())))
    breakdown["length"] = _by_videos(
        analysis, lengths, [name for name in LENGTHS if name in lengths.values()]
    )
    return breakdown


def read_scenarios(ground_truth: JsonSource) -> dict[VideoId, str]:
    """The scenario of each video that has one.

    Args:
        ground_truth: path or parsed content of annotations in the AVISeg format, known to be valid.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a scenario is not a text.
    """
    content = ground_truth if isinstance(ground_truth, dict) else read_json(ground_truth)
    scenarios = {
        video["id"]: video["scenario"] for video in content["videos"] if video.get("scenario") is not None
    }
    for video_id, scenario in scenarios.items():
        if not isinstance(scenario, str):
            name = "ground truth" if isinstance(ground_truth, dict) else ground_truth
            raise ValueError(f"{name}: video {video_id!r}: scenario is {scenario!r}, not a text")
    return scenarios


def _length_name(length: int) -> str:
    return [name for name, least in LENGTHS.items() if length >= least][-1]


def _sources_name(number: int) -> str:
    return str(number) if number < MANY_SOURCES else f"{MANY_SOURCES} or more"


def _by_category(analysis: Analysis) -> list[Part]:
    curves = analysis.evaluation.curves()
    parts = []
    for category_id, name in analysis.truth.categories.items():
        counts = [
            sum(track.category_id == category_id and not track.is_crowd for track in tracks)
            for tracks in analysis.truth.tracks.values()
        ]
        metrics = _in_percent(summarize({name: curves[name]}, YOUTUBE_VIS))
        parts.append(Part(name, sum(count > 0 for count in counts), sum(counts), metrics))
    return parts


def _by_videos(analysis: Analysis, groups: Mapping[VideoId, str], names: list[str]) -> list[Part]:
    return [_part(analysis, name, {key for key, group in groups.items() if group == name}) for name in names]


def _part(analysis: Analysis, name: str, videos: set[VideoId]) -> Part:
    num_tracks = sum(not track.is_crowd for video_id in videos for track in analysis.truth.tracks[video_id])
    metrics = _in_percent(summarize(analysis.evaluation.curves(videos), YOUTUBE_VIS))
    return Part(name, len(videos), num_tracks, metrics)


def _in_percent(fractions: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * fractions[name] if fractions[name] >= 0 else -1.0 for name in METRICS}
