"""Small files in the formats of other programs, laid out as those write them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avis.formats.categories import voc_colour
from tests.small_dataset import write_wav

HEIGHT, WIDTH = 48, 64
SQUARE = [[0, 0, 4, 0, 4, 4, 0, 4]]

DOG_TRACK = """<track id="0" label="dog" source="manual">
  <polygon frame="0" keyframe="1" outside="0" occluded="0" points="0.0,0.0;10,0;10,10;0,10" z_order="0">
  </polygon>
  <polygon frame="10" keyframe="1" outside="0" occluded="0" points="10,0;20,0;20,10;10,10" z_order="0"/>
  <polygon frame="20" keyframe="1" outside="1" occluded="0" points="10,0;20,0;20,10;10,10" z_order="0"/>
</track>"""
CAT_TRACK = """<track id="1" label="cat" source="manual">
  <mask frame="3" keyframe="1" outside="0" occluded="0" rle="1, 2, 3" left="4" top="5" width="3" height="2"/>
</track>"""


def cvat(
    tracks: Sequence[str] = (DOG_TRACK, CAT_TRACK),
    source: str = "concert.mp4",
    labels: Sequence[str] = ("dog", "cat"),
    frames: tuple[int, int, int] = (0, 39, 1),
) -> str:
    """CVAT for video 1.1, of a task with a video of 64×48; the tracks are of the labels, in their order.

    The task shows the frames of the video from a first one to a last one, by steps.
    """
    first, last, step = frames
    listed = "".join(f"<label><name>{name}</name><attributes/></label>" for name in labels)
    shown = "".join(tracks).replace('"dog"', f'"{labels[0]}"').replace('"cat"', f'"{labels[1]}"')
    return f"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>5</id><name>my task</name><size>40</size><mode>interpolation</mode>
      <start_frame>{first}</start_frame><stop_frame>{last}</stop_frame><frame_filter>step={step}</frame_filter>
      <labels>{listed}</labels>
      <original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size>
      <source>{source}</source>
    </task>
    <dumped>2025-01-01 00:00:00.000000+00:00</dumped>
  </meta>
  {shown}
</annotations>"""


def cvat_mask(mask: np.ndarray, left: int, top: int) -> str:
    """A track of one mask, whose runs go along the rows."""
    flat = mask.ravel()
    ends = np.flatnonzero(np.diff(flat, append=~flat[-1])) + 1
    runs = np.diff(ends, prepend=0).tolist()
    runs = [0, *runs] if flat[0] else runs
    height, width = mask.shape
    rle = ", ".join(map(str, runs))
    return (
        f'<track id="0" label="dog"><mask frame="0" keyframe="1" outside="0" rle="{rle}" left="{left}" '
        f'top="{top}" width="{width}" height="{height}"/></track>'
    )


def coco() -> dict[str, Any]:
    """Three pictures in two folders, an object in each, of which one is a crowd."""
    names = ["a/2.png", "a/10.png", "b/1.png"]
    crowd = {"size": [HEIGHT, WIDTH], "counts": [10, 6, HEIGHT * WIDTH - 16]}
    return {
        "images": [
            {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for number, name in enumerate(names, start=1)
        ],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": SQUARE},
            {"id": 2, "image_id": 2, "category_id": 1, "iscrowd": 0, "segmentation": SQUARE},
            {"id": 3, "image_id": 3, "category_id": 2, "iscrowd": 1, "segmentation": crowd},
        ],
    }


