"""Writing a SynthAVIS data set, in AVISeg's format on disk (avis/formats/aviseg.py), over several processes.

Every video is drawn from its own random stream, so that neither order nor number of processes matters. A
split's JSON is written last: where it exists, the split is complete.
"""

import json
import logging
import multiprocessing
import os
import shutil
import wave
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_utils
from tqdm import tqdm

from avis.files import read_json, write_json
from avis.formats.audio_features import source_name
from avis.formats.aviseg import frame_file, sound_file, sources_folder
from avis.synthetic.options import SPLITS, SynthOptions
from avis.synthetic.pictures import render
from avis.synthetic.scene import Scene, plan_scene
from avis.synthetic.sound import SAMPLE_RATE, make_track

logger = logging.getLogger(__name__)

# To be raised whenever the same options and seed give other bytes.
GENERATOR_VERSION = "1.1"

RECIPE_FILE = "synthavis.json"
JPEG_QUALITY = 92
# A worker takes some seconds to start: one for so much work, estimated from what a frame and a pixel take.
SECONDS_PER_WORKER = 15
SECONDS_PER_FRAME, SECONDS_PER_PIXEL = 3e-3, 6e-8


def make_synthavis(
    root: str | Path,
    options: SynthOptions,
    workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> None:
    """Write a SynthAVIS data set. Where it is complete, do nothing; where some splits are missing, add them.

    Args:
        root: folder of the data set, made if need be.
        options: content, size, difficulty and seed.
        workers: processes; by default as many as the work is worth, at most one a core. With more than
            one, a script must guard its main part by `if __name__ == "__main__"`.
        progress: whether to show a progress bar.
        overwrite: whether to replace a data set of other options.

    Raises:
        FileExistsError: `root` holds a data set of other options, or data that SynthAVIS has not made.
    """
    root = Path(root)
    recipe = _recipe(options)
    _claim(root, recipe, overwrite)
    todo = [split for split in SPLITS if getattr(options, split) and not (root / f"{split}.json").exists()]
    if not todo:
        logger.info("%s is already complete", root)
        return
    jobs = [(split, index) for split in todo for index in range(getattr(options, split))]
    workers = workers or _worthwhile_workers(len(jobs), options)
    made: dict[str, list] = {split: [] for split in todo}
    write = partial(_write_video, root, options)
    for (split, _), video in zip(jobs, _run(write, jobs, workers, progress), strict=True):
        made[split].append(video)
        if len(made[split]) == getattr(options, split):
            write_json(root / f"{split}.json", _dataset(made.pop(split), recipe, split))
    logger.info("%s: %d videos written", root, len(jobs))


def _recipe(options: SynthOptions) -> dict:
    """What a data set is made by, in the types that JSON gives back."""
    values = asdict(options)
    if not options.separated_sources:
        del values["separated_sources"]  # as in the data sets of before there were any
    recipe = {"generator": "SynthAVIS", "generator_version": GENERATOR_VERSION, "options": values}
    return json.loads(json.dumps(recipe))


def _claim(root: Path, recipe: dict, overwrite: bool) -> None:
    """Make a folder that of this recipe, or say why it cannot be."""
    recipe_file = root / RECIPE_FILE
    if recipe_file.exists():
        found = read_json(recipe_file)
        if found == recipe:
            return
        if not overwrite:
            raise FileExistsError(
                f"{root} holds SynthAVIS data made otherwise ({_differences(found, recipe)}): "
                "choose another folder, or overwrite it"
            )
        _remove(root)
    foreign = [name for split in SPLITS for name in (split, f"{split}.json") if (root / name).exists()]
    if foreign:
        raise FileExistsError(
            f"{root} holds {', '.join(foreign)}, not made by SynthAVIS: choose another folder"
        )
    root.mkdir(parents=True, exist_ok=True)
    write_json(recipe_file, recipe)


def _differences(found: dict, wanted: dict) -> str:
    """The values in which two recipes differ."""
    old = {"generator_version": found.get("generator_version"), **found.get("options", {})}
    new = {"generator_version": wanted["generator_version"], **wanted["options"]}
    keys = [key for key in {**new, **old} if old.get(key) != new.get(key)]
    return ", ".join(f"{key} {old.get(key)!r}, not {new.get(key)!r}" for key in keys)


def _remove(root: Path) -> None:
    """Delete a data set, its recipe last, so that it is known as one as long as anything is left of it."""
    for split in SPLITS:
        (root / f"{split}.json").unlink(missing_ok=True)
        if (root / split).exists():
            shutil.rmtree(root / split)
    (root / RECIPE_FILE).unlink()


def _worthwhile_workers(num_videos: int, options: SynthOptions) -> int:
    frames = num_videos * np.mean(options.seconds) * options.fps
    work = frames * (SECONDS_PER_FRAME + SECONDS_PER_PIXEL * options.width * options.height)
    return int(np.clip(work / SECONDS_PER_WORKER, 1, os.cpu_count() or 1))


def _run(write: partial, jobs: list, workers: int, progress: bool) -> Iterator[tuple[dict, list[dict]]]:
    """Write the videos, in this process or in several; what is known of each, in order."""
    bar = partial(tqdm, total=len(jobs), unit="video", desc="SynthAVIS", disable=not progress)
    if workers == 1:
        yield from bar(map(write, jobs))
        return
    # Not forked: a process with threads (torch's, OpenCV's) must not be.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from bar(pool.map(write, jobs, chunksize=4))


def _write_video(root: Path, options: SynthOptions, job: tuple[str, int]) -> tuple[dict, list[dict]]:
    """Write a video's frames and sound; its entry for the JSON, and its annotations without ids."""
    split, index = job
    rng = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(SPLITS.index(split), index)))
    name = f"{split}_{index:05d}"
    scene = plan_scene(options, rng)
    track, sources = make_track(scene.sounds, scene.num_frames, options, rng)
    file_names = [f"{name}/{frame:05d}.jpg" for frame in range(scene.num_frames)]
    _write_wav(sound_file(root / split, name), track)
    silent = [np.zeros_like(track)] * (options.separated_sources - len(sources))
    order = np.random.default_rng(index).permutation(options.separated_sources)
    _write_sources(sources_folder(root / split, name), [*sources, *silent], order)
    visible = []
    for file_name, (picture, masks) in zip(file_names, render(scene, options, rng), strict=True):
        _write_jpeg(frame_file(root / split, file_name), picture)
        visible.append([_encode(mask) for mask in masks])
    video = {
        "id": index + 1,
        "width": options.width,
        "height": options.height,
        "length": scene.num_frames,
        "scenario": scene.scenario,
        "file_names": file_names,
    }
    return video, _annotate(scene, visible, options)


