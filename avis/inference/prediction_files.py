"""The files of a prediction: the overlay, the readable JSON, and what other programs read.

The JSON says what made it. Results, table and masks are made of the JSON, and are as old as it.

Dimensions: H×W the video's size.
"""

import csv
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from avis.files import fit_name, replacing, replacing_folder, write_json
from avis.formats.results import MASKS_SUFFIX, RESULTS_SUFFIX
from avis.inference.prediction_json import prediction_from_json
from avis.media.origin import Origin, check_replaceable, read_origin
from avis.structures import VideoPrediction
from avis.visualization.drawing import track_color

TABLE_COLUMNS = (
    "video", "track", "category_id", "category", "score", "frame", "start", "end", "x", "y", "width",
    "height", "area",
)  # fmt: skip
# A PNG with a palette holds so many colours, of which one is the background's.
_MAX_TRACKS = 255


@dataclass(frozen=True)
class PredictionFiles:
    """Where the files of a prediction are.

    Attributes:
        video: the overlay, <folder>/<name>.mp4, beside which the others lie.
    """

    video: Path

    @property
    def json(self) -> Path:
        """The readable JSON."""
        return self.video.with_suffix(".json")

    @property
    def masks(self) -> Path:
        """The folder of the masks as pictures."""
        return self.video.with_name(fit_name(self.video.stem, MASKS_SUFFIX))

    def of(self, kind: str) -> Path:
        """The results, "coco", or the table, "csv"."""
        suffix = {"coco": RESULTS_SUFFIX, "csv": ".csv"}[kind]
        return self.video.with_name(fit_name(self.video.stem, suffix))

    def check_replaceable(self, program: str, input: str, overwrite: bool) -> None:
        """Make sure that nothing is there but what a program made of an input; see `check_replaceable`."""
        for path in (self.video, self.json):
            check_replaceable(path, program, input, overwrite)
        others = [path for path in (self.of("coco"), self.of("csv"), self.masks) if path.exists()]
        if others and read_origin(self.json) is None and not overwrite:
            raise FileExistsError(
                f"{others[0]} does not belong to a prediction, as there is no {self.json.name} of {program} "
                "beside it: choose another --output, or give --overwrite to replace it"
            )

    def write_json(self, content: dict, origin: Origin) -> None:
        """Write the readable JSON; what was made of an earlier one goes."""
        for kind in ("coco", "csv"):
            self.of(kind).unlink(missing_ok=True)
        if self.masks.exists():
            shutil.rmtree(self.masks)
        write_json(self.json, origin.to_json() | content)

    def write_others(self, content: dict, formats: tuple[str, ...], save_masks: bool) -> None:
        """Write what is asked for beside the JSON, of its content, unless it is there."""
        if "coco" in formats and not self.of("coco").exists():
            write_json(self.of("coco"), to_results(content))
        if "csv" in formats and not self.of("csv").exists():
            with replacing(self.of("csv")) as unfinished:
                unfinished.write_text(to_table(content), encoding="utf-8", errors="surrogateescape")
        if save_masks and not self.masks.exists():
            write_masks(self.masks, prediction_from_json(content))


def to_results(content: dict) -> list[dict]:
    """The tracks of a readable JSON in the results format of YouTube-VIS; a video's name is its id."""
    return [
        {
            "video_id": content["video"]["name"],
            "score": track["score"],
            "category_id": track["category_id"],
            "segmentations": track["segmentations"],
        }
        for track in content["tracks"]
    ]


def to_table(content: dict) -> str:
    """The tracks of a readable JSON as CSV: a row for each track and predicted frame in which it sounds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TABLE_COLUMNS)
    writer.writerows(_table_rows(content))
    return text.getvalue()


def write_masks(folder: Path, prediction: VideoPrediction) -> None:
    """Write a PNG of indexed colours for each predicted frame: 0 is the background, n is track n.

    Where tracks overlap, the one with the better score is seen, as in the overlay.

    Args:
        folder: gets 00000.png, 00001.png, … It appears only when it is complete.
        prediction: its tracks are numbered from 1, best first.

    Raises:
        ValueError: there are more tracks than a palette has colours.
    """
    if len(prediction.tracks) > _MAX_TRACKS:
        raise ValueError(
            f"{folder}: {len(prediction.tracks)} tracks do not fit in a picture of indexed colours, which "
            f"holds {_MAX_TRACKS}: raise --score-threshold or lower MODEL.MASK_FORMER.TEST.TOPK"
        )
    palette = [0, 0, 0, *(value for index in range(_MAX_TRACKS) for value in track_color(index))]
    with replacing_folder(folder) as unfinished:
        for t in range(prediction.length):
            image = Image.fromarray(number_map(prediction, t), mode="P")
            image.putpalette(palette)
            image.save(unfinished / f"{t:05d}.png")


def number_map(prediction: VideoPrediction, t: int) -> np.ndarray:
    """Which track is seen where in predicted frame t, uint8 (H, W), counted from 1; 0 is none."""
    numbers = np.zeros((prediction.height, prediction.width), np.uint8)
    order = sorted(range(len(prediction.tracks)), key=lambda index: prediction.tracks[index].score)
    for index in order:
        mask = prediction.tracks[index].segmentations[t]
        if mask is not None:
            numbers[coco_mask.decode(mask) > 0] = index + 1
    return numbers


def _table_rows(content: dict) -> Iterator[list]:
    times = content["frame_times"]
    step = 1 / content["video"]["fps"]
    for track in content["tracks"]:
        about = [track[key] for key in ("number", "category_id", "category", "score")]
        for t, mask in enumerate(track["segmentations"]):
            if mask is not None:
                box = [round(value) for value in coco_mask.toBbox(mask).tolist()]
                when = [t, times[t], times[t] + step]
                yield [content["video"]["name"], *about, *when, *box, int(coco_mask.area(mask))]