def cocovid() -> dict[str, Any]:
    """A video of the frames 0, 1 and 5, listed in disorder, with an object in the first and the last."""
    frames = {"v/z.png": 5, "v/x.png": 0, "v/y.png": 1}
    far = [[8, 8, 12, 8, 12, 12, 8, 12]]
    return {
        "videos": [{"id": 1, "name": "v"}],
        "images": [
            {"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH, "video_id": 1, "frame_id": frame}
            for i, (name, frame) in enumerate(frames.items(), start=1)
        ],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [
            {"id": 1, "video_id": 1, "image_id": 1, "category_id": 1, "instance_id": 3, "segmentation": far},
            {
                "id": 2,
                "video_id": 1,
                "image_id": 2,
                "category_id": 1,
                "instance_id": 3,
                "segmentation": SQUARE,
            },
        ],
    }


def youtube_vis() -> dict[str, Any]:
    """A video of two frames, with an object in the first."""
    return {
        "info": {"description": "YouTubeVIS"},
        "videos": [
            {
                "id": 7, "height": HEIGHT, "width": WIDTH, "length": 2,
                "file_names": ["v/00000.png", "v/00005.png"], "flickr_url": "", "license": 1,
            }
        ],
        "categories": [
            {"id": 5, "name": "dog", "supercategory": "object"},
            {"id": 9, "name": "cat", "supercategory": "object"},
        ],
        "annotations": [
            {
                "id": 11, "video_id": 7, "category_id": 5, "iscrowd": 0, "height": HEIGHT, "width": WIDTH,
                "length": 2, "segmentations": [SQUARE, None], "areas": [16, None],
            }
        ],
    }  # fmt: skip


def label_studio_picture(mask: np.ndarray | None = None) -> list[dict[str, Any]]:
    """A task with a picture, on which there are a brush, a polygon and an ellipse."""
    mask = np.eye(HEIGHT, WIDTH, dtype=bool) if mask is None else mask
    rgba = np.repeat(mask.astype(np.uint8) * 255, 4)
    common = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "to_name": "image"}
    values = {
        "brushlabels": {"format": "rle", "rle": pack_brush(rgba), "brushlabels": ["dog"]},
        "polygonlabels": {"points": [[0, 0], [50, 0], [50, 50], [0, 50]], "polygonlabels": ["cat"]},
        "ellipselabels": {"x": 50, "y": 50, "radiusX": 25, "radiusY": 25, "ellipselabels": ["dog"]},
    }
    results = [
        {**common, "id": f"region{number}", "from_name": "tag", "type": kind, "value": value}
        for number, (kind, value) in enumerate(values.items())
    ]
    annotations = [{"id": 1, "was_cancelled": False, "result": results}]
    return [{"id": 1, "data": {"image": "/data/upload/1/0a1b2c3d-yard.png"}, "annotations": annotations}]


def label_studio_video() -> list[dict[str, Any]]:
    """A task with a video of 4 s, 25 frames a second, through which a box moves from frame 1 to frame 51."""
    box = {"y": 0, "width": 25, "height": 25, "rotation": 0}
    sequence = [
        {"frame": 1, "enabled": True, "x": 0, "time": 0.0, **box},
        {"frame": 26, "enabled": True, "x": 25, "time": 1.0, **box},
        {"frame": 51, "enabled": False, "x": 25, "time": 2.0, **box},
    ]
    value = {"framesCount": 100, "duration": 4.0, "sequence": sequence, "labels": ["dog"]}
    result = {"id": "r", "type": "videorectangle", "from_name": "box", "to_name": "video", "value": value}
    data = {"video": "/data/upload/2/0a1b2c3d-concert.mp4"}
    return [{"id": 3, "data": data, "annotations": [{"result": [result]}]}]


