"""Loading of training clips, beside a plain mapper that loads the same clips as Detectron2 does.

Follows the mapper of Mask2Former for video (Cheng et al., 2021): Pillow reads and resizes, every frame has
tensors of its own, all of its objects are decoded one by one, and sound is analysed whenever it is heard.

Dimensions: F frames of a clip, N objects, H×W images.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.detection_utils import read_image
from detectron2.structures import BitMasks, Instances
from pycocotools import mask as coco_mask
from torch import Tensor

from avis.benchmark.fresh import in_fresh_process
from avis.benchmark.random_clips import SEED
from avis.benchmark.tables import Columns, number, spread
from avis.benchmark.times import Times
from avis.data import ClipMapper, load_aviseg_json
from avis.data.build import SeededClips
from avis.data.clip_audio import VideoSound, load_examples
from avis.data.moving_crop import transform_of_frame
from avis.data.preprocessing import ClipInput
from avis.data.resizing import ResizeShortestEdge

_PICTURES = "pictures and masks"

COLUMNS: Columns = {
    "shorter edge": lambda row: str(row["size"]),
    "loaded": lambda row: row["case"],
    "ours, ms of CPU": lambda row: spread(row["ours"], 1e-3),
    "plain": lambda row: spread(row["plain"], 1e-3),
    "ratio": lambda row: number(row["plain"]["median"] / row["ours"]["median"]),
    "levels apart": lambda row: str(row["pixel_difference"]),
    "mask pixels apart": lambda row: str(row["different_masks"]),
    "sound apart": lambda row: f"{row['sound_difference']:.0e}",
}
PEER_COLUMNS: Columns = {
    "original": lambda row: spread(row["original"], 1e-3) if "original" in row else "–",
    "original / ours": lambda row: (
        number(row["original"]["median"] / row["ours"]["median"]) if "original" in row else "–"
    ),
}
NOTES = (
    "One thread. “Plain” loads the same clips as Detectron2 does. Pixels differ by rounding, of 255 levels. "
    "The spread is that of clips.",
)
PEER_NOTE = (
    "The original is Mask2Former's own mapper. It draws other frames of the same videos, and has no sound."
)


class PlainMapper:
    """Loads what `ClipMapper` loads, from the same random numbers; of sound it knows waveforms only."""

    def __init__(self, mapper: ClipMapper) -> None:
        """Take the settings of a training mapper."""
        self.mapper = mapper
        self.augmentations = T.AugmentationList([_with_pillow(step) for step in mapper.augmentations.augs])

    def __call__(self, record: dict) -> dict:
        """Load a clip: its frames, objects and sound under the keys of the batch contract."""
        frame_indices = self.mapper.choose_frames(record)
        files = [record["file_names"][index] for index in frame_indices]
        images = [read_image(file, self.mapper.image_format) for file in files]
        drawn = self.augmentations(ClipInput(images[0], len(images)))
        transforms = [transform_of_frame(drawn, frame) for frame in range(len(images))]
        augmented = [step.apply_image(image) for step, image in zip(transforms, images, strict=True)]
        clip = {
            "image": [torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in augmented],
            "instances": _plain_instances(record, frame_indices, transforms, augmented[0].shape[:2]),
        }
        if self.mapper.audio_source.kind == "waveform":
            clip["audio_examples"] = load_examples(VideoSound.of(record), frame_indices, self.mapper.fps)
        return clip


def compare_loading(
    cfg: CfgNode, json_file: Path, num_clips: int, peer: Path | None = None
) -> Iterator[dict]:
    """Load the same clips by both mappers, in turn, by one thread as a loader's worker does.

    Args:
        cfg: INPUT.* and what else `ClipMapper` reads.
        json_file: of videos in the AVISeg format, with RLEs.
        num_clips: how many.
        peer: a clone of Mask2Former.

    Yields:
        Rows for `COLUMNS` and with a clone for `PEER_COLUMNS`: for each of the sizes in INPUT.MIN_SIZE_TRAIN
        those of pictures and masks alone, with sound that is heard for the first time, and heard again.
    """
    records = load_aviseg_json(json_file)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for size in sorted(set(cfg.INPUT.MIN_SIZE_TRAIN)):
            sized = cfg.clone()
            sized.INPUT.MIN_SIZE_TRAIN = (size, size)
            silent, hearing = (ClipMapper(sized, True, audio_source=kind) for kind in (None, "waveform"))
            _compare(size, "warm-up", silent, records[:1], 2)
            original = _original(cfg, json_file, size, num_clips, peer) if peer else {}
            yield _compare(size, _PICTURES, silent, records, num_clips) | original
            for case in ("the same and sound, first heard", "the same and sound, heard before"):
                yield _compare(size, case, hearing, records, num_clips)
    finally:
        torch.set_num_threads(threads)


def _original(cfg: CfgNode, json_file: Path, size: int, num_clips: int, peer: Path) -> dict:
    measured = in_fresh_process(
        "avis.benchmark.peer",
        "measure_loading",
        path=str(peer),
        json_file=str(json_file),
        shortest_edge=size,
        frames=cfg.INPUT.SAMPLING_FRAME_NUM,
        frame_range=cfg.INPUT.SAMPLING_FRAME_RANGE,
        clips=num_clips,
    )
    return {"original": measured["seconds"]}


def _compare(size: int, case: str, mapper: ClipMapper, records: list[dict], num_clips: int) -> dict:
    """A row: seconds of the processor for a clip, and by how much all clips differ."""
    ours, plain = (SeededClips(records, load, SEED) for load in (mapper, PlainMapper(mapper)))
    times, differences = ([], []), []
    for position in range(num_clips):
        sample = position, position % len(records)
        clips = [_timed(data, sample, spent) for data, spent in zip((ours, plain), times, strict=True)]
        differences.append(clip_difference(*clips))
    pixels, mean, masks, sound = zip(*differences, strict=True)
    seconds = dict(zip(("ours", "plain"), (asdict(Times.of(each)) for each in times), strict=True))
    return {
        "size": size,
        "case": case,
        **seconds,
        "pixel_difference": max(pixels),
        "mean_pixel_difference": statistics.fmean(mean),
        "different_masks": sum(masks),
        "sound_difference": max(sound),
    }


def clip_difference(ours: dict, plain: dict) -> tuple[int, float, int, float]:
    """By how much two clips of the same frames differ.

    Returns:
        Levels of a pixel, the most and in the mean; pixels of masks; and the most of a log-mel value.

    Raises:
        ValueError: they are of other objects.
    """
    for frame, other in zip(ours["instances"], plain["instances"], strict=True):
        if frame.gt_ids.tolist() != other.gt_ids.tolist():
            raise ValueError(f"objects {frame.gt_ids.tolist()} are not {other.gt_ids.tolist()}")
    pixels = (ours["image"].int() - torch.stack(plain["image"]).int()).abs()
    masks, other_masks = (_masks(clip) for clip in (ours, plain))
    sound = 0.0
    if "audio_examples" in plain:
        sound = (ours["audio_examples"] - plain["audio_examples"]).abs().max().item()
    return int(pixels.max()), pixels.float().mean().item(), int((masks ^ other_masks).sum()), sound


def _timed(clips: SeededClips, sample: tuple[int, int], spent: list[float]) -> dict:
    start = time.process_time()
    clip = clips[sample]
    spent.append(time.process_time() - start)
    return clip


def _with_pillow(step: T.Augmentation) -> T.Augmentation:
    """An augmentation as Detectron2 computes it."""
    if isinstance(step, ResizeShortestEdge):
        return T.ResizeShortestEdge(step.short_edge_length, step.max_size, step.sample_style)
    if isinstance(step, T.RandomApply):
        return T.RandomApply(_with_pillow(step.aug), step.prob)
    if isinstance(step, T.AugmentationList):
        return T.AugmentationList([_with_pillow(part) for part in step.augs])
    return step


def _plain_instances(
    record: dict, frame_indices: Sequence[int], transforms: Sequence[T.Transform], size: tuple[int, int]
) -> list[Instances]:
    """As `load_instances`."""
    tracks = [track for track in record["annotations"] if not track["iscrowd"]]
    frames = [
        [_plain_mask(track["segmentations"][index], transform, size) for track in tracks]
        for index, transform in zip(frame_indices, transforms, strict=True)
    ]
    seen = [number for number in range(len(tracks)) if any(masks[number].any() for masks in frames)]
    return [
        Instances(
            size,
            gt_masks=BitMasks(_stack([masks[number] for number in seen], size)),
            gt_classes=torch.tensor([tracks[number]["category_id"] for number in seen], dtype=torch.int64),
            gt_ids=torch.tensor([tracks[number]["id"] for number in seen], dtype=torch.int64),
        )
        for masks in frames
    ]


def _stack(masks: Sequence[np.ndarray], size: tuple[int, int]) -> Tensor:
    """N masks bool (H, W) to (N, H, W), also for N = 0."""
    return torch.from_numpy(np.array(masks, bool).reshape(-1, *size))


def _plain_mask(rle: dict | None, transform: T.Transform, size: tuple[int, int]) -> np.ndarray:
    """Bool (H, W)."""
    if rle is None:
        return np.zeros(size, bool)
    mask = np.ascontiguousarray(coco_mask.decode(rle))
    return np.ascontiguousarray(transform.apply_segmentation(mask)).astype(bool)


def _masks(clip: dict) -> Tensor:
    """(F, N, H, W)."""
    return torch.stack([frame.gt_masks.tensor for frame in clip["instances"]])
