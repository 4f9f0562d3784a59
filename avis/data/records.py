"""Records of videos, as training and inference take them, from annotations in the AVISeg format.

Dimensions: T frames of a video.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from avis.files import is_file
from avis.formats.annotated_masks import nullify, read_annotated_masks
from avis.formats.audio_features import has_features
from avis.formats.aviseg import (
    FEATURES,
    SOUNDS,
    Annotations,
    features_file,
    features_folder,
    frame_file,
    read_annotations,
    sound_file,
    split_folder,
)
from avis.formats.masks import MeasuredMasks
from avis.formats.tracks import Video, class_indices, videos_without_start

logger = logging.getLogger(__name__)


def load_aviseg_json(json_file: str | Path, root: str | Path | None = None) -> list[dict]:
    """Read a split in the AVISeg format.

    Args:
        json_file: the annotations.
        root: folder of JPEGImages, WAVAudios and FEATAudios; by default `json_file` without its suffix.

    Returns:
        One record a video: "video_id", "height", "width", "length" (T) and "file_names" (T absolute paths).
        "audio_file" and "audio_features_file" are None where there is none. Features by source are a folder.
        "sound_start" is the second of the sound at which frame 0 is. `with_features` finds other features by
        "split" and "name". Each of the "annotations" has "id", "category_id" (contiguous, 0 … K-1 in the
        order of the ids), "iscrowd", "segmentations" (T RLEs, None where the object is silent), and "areas"
        and "bboxes" (T, or None where the file has none).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no JSON, violates the format, holds no video, or a mask is malformed; the
            message names it all.
    """
    split = Path(root) if root is not None else split_folder(json_file)
    return make_records(read_annotations(json_file), split)


def make_records(annotations: Annotations, split: Path) -> list[dict]:
    """The records of a split, as `load_aviseg_json` gives them; `split` is the folder of its files."""
    indices = class_indices(annotations.categories)
    all_masks = read_annotated_masks(annotations)
    records = []
    for video in annotations.videos:
        pairs = zip(annotations.entries[video.id], all_masks[video.id], strict=True)
        entries = [_annotation(entry, masks, indices) for entry, masks in pairs]
        records.append({**video_record(video, split), "annotations": entries})
    _warn_about_silence(records, annotations.source, split)
    _warn_about_shared_sound(annotations)
    return records


def make_picture_records(annotations: Annotations) -> list[dict]:
    """The records of pictures without sound, whose masks stay as they are: see `WrittenMask`.

    Their "file_names" are missing, and so is "split", as nothing lies beside them.
    """
    indices = class_indices(annotations.categories)
    unknown = {"audio_file": None, "audio_features_file": None, "sound_start": 0.0, "length": 1}
    return [
        {
            **unknown,
            "video_id": video.id,
            "height": video.height,
            "width": video.width,
            "name": video.name,
            "annotations": [
                {**entry, "category_id": indices[entry["category_id"]], "areas": None, "bboxes": None}
                for entry in annotations.entries[video.id]
            ],
        }
        for video in annotations.videos
    ]


def video_record(video: Video, split: Path, features_dir: str = FEATURES) -> dict:
    """The record of a video but for its annotations.

    Args:
        video: the video.
        split: the folder of its files.
        features_dir: that of its features, in `split`.
    """
    split = split.absolute()
    record = {
        "video_id": video.id,
        "height": video.height,
        "width": video.width,
        "length": video.length,
        "file_names": [str(frame_file(split, file_name)) for file_name in video.file_names],
        "audio_file": _existing(sound_file(split, video.name)),
        "sound_start": float(video.start or 0),
        "split": str(split),
        "name": video.name,
    }
    return {**record, "audio_features_file": _features_of(record, features_dir)}


def with_features(records: list[dict], features_dir: str) -> list[dict]:
    """Let records take their features from another folder than FEATAudios.

    Args:
        records: of videos. Those that a program of yours has made, without a "split", stay as they are.
        features_dir: the folder's name beside JPEGImages, INPUT.AUDIO.FEATURES_DIR.

    Raises:
        ValueError: the name leads out of the data set.
    """
    if features_dir == FEATURES:
        return records
    return [
        {**record, "audio_features_file": _features_of(record, features_dir)} if "split" in record else record
        for record in records
    ]


def _features_of(record: dict, features_dir: str) -> str | None:
    """The file of a video's features, or if there is none their folder; none begin within the sound."""
    if record["sound_start"]:
        return None
    file = features_file(Path(record["split"]), record["name"], features_dir)
    return next((str(path) for path in (file, features_folder(file)) if has_features(path)), None)


def _annotation(entry: dict, masks: MeasuredMasks, indices: dict[int, int]) -> dict:
    return {
        "id": entry["id"],
        "category_id": indices[entry["category_id"]],
        "iscrowd": entry.get("iscrowd", 0),
        "segmentations": list(masks.masks),
        "areas": nullify(entry.get("areas"), masks),
        "bboxes": nullify(entry.get("bboxes"), masks),
    }


def _existing(path: Path) -> str | None:
    return str(path) if is_file(path) else None


def _warn_about_shared_sound(annotations: Annotations) -> None:
    folders = videos_without_start(annotations.videos)
    if folders:
        folder, videos = next(iter(folders.items()))
        logger.warning(
            '%s: %d folders are of several videos that do not all say where they "start" in its sound, and '
            "hear it from its begin on; the first is %r, of the videos %s",
            annotations.source, len(folders), folder, ", ".join(repr(video.id) for video in videos),
        )  # fmt: skip


def _warn_about_silence(records: Sequence[dict], source: str, split: Path) -> None:
    silent = [record for record in records if not (record["audio_file"] or record["audio_features_file"])]
    if silent:
        logger.warning(
            "%s: %d of %d videos have no sound in %s or %s and count as silent, the first is %r",
            source, len(silent), len(records), split / SOUNDS, FEATURES, silent[0]["video_id"],
        )  # fmt: skip
