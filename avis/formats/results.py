"""Predictions, from files or parsed JSON, checked down to the last run of the last mask.

Of a file of predictions only an index is kept in memory: a video's masks are parsed when its tracks are asked
for. Predictions for an unknown video or category are an error: they are a mistake in all likelihood.

Dimensions: T frames of a video.
"""

import math
import mmap
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from os import PathLike
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import msgspec

from avis.files import JsonSource, read_source
from avis.formats.format_check import is_finite_number
from avis.formats.masks import UNREADABLE, read_masks
from avis.formats.tracks import GroundTruth, PredictedTrack, Video, VideoId, mean_area

PREDICTION_KEYS = ("video_id", "score", "category_id", "segmentations")
# What tools/predict.py writes of a video beside its readable JSON: the same tracks as a list.
RESULTS_SUFFIX = ".coco.json"
# The end of the name of the folder in which it writes the masks as pictures.
MASKS_SUFFIX = "_masks"
# What an evaluation writes to its folder.
RESULTS, METRICS = EVALUATION_FILES = ("results.json", "metrics.json")


class _Entry(msgspec.Struct, gc=False):
    """An entry of a results file, unchecked and with its masks left as text; what is missing is UNSET."""

    video_id: Any = msgspec.UNSET
    score: Any = msgspec.UNSET
    category_id: Any = msgspec.UNSET
    segmentations: msgspec.Raw = msgspec.UNSET


class _PredictionIndex(NamedTuple):
    """A prediction but for its masks."""

    name: str
    category_id: int
    score: float
    segmentations: Any


class Predictions(Mapping[VideoId, list[PredictedTrack]]):
    """The predicted tracks of every video of a data set, in the order of the file.

    A video's masks are parsed and checked each time that it is asked for, and not kept.
    """

    def __init__(
        self,
        videos: Mapping[VideoId, Video],
        index: Mapping[VideoId, list[_PredictionIndex]],
        named: Collection[VideoId],
    ) -> None:
        """Keep the tracks of `videos`, and for which of them the source has any, be they left out."""
        self._videos, self._index, self._named = videos, index, named

    def __getitem__(self, video_id: VideoId) -> list[PredictedTrack]:
        """Read the tracks of a video.

        Raises:
            KeyError: there is no such video.
            ValueError: a mask is malformed; the message names the file, the entry and the problem.
        """
        video, entries = self._videos[video_id], self._index.get(video_id, ())
        names = [f"{entry.name}: video {video_id!r}" for entry in entries]
        tracks = read_masks([entry.segmentations for entry in entries], names, video)
        return [
            PredictedTrack(entry.category_id, *masks, mean_area(masks.areas.tolist()), entry.score)
            for entry, masks in zip(entries, tracks, strict=True)
        ]

    @property
    def num_masks(self) -> int:
        """How many masks the tracks have, empty ones included."""
        return sum(len(entries) * self._videos[video_id].length for video_id, entries in self._index.items())

    @property
    def without_tracks(self) -> list[VideoId]:
        """The videos for which the source has no track, whatever its score."""
        return [video_id for video_id in self._videos if video_id not in self._named]

    def __iter__(self) -> Iterator[VideoId]:
        return iter(self._videos)

    def __len__(self) -> int:
        return len(self._videos)


def load_predictions(source: JsonSource, truth: GroundTruth, min_score: float = -math.inf) -> Predictions:
    """Load predictions in the results format of YouTube-VIS.

    Args:
        source: the path of a JSON file, which must stay while the predictions are in use, or its parsed
            content: a list of objects with "video_id", "score", "category_id" and "segmentations" (T masks,
            null where empty). Or the folder that an evaluation has written it to. Or what tools/predict.py
            has written of a video, or the folder of several: it names videos and categories, which are
            looked up by name. So is a "video_id" that is a name and no id.
        truth: what the predictions are for; their categories do not matter if its do not.
        min_score: leave out tracks that do not score more.

    Returns:
        The tracks of every video of `truth`. Masks are checked when a video is asked for.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is malformed; the message names the file, the index of the entry and the problem.
    """
    index, named = defaultdict(list), set()
    for where, entry in _read_named_entries(source, truth):
        if problem := _entry_problem(entry, truth):
            raise ValueError(f"{where}: {problem}")
        named.add(entry.video_id)
        if entry.score > min_score:
            category_id = _only_category(truth) if truth.class_agnostic else entry.category_id
            prediction = _PredictionIndex(where, category_id, float(entry.score), entry.segmentations)
            index[entry.video_id].append(prediction)
    return Predictions(truth.videos, dict(index), named)