def pack_brush(values: np.ndarray) -> list[int]:
    """Encode bytes as @thi.ng/rle-pack does, with counts of 3, 4, 8 and 16 bits."""
    kinds = (3, 4, 8, 16)
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{kind - 1:04b}" for kind in kinds)
    ends = np.flatnonzero(np.diff(values.astype(int), append=-1)) + 1
    literal: list[int] = []

    def flush() -> str:
        text = ""
        while literal:
            part, literal[:] = literal[:8], literal[8:]
            text += f"000{len(part) - 1:03b}" + "".join(f"{value:08b}" for value in part)
        return text

    for begin, end in zip(np.concatenate([[0], ends[:-1]]), ends, strict=True):
        length = int(end - begin)
        if length < 3:
            literal += [int(values[begin])] * length
            continue
        bits += flush()
        while length:
            count = min(length, 2**16)
            kind = next(index for index, size in enumerate(kinds) if count <= 2**size)
            bits += f"1{kind:02b}{count - 1:0{kinds[kind]}b}{int(values[begin]):08b}"
            length -= count
    bits += flush()
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def write_s4(root: Path) -> Path:
    """AVSBench's single sources: a video of the class dog in train and one in test; cat is in val."""
    rows = [["bark", "dog", "train"], ["meow", "cat", "val"], ["woof", "dog", "test"]]
    root.mkdir(parents=True, exist_ok=True)
    with (root / "s4_meta_data.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["name", "category", "split"], *rows])
    for name, category, split in (rows[0], rows[2]):
        for second in range(1, 6):
            frame = root / f"s4_data/visual_frames/{split}/{category}/{name}/{name}_{second}.png"
            frame.parent.mkdir(parents=True, exist_ok=True)
            grey = 20 * second + (100 if split == "test" else 0)
            Image.new("RGB", (WIDTH, HEIGHT), (grey, grey, grey)).save(frame)
            if split == "test" or second == 1:
                mask = np.zeros((HEIGHT, WIDTH), np.uint8)
                mask[2:10, second - 1 : second + 7] = 255
                file = root / f"s4_data/gt_masks/{split}/{category}/{name}/{name}_{second}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(file)
        tone = 0.5 * np.sin(np.arange(5 * 16000) * 0.2)
        write_wav(root / f"s4_data/audio_wav/{split}/{category}/{name}.wav", tone)
    return root


def write_ms3(root: Path) -> Path:
    """AVSBench's multiple sources: a video in train and one in test, whose last second is silent."""
    rows = [["duet", "test"], ["trio", "train"]]
    root.mkdir(parents=True)
    with (root / "ms3_meta_data.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["video_id", "split"], *rows])
    for video, split in rows:
        for second in range(1, 6):
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[4:20, 4 * second : 4 * second + 16] = 255 * (second < 5)
            frame = np.repeat(mask[..., None], 3, 2) // 2 + (60 if split == "test" else 20) + second
            place = root / f"ms3_data/visual_frames/{video}"
            masks = root / f"ms3_data/gt_masks/{split}/{video}"
            for folder, name, picture in (
                (place, f"{video}.mp4_{second}", frame),
                (masks, f"{video}_{second}", mask),
            ):
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture.astype(np.uint8)).save(folder / f"{name}.png")
        write_wav(root / f"ms3_data/audio_wav/{split}/{video}.wav", 0.3 * np.sin(np.arange(5 * 16000)))
    return root


def write_avss(root: Path) -> Path:
    """AVSBench-semantic: a video in train and one in test, with the classes 1 and 70 of three."""
    (root / "v2").mkdir(parents=True)
    write(root / "label2idx.json", {"background": 0, "dog": 1, "cat": 2, "horse": 70})
    rows = [["x", "bark", "v2", "train"], ["y", "meow", "v2", "test"]]
    with (root / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["vid", "uid", "label", "split"], *rows])
    for number, (_, video, part, _) in enumerate(rows):
        for second in range(3):
            labels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            labels[:16, :16], labels[20:40, 20 + second :] = voc_colour(1), voc_colour(70)
            for folder, suffix, picture in (
                ("frames", "jpg", labels + 40 * number + second),
                ("labels_rgb", "png", labels),
            ):
                (root / part / video / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture.astype(np.uint8)).save(
                    root / part / video / folder / f"{second}.{suffix}"
                )
        write_wav(root / part / video / "audio.wav", 0.3 * np.sin(np.arange(3 * 16000)))
    return root


def write(path: Path, content: Any) -> Path:
    """Write text, or other content as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path
