"""What data sets in the AVISeg format hold: how many videos, objects and masks, and what sounds with what.

Dimensions: V videos, T frames of one, N tracks of one, K categories, S scenarios.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from avis.formats.ground_truth import load_ground_truth
from avis.formats.tracks import GroundTruth, Video, class_indices

NO_SCENARIO = "not given"


@dataclass(frozen=True)
class VideoContent:
    """What is annotated in one video.

    Attributes:
        split: the data set that the video belongs to.
        scenario: as the annotations name it, or NO_SCENARIO.
        pixels: of a frame.
        categories: index of the category of each track, int (N,).
        areas: pixels of each mask, 0 where there is none, int (T, N).
    """

    split: str
    scenario: str
    pixels: int
    categories: np.ndarray
    areas: np.ndarray

    @property
    def sources(self) -> np.ndarray:
        """How many tracks sound in view in each frame, int (T,)."""
        return (self.areas > 0).sum(axis=1)

    @property
    def sounding_categories(self) -> np.ndarray:
        """Indices of the categories that have a mask, ascending."""
        return np.unique(self.categories[(self.areas > 0).any(axis=0)])


@dataclass(frozen=True)
class DatasetStatistics:
    """Statistics of the videos of one or several splits with the same categories.

    Attributes:
        categories: names of the K categories, by index.
        videos: all videos.
    """

    categories: tuple[str, ...]
    videos: tuple[VideoContent, ...]

    def of_split(self, split: str) -> "DatasetStatistics":
        """The statistics of one split."""
        return DatasetStatistics(
            self.categories, tuple(video for video in self.videos if video.split == split)
        )

    @property
    def splits(self) -> list[str]:
        """The splits, in the order in which they were read."""
        return list(dict.fromkeys(video.split for video in self.videos))

    @property
    def scenarios(self) -> list[str]:
        """The S scenarios, those with most videos first; empty if no video has one."""
        names = [video.scenario for video in self.videos]
        if set(names) <= {NO_SCENARIO}:
            return []
        return sorted(set(names), key=lambda name: (name == NO_SCENARIO, -names.count(name), name))

    @cached_property
    def occurrence(self) -> np.ndarray:
        """Whether a category sounds in view in a video, bool (V, K)."""
        occurs = np.zeros((len(self.videos), len(self.categories)), bool)
        for row, video in zip(occurs, self.videos, strict=True):
            row[video.sounding_categories] = True
        return occurs

    @property
    def videos_by_category(self) -> np.ndarray:
        """Videos in which each category sounds in view, int (K,)."""
        return self.occurrence.sum(axis=0)

    @property
    def videos_by_category_and_scenario(self) -> np.ndarray:
        """Videos of each scenario in which each category sounds in view, int (K, S)."""
        scenarios = np.array([video.scenario for video in self.videos], object)
        columns = [self.occurrence[scenarios == name].sum(axis=0) for name in self.scenarios]
        return np.stack(columns, axis=1) if columns else np.zeros((len(self.categories), 0), int)

    @property
    def videos_by_pair(self) -> np.ndarray:
        """Videos in which each two categories sound in view, not necessarily at once, int (K, K)."""
        occurs = self.occurrence.astype(int)
        return occurs.T @ occurs

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each video, int (V,)."""
        return np.array([len(video.areas) for video in self.videos], int)

    @property
    def num_tracks(self) -> np.ndarray:
        """Annotated objects of each video, int (V,)."""
        return np.array([len(video.categories) for video in self.videos], int)

    @property
    def sources(self) -> np.ndarray:
        """How many tracks sound in view in each frame of all videos, int."""
        return np.concatenate([np.zeros(0, int), *(video.sources for video in self.videos)])

    @property
    def sounding_shares(self) -> np.ndarray:
        """The share of its video's frames in which each track sounds in view."""
        return np.concatenate([np.zeros(0), *((video.areas > 0).mean(axis=0) for video in self.videos)])

    @property
    def mask_shares(self) -> np.ndarray:
        """The share of the frame that each mask covers."""
        shares = ((video.areas / video.pixels)[video.areas > 0] for video in self.videos)
        return np.concatenate([np.zeros(0), *shares])

    @property
    def has_same_category_twice(self) -> np.ndarray:
        """Whether two tracks of a video are of one category, bool (V,)."""
        return np.array([len(set(v.categories.tolist())) < len(v.categories) for v in self.videos], bool)

    def summary(self) -> dict[str, float]:
        """The statistics as single numbers, by what they are; NaN where there is nothing to average."""
        sources = self.sources
        return {
            "videos": len(self.videos),
            "frames": int(self.lengths.sum()),
            "tracks": int(self.num_tracks.sum()),
            "masks": len(self.mask_shares),
            "categories": int((self.videos_by_category > 0).sum()),
            "frames a video": _mean(self.lengths),
            "tracks a video": _mean(self.num_tracks),
            "% of videos with two tracks of a category": 100 * _mean(self.has_same_category_twice),
            "% of videos in which nothing sounds": 100 * _mean(~self.occurrence.any(axis=1)),
            "% of frames without a source": 100 * _mean(sources == 0),
            "% of frames with one source": 100 * _mean(sources == 1),
            "% of frames with several sources": 100 * _mean(sources > 1),
            "% of the frames in which a track sounds": 100 * _mean(self.sounding_shares),
            "% of a frame that a mask covers": 100 * _mean(self.mask_shares),
        }


def read_statistics(json_files: Sequence[str | Path]) -> DatasetStatistics:
    """Read what the annotation files of one or several splits hold; no other file is opened.

    Splits are named as the files are, with as much of the folder as tells them apart.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file violates the format, or the files have other categories than the first.
    """
    names = _short_names([Path(json_file) for json_file in json_files])
    truths = [load_ground_truth(json_file) for json_file in json_files]
    categories = tuple(truths[0].categories.values())
    for truth in truths:
        if tuple(truth.categories.values()) != categories:
            raise ValueError(
                f"{truth.source} has other categories than {truths[0].source}: look at each by itself"
            )
    videos = [
        _content(truth, video, name)
        for truth, name in zip(truths, names, strict=True)
        for video in truth.videos.values()
    ]
    return DatasetStatistics(categories, tuple(videos))


def _short_names(paths: list[Path]) -> list[str]:
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [path.with_suffix("").as_posix() for path in paths]
    if len(set(names)) < len(names):
        raise ValueError(f"a file is given twice: {', '.join(names)}")
    return names


def _content(truth: GroundTruth, video: Video, split: str) -> VideoContent:
    tracks, indices = truth.tracks[video.id], class_indices(truth.categories)
    areas = np.array([track.areas for track in tracks], np.int64).reshape(len(tracks), video.length)
    return VideoContent(
        split=split,
        scenario=str(video.scenario or NO_SCENARIO),
        pixels=video.height * video.width,
        categories=np.array([indices[track.category_id] for track in tracks], int),
        areas=areas.T,
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