def _read_named_entries(source: JsonSource, truth: GroundTruth) -> Iterator[tuple[str, _Entry]]:
    """The entries of a source, each with what to call it in messages."""
    if isinstance(source, str | PathLike) and Path(source).is_dir():
        if all((Path(source) / name).is_file() for name in EVALUATION_FILES):
            yield from _read_named_entries(Path(source) / RESULTS, truth)
            return
        files = sorted(file for file in Path(source).rglob("*.json") if not _is_written_twice(file))
        if not files:
            raise FileNotFoundError(f"{source}: the folder has no predictions (*.json)")
        seen: dict[VideoId, Path] = {}
        for file in files:
            for where, entry in _read_named_entries(file, truth):
                if seen.setdefault(entry.video_id, file) != file:
                    raise ValueError(f"{file} and {seen[entry.video_id]} are of one video: leave one")
                yield where, entry
        return
    name, entries = _read_entries(source, truth)
    for number, entry in enumerate(entries):
        if isinstance(entry.video_id, str) and entry.video_id not in truth.videos:
            named = _videos_called(entry.video_id, truth)
            entry.video_id = named[0] if len(named) == 1 else entry.video_id
        yield f"{name}: entry {number}", entry


def _is_written_twice(file: Path) -> bool:
    """Whether a file is a list of tracks beside the readable JSON of the same."""
    stem = file.name.removesuffix(RESULTS_SUFFIX)
    return stem != file.name and file.with_name(f"{stem}.json").is_file()


def _videos_called(name: str, truth: GroundTruth) -> list[VideoId]:
    """The ids of the videos of a name, which may be the last part of the whole name."""
    return [key for key, known in truth.videos.items() if name in (known.name, PurePath(known.name).name)]


def _read_entries(source: JsonSource, truth: GroundTruth) -> tuple[str, list[_Entry]]:
    """What to call the source in messages, and its entries."""
    if isinstance(source, str | PathLike):
        try:
            return str(source), _index_file(Path(source))
        except (*UNREADABLE, FileNotFoundError, ValueError):
            pass  # The standard library reads some more, as NaN, and all that it reads is explained below.
    name, content = read_source(source, "predictions")
    if isinstance(content, dict) and {"video", "tracks"} <= content.keys():
        content = _results_of_video(content, name, truth)
    if not isinstance(content, list):
        raise ValueError(f"{name}: predictions are a list of tracks, this is a {type(content).__name__}")
    return name, [_to_entry(value, f"{name}: entry {number}") for number, value in enumerate(content)]


def _results_of_video(content: dict, name: str, truth: GroundTruth) -> list[dict]:
    """The entries of a prediction of one video, as tools/predict.py writes it."""
    try:
        video, tracks = content["video"]["name"], content["tracks"]
        found = [(track["category"], track["score"], track["segmentations"]) for track in tracks]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name}: it is not what tools/predict.py writes: {error!r}") from error
    named = _videos_called(video, truth)
    if len(named) != 1:
        raise ValueError(f"{name}: {len(named)} videos of the ground truth are called {video!r}")
    length, wanted = content["video"].get("num_frames"), truth.videos[named[0]].length
    if length not in (None, wanted):
        raise ValueError(
            f"{name}: {length} frames of {video!r} were predicted, and {wanted} are annotated: predict the "
            "whole folder of its frames"
        )
    ids = {category: category_id for category_id, category in truth.categories.items()}
    if truth.class_agnostic:
        ids = {category: _only_category(truth) for category, _, _ in found}
    if unknown := sorted({category for category, _, _ in found} - ids.keys()):
        raise ValueError(f"{name}: the categories {unknown} are not in the ground truth")
    return [
        {"video_id": named[0], "score": score, "category_id": ids[category], "segmentations": masks}
        for category, score, masks in found
    ]


def _index_file(path: Path) -> list[_Entry]:
    """The entries of a file, whose masks stay in the file until they are parsed."""
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return msgspec.json.decode(content, type=list[_Entry])


def _to_entry(value: Any, where: str) -> _Entry:
    if not isinstance(value, dict):
        raise ValueError(
            f"{where}: a track is an object with {', '.join(PREDICTION_KEYS)}, this is {value!r:.80}"
        )
    return _Entry(**{key: value[key] for key in PREDICTION_KEYS if key in value})


def _entry_problem(entry: _Entry, truth: GroundTruth) -> str | None:
    for key in PREDICTION_KEYS:
        if getattr(entry, key) is msgspec.UNSET:
            return f"the key {key!r} is missing"
    if not _is_among(entry.video_id, truth.videos):
        return f"video {entry.video_id!r:.80} is not in the ground truth"
    if not (truth.class_agnostic or _is_among(entry.category_id, truth.categories)):
        return f"category {entry.category_id!r:.80} is not among {list(truth.categories)}"
    if not is_finite_number(entry.score):
        return f"score is {entry.score!r:.80}, not a finite number"
    return None


def _only_category(truth: GroundTruth) -> int:
    return next(iter(truth.categories))


def _is_among(id: Any, known: dict) -> bool:
    return isinstance(id, int | str) and not isinstance(id, bool) and id in known
