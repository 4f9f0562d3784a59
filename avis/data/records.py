"""The AVISeg format on disk: annotations in JSON as YouTube-VIS has them, frames as pictures, sound as WAV.

    <folder>/<split>.json
    <folder>/<split>/JPEGImages/<video>/<frame>.jpg
    <folder>/<split>/WAVAudios/<video>.wav         optional: without it the video is silent
    <folder>/<split>/FEATAudios/<video>.npy        optional: (T, channels) audio features

Dimensions: T frames of a video.
"""

import json
import logging
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from detectron2.data import DatasetCatalog, MetadataCatalog

from avis.formats.format_check import format_problems

logger = logging.getLogger(__name__)

# Problems that one error message lists.
_PROBLEMS_SHOWN = 5


def load_aviseg_json(json_file: str | Path, root: str | Path | None = None) -> list[dict]:
    """Read a split in the AVISeg format.

    Args:
        json_file: the annotations.
        root: folder of JPEGImages, WAVAudios and FEATAudios; by default `json_file` without its suffix.

    Returns:
        One record a video: "video_id", "height", "width", "length" (T), "file_names" (T absolute paths),
        "audio_file" and "audio_features_file" (None where there is none), and "annotations", each with "id",
        "category_id" (contiguous, 0 … K-1 in the order of the ids), "iscrowd", "segmentations" (T, None where
        the object is silent), and "areas" and "bboxes" (T, or None where the file has none).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no JSON, violates the format, or holds no video; the message names it all.
    """
    return _records(read_aviseg_json(json_file), Path(json_file), root)


def register_aviseg(name: str, json_file: str | Path) -> None:
    """Make a split known to Detectron2's catalogs; its file is read when its records are asked for."""
    DatasetCatalog.register(name, partial(_load_registered, name, json_file))
    MetadataCatalog.get(name).set(json_file=str(json_file), evaluator_type="avis")


def describe_categories(name: str, content: dict) -> None:
    """Put the category names and ids of a split into its metadata."""
    categories = sorted(content["categories"], key=lambda category: category["id"])
    MetadataCatalog.get(name).set(
        thing_classes=[category["name"] for category in categories],
        thing_dataset_id_to_contiguous_id=contiguous_ids(content),
    )


def contiguous_ids(content: dict) -> dict[int, int]:
    """The class index 0 … K-1 of each category id, in the order of the ids."""
    return {
        id: index for index, id in enumerate(sorted(category["id"] for category in content["categories"]))
    }


def read_aviseg_json(json_file: str | Path) -> dict:
    """Read the annotations of a split and check their format.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no JSON, violates the format, or holds no video; the message names it all.
    """
    content = parse_json(json_file)
    problems = list(islice(format_problems(content), _PROBLEMS_SHOWN + 1))
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:_PROBLEMS_SHOWN])
        more = "\n  …" if len(problems) > _PROBLEMS_SHOWN else ""
        raise ValueError(
            f"{json_file} is not in the AVISeg format:\n{shown}{more}\n"
            f"`python tools/validate_dataset.py --json {json_file}` lists all problems"
        )
    return content


def parse_json(json_file: str | Path) -> object:
    """Parse a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON.
    """
    path = Path(json_file)
    if not path.is_file():
        raise FileNotFoundError(
            f"no annotations at {path.absolute()}. datasets/README.md says how to get AVISeg and what "
            "$DETECTRON2_DATASETS does; tools/make_synthetic.py makes a synthetic data set"
        )
    try:
        return json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON, perhaps cut off: {error}") from error


def video_name(video: dict) -> str:
    """The folder of a video's frames below JPEGImages, which also names its sound."""
    return PurePosixPath(video["file_names"][0]).parent.as_posix()


def _load_registered(name: str, json_file: str | Path) -> list[dict]:
    content = read_aviseg_json(json_file)
    describe_categories(name, content)
    return _records(content, Path(json_file), None)


def _records(content: dict, json_file: Path, root: str | Path | None) -> list[dict]:
    split = Path(root) if root is not None else json_file.with_suffix("")
    category_index = contiguous_ids(content)
    annotations = {video["id"]: [] for video in content["videos"]}
    for annotation in content.get("annotations") or []:
        annotations[annotation["video_id"]].append(_annotation(annotation, category_index))
    records = [_record(video, split.absolute(), annotations[video["id"]]) for video in content["videos"]]
    _warn_about_silence(records, json_file, split)
    return records


def _record(video: dict, split: Path, annotations: list[dict]) -> dict:
    name = video_name(video)
    return {
        "video_id": video["id"],
        "height": video["height"],
        "width": video["width"],
        "length": len(video["file_names"]),
        "file_names": [f"{split}/JPEGImages/{file_name}" for file_name in video["file_names"]],
        "audio_file": _existing(split / "WAVAudios" / f"{name}.wav"),
        "audio_features_file": _existing(split / "FEATAudios" / f"{name}.npy"),
        "annotations": annotations,
    }


def _annotation(annotation: dict, category_index: dict[int, int]) -> dict:
    return {
        "id": annotation["id"],
        "category_id": category_index[annotation["category_id"]],
        "iscrowd": annotation.get("iscrowd", 0),
        "segmentations": [mask or None for mask in annotation["segmentations"]],
        "areas": annotation.get("areas"),
        "bboxes": annotation.get("bboxes"),
    }


def _existing(path: Path) -> str | None:
    return str(path) if path.is_file() else None


def _warn_about_silence(records: list[dict], json_file: Path, split: Path) -> None:
    silent = [record for record in records if not (record["audio_file"] or record["audio_features_file"])]
    if silent:
        logger.warning(
            "%s: %d of %d videos have no sound in %s or FEATAudios and count as silent, the first is %r",
            json_file, len(silent), len(records), split / "WAVAudios", silent[0]["video_id"],
        )  # fmt: skip
