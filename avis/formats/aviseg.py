"""The AVISeg format on disk: annotations in JSON as YouTube-VIS has them, frames as pictures, sound as WAV.

    <folder>/<split>.json
    <folder>/<split>/JPEGImages/<video>/<frame>.jpg
    <folder>/<split>/WAVAudios/<video>.wav         optional: without it the video is silent
    <folder>/<split>/FEATAudios/<video>.npy        optional: audio features, one row a frame
    <folder>/<split>/WAVAudios_sep/<video>/source_01.wav …    optional: the separated sources of the sound
    <folder>/<split>/FEATAudios_sep/<video>/source_01.npy …   optional: their features

Dimensions: T frames of a video.
"""

from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

from avis.files import JsonSource, read_source
from avis.formats.foreign import foreign_format, foreign_text
from avis.formats.format_check import format_problems
from avis.formats.tracks import Video, VideoId

FRAMES, SOUNDS, FEATURES = "JPEGImages", "WAVAudios", "FEATAudios"
SOURCES = "WAVAudios_sep"

# Problems that one error message lists.
_PROBLEMS_SHOWN = 5


@dataclass(frozen=True)
class Annotations:
    """The annotations of a split, in the right format; the runs of the masks are not checked.

    Attributes:
        source: what messages call the file.
        categories: name of each category by its id, in the order of the ids.
        videos: in the order of the file.
        entries: the annotations of each video by its id, as the file has them and in its order.
    """

    source: str
    categories: dict[int, str]
    videos: list[Video]
    entries: dict[VideoId, list[dict[str, Any]]]


def read_annotations(source: JsonSource) -> Annotations:
    """Read the annotations of a split and check their format.

    Args:
        source: the path of the JSON file, or its parsed content.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, violates the format, or holds no video; the message names it all.
    """
    return check_read(source, *parse_annotations(source))


def check_read(source: JsonSource, name: str, content: Any) -> Annotations:
    """Check what `parse_annotations` has given for a source; see `read_annotations`."""
    has_file = isinstance(source, str | PathLike) and not foreign_format(content)
    return check_annotations(name, content, _how_to_list_all(name) if has_file else "")


def check_annotations(name: str, content: Any, hint: str = "") -> Annotations:
    """Check the format of parsed annotations.

    Args:
        name: what messages call them.
        content: of the JSON file.
        hint: what messages end with.

    Raises:
        ValueError: they violate the format, or hold no video; the message names it all.
    """
    if problems := list(islice(format_problems(content), _PROBLEMS_SHOWN + 1)):
        raise ValueError(f"{name}: {_list(problems)}{hint}")
    entries: dict[VideoId, list[dict]] = {video["id"]: [] for video in content["videos"]}
    for annotation in content.get("annotations") or []:
        entries[annotation["video_id"]].append(annotation)
    categories = {category["id"]: category["name"] for category in content["categories"]}
    videos = [_video(video) for video in content["videos"]]
    return Annotations(name, dict(sorted(categories.items())), videos, entries)


def parse_annotations(source: JsonSource) -> tuple[str, Any]:
    """Parse the annotations of a split without a look at their format.

    Returns:
        What messages call them, and the content.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, be it annotations in another format.
    """
    if isinstance(source, str | PathLike) and not Path(source).is_file():
        raise FileNotFoundError(
            f"no annotations at {Path(source).absolute()}. datasets/README.md says how to get AVISeg and "
            "what $DETECTRON2_DATASETS does; tools/make_synthetic.py makes a synthetic data set"
        )
    try:
        return read_source(source, "ground truth")
    except ValueError as error:
        raise ValueError(foreign_text(source) or str(error)) from error


def split_folder(json_file: str | Path) -> Path:
    """The folder of a split's frames, sound and features, given its annotations."""
    return Path(json_file).with_suffix("")


def frame_file(split: Path, file_name: str) -> Path:
    """The picture of a frame that annotations call `file_name`, in the folder of a split."""
    return split / FRAMES / file_name


def sound_file(split: Path, video: str) -> Path:
    """The WAV of a video by its name, in the folder of a split."""
    return split / SOUNDS / f"{video}.wav"


def sources_folder(split: Path, video: str) -> Path:
    """The folder with the WAVs of the separated sources of a video by its name, in the folder of a split."""
    return split / SOURCES / video


def features_file(split: Path, video: str, folder: str = FEATURES) -> Path:
    """The audio features of a video by its name, in the folder of a split.

    Args:
        split: the folder of the split.
        video: the name of the video.
        folder: that of the features, in the split's.

    Raises:
        ValueError: `folder` leads out of the split's.
    """
    if not folder or Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise ValueError(f"INPUT.AUDIO.FEATURES_DIR is {folder!r}, not a folder beside {FRAMES}")
    return split / folder / f"{video}.npy"


def features_folder(file: Path) -> Path:
    """The folder of features by source, which may stand in place of a file of all."""
    return file.with_name(file.name.removesuffix(".npy"))


def _video(video: dict) -> Video:
    # Some programs write the separators of Windows.
    file_names = [name.replace("\\", "/") for name in video["file_names"]]
    keys = ("id", "height", "width")
    return Video(
        *(video[key] for key in keys), file_names, scenario=video.get("scenario"), start=video.get("start")
    )


def _list(problems: list[str]) -> str:
    """The first problems, a line each."""
    shown = "\n  ".join(problems[:_PROBLEMS_SHOWN])
    return f"{shown}\n  …" if len(problems) > _PROBLEMS_SHOWN else shown


def _how_to_list_all(json_file: str) -> str:
    return f"\n`python tools/validate_dataset.py --json {json_file}` lists all problems"
