"""A folder as AVTrack has it, written from the recorded videos (tests/recorded/metrics/avtrack.json)."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from tests.small_dataset import tones, write_wav

RECORDED = Path(__file__).parent / "recorded/metrics/avtrack.json"


@cache
def recorded() -> dict:
    """What was recorded: "height", "width" and "videos", each with "expected" numbers."""
    return json.loads(RECORDED.read_text())


def video_id(index: int) -> str:
    """Ids are texts here, in the order of the videos."""
    return f"v{index:02d}"


def write_avtrack(folder: Path, attributes: bool = True, pictures: bool = False) -> Path:
    """Write the recorded videos.

    Args:
        folder: of the data set.
        attributes: whether the file has them.
        pictures: whether there are frames and sound, too.

    Returns:
        The path of avtrack_meta.json.
    """
    content = {"videos": [], "annotations": []}
    for index, video in enumerate(recorded()["videos"]):
        names = [f"{video['name']}/{frame:05d}.jpg" for frame in range(video["length"])]
        size = {key: recorded()[key] for key in ("height", "width")}
        entry = {"id": video_id(index), **size, "file_names": names}
        content["videos"].append(entry | ({"attributes": video["attributes"]} if attributes else {}))
        content["annotations"].append({"video_id": video_id(index), "person": "person_0"})
        write_masks(folder, video)
        if pictures:
            _write_pictures(folder, video, names)
    meta = folder / "avtrack_meta.json"
    meta.write_text(json.dumps(content))
    return meta


def write_masks(folder: Path, video: Mapping) -> None:
    """Write the merged masks of the annotated frames of a video."""
    place = folder / "Instance_Masks_merged" / video["name"]
    place.mkdir(parents=True)
    for frame in video["frames"]:
        levels = np.zeros((recorded()["height"], recorded()["width"]), np.uint8)
        for level, masks in video["levels"].items():
            if masks[frame] is not None:
                levels[coco_mask.decode(masks[frame]) > 0] = int(level)
        Image.fromarray(levels).save(place / f"frame_{frame:05d}.png")


def results(category_id: int = 1) -> list[dict]:
    """The recorded predictions as a results file."""
    return [
        {"video_id": video_id(index), "category_id": category_id, **track}
        for index, video in enumerate(recorded()["videos"])
        for track in video["predictions"]
    ]


def _write_pictures(folder: Path, video: Mapping, names: list[str]) -> None:
    (folder / "Images" / video["name"]).mkdir(parents=True)
    grey = np.full((recorded()["height"], recorded()["width"], 3), 127, np.uint8)
    for name in names:
        Image.fromarray(grey).save(folder / "Images" / name)
    write_wav(folder / f"Audios/{video['name']}.wav", tones(1, video["length"]))
