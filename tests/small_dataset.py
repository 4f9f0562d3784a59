"""A data set of a few small videos in the AVISeg format, whose pictures and sound say what they are.

An object is a rectangle painted in its own colour on black, so a mask can be read off the picture; second k
of a video's sound is a tone of its own pitch, so a row of audio tells which frame it belongs to.
"""

import json
import wave
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 48, 64
LENGTH = 6
SAMPLE_RATE = 16000
CATEGORIES = [{"id": 3, "name": "violin"}, {"id": 7, "name": "dog"}]


def tone_hz(video_id: int, second: int) -> float:
    return 300.0 + 250.0 * second + 40.0 * video_id


def compressed(mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def object_mask(top: int, left: int, height: int = 16, width: int = 20) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def object_colour(number: int) -> tuple[int, int, int]:
    return (255, 0, 0) if number == 0 else (0, 255, 0)


def tracks(video_id: int, length: int = LENGTH) -> list[list[np.ndarray | None]]:
    """Two objects that move down; the first is silent in odd frames, the second in the last two."""
    first = [object_mask(2 + t + video_id, 4) if t % 2 == 0 else None for t in range(length)]
    second = [object_mask(28 - t, 40) if t < length - 2 else None for t in range(length)]
    return [first, second]


def write_wav(path: Path | str, samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    """Samples float (N,) or (N, channels) within [-1, 1], as 16 bits."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1] if samples.ndim == 2 else 1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def tones(video_id: int, seconds: int, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    time = np.arange(seconds * sample_rate) / sample_rate
    pitch = np.repeat([tone_hz(video_id, second) for second in range(seconds)], sample_rate)
    return 0.5 * np.sin(2 * np.pi * pitch * time)


def write_split(folder: Path, name: str = "train", num_videos: int = 3, length: int = LENGTH) -> Path:
    """Write a split; video ids are 1, 2, …; returns the path of its JSON."""
    content = {"videos": [], "categories": CATEGORIES, "annotations": []}
    for video_id in range(1, num_videos + 1):
        content["videos"].append(_write_video(folder / name, video_id, length))
        for number, masks in enumerate(tracks(video_id, length)):
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "video_id": video_id,
                    "category_id": CATEGORIES[number]["id"],
                    "iscrowd": 0,
                    "segmentations": [None if mask is None else compressed(mask) for mask in masks],
                }
            )
    json_file = folder / f"{name}.json"
    json_file.write_text(json.dumps(content))
    return json_file


def edit(json_file: Path, change) -> Path:
    """Apply a function to the parsed content of a JSON file."""
    content = json.loads(json_file.read_text())
    change(content)
    json_file.write_text(json.dumps(content))
    return json_file


def renumber(json_file: Path, names: list[str]) -> Path:
    """Give the categories the ids 1, 2, … in the order of `names`; what is not named goes."""

    def change(content: dict) -> None:
        name_of = {category["id"]: category["name"] for category in content["categories"]}
        content["categories"] = [{"id": id, "name": name} for id, name in enumerate(names, start=1)]
        kept = [a for a in content["annotations"] if name_of[a["category_id"]] in names]
        for annotation in kept:
            annotation["category_id"] = names.index(name_of[annotation["category_id"]]) + 1
        content["annotations"] = kept

    return edit(json_file, change)


def _write_video(split: Path, video_id: int, length: int) -> dict:
    frames = split / "JPEGImages" / f"clip{video_id}"
    frames.mkdir(parents=True)
    for t in range(length):
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for number, masks in enumerate(tracks(video_id, length)):
            if masks[t] is not None:
                picture[masks[t] > 0] = object_colour(number)
        Image.fromarray(picture).save(frames / f"{t:05d}.png")
    write_wav(split / "WAVAudios" / f"clip{video_id}.wav", tones(video_id, length))
    return {
        "id": video_id,
        "height": HEIGHT,
        "width": WIDTH,
        "length": length,
        "file_names": [f"clip{video_id}/{t:05d}.png" for t in range(length)],
    }