def _write_sources(folder: Path, sources: Sequence[NDArray[np.int16]], order: Sequence[int]) -> None:
    """Write sources, in an order that tells no more of them than a separator's does."""
    for place, chosen in enumerate(order, start=1):
        _write_wav(folder / source_name(place, ".wav"), sources[chosen])


def _annotate(scene: Scene, visible: list[list[dict | None]], options: SynthOptions) -> list[dict]:
    """The objects that sound in view: their visible masks, None where they are silent or out of view."""
    annotations = []
    for number, thing in enumerate(scene.objects):
        masks = [
            frame[number] if sounds else None for frame, sounds in zip(visible, thing.sounds, strict=True)
        ]
        if any(masks):
            annotations.append(
                {
                    "category_id": options.categories.index(thing.category) + 1,
                    "iscrowd": 0,
                    "height": options.height,
                    "width": options.width,
                    "segmentations": masks,
                    "bboxes": [mask and mask_utils.toBbox(mask).tolist() for mask in masks],
                    "areas": [mask and int(mask_utils.area(mask)) for mask in masks],
                }
            )
    return annotations


def _encode(mask: NDArray[np.bool_]) -> dict | None:
    """The mask (H, W) as compressed RLE, None if it is empty."""
    if not mask.any():
        return None
    rle = mask_utils.encode(np.asfortranarray(mask, np.uint8))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def _dataset(made: list[tuple[dict, list[dict]]], recipe: dict, split: str) -> dict:
    """The content of a split's JSON."""
    annotations = [{"video_id": video["id"], **entry} for video, entries in made for entry in entries]
    return {
        "info": {"description": f"SynthAVIS, {split} split", **recipe},
        "videos": [video for video, _ in made],
        "categories": [
            {"id": number, "name": name}
            for number, name in enumerate(recipe["options"]["categories"], start=1)
        ],
        "annotations": [{"id": number, **entry} for number, entry in enumerate(annotations, start=1)],
    }


def _write_jpeg(path: Path, picture: NDArray[np.uint8]) -> None:
    encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded)


def _write_wav(path: Path, samples: NDArray[np.int16]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())
