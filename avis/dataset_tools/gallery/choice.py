"""What the page shows of data sets: which videos, their tracks, and the clips of the first iterations."""

import itertools
import logging
from collections.abc import Iterator, Sequence

import numpy as np
from detectron2.config import CfgNode

from avis.data import build_train_loader, get_categories, get_metadata, is_class_agnostic
from avis.data.clip_mapper import sounding_frames
from avis.dataset_tools.gallery.samples import annotated_tracks
from avis.formats.ground_truth import load_ground_truth
from avis.structures import Track

logger = logging.getLogger(__name__)


def choose(records: Sequence[dict], number: int, names: Sequence[str], seed: int) -> list[dict]:
    """Some videos, in the order of the data set.

    Args:
        records: of all videos.
        number: how many, drawn by the seed.
        names: of the videos to take, rather than any; their folders, or their ids.
        seed: of the draw.

    Raises:
        ValueError: there is no video of a name.
    """
    if names:
        by_name = [{str(record.get("name")), str(record["video_id"])} for record in records]
        for name in names:
            if not any(name in own for own in by_name):
                some = ", ".join(str(record.get("name", record["video_id"])) for record in records[:3])
                raise ValueError(f"there is no video {name!r}; there are {some}, …")
        return [r for r, own in zip(records, by_name, strict=True) if own & set(names)]
    drawn = np.random.default_rng(seed).permutation(len(records))[:number]
    return [records[index] for index in sorted(drawn.tolist())]


def tracks_of(records: Sequence[dict]) -> Iterator[tuple[dict, list[Track], int]]:
    """Each video with its annotated objects and the number of its crowds; AVTrack's are pictures on disk."""
    truths: dict = {}
    for record in records:
        name = record["data_set"]
        if not is_class_agnostic(name):
            tracks = annotated_tracks(record)
            yield record, tracks, len(record["annotations"]) - len(tracks)
            continue
        truth = truths.get(name) or truths.setdefault(name, load_ground_truth(get_metadata(name).json_file))
        video, found = truth.videos[record["video_id"]], truth.tracks[record["video_id"]]
        shown = [track for track in found if not track.is_crowd]
        yield record, truth.to_prediction(video, shown).tracks, len(found) - len(shown)


def training_clips(cfg: CfgNode, records: Sequence[dict], number: int) -> Iterator[tuple[dict, dict]]:
    """The first clips that a training of a config gets, each with the record of its video.

    Args:
        cfg: of a training; its SEED draws the clips.
        records: of its DATASETS.TRAIN.
        number: of clips.
    """
    by_file = {(r["video_id"], file): r for r in records for file in r["file_names"]}
    loader = build_train_loader(cfg)
    for clips in itertools.islice(loader, number):
        (clip,) = clips
        yield clip, by_file[clip["video_id"], clip["file_names"][0]]


def no_clips(names: Sequence[str], records: Sequence[dict]) -> str:
    """Why there are no training clips of data sets, in words; "" where there are some."""
    if any(map(is_class_agnostic, names)):
        return "a test set has no training clips"
    if not any(map(sounding_frames, records)):
        return "nothing is annotated, so there are no training clips"
    return ""


def config_of_clips(cfg: CfgNode, names: Sequence[str], seed: int) -> CfgNode:
    """The config of a training on data sets whose loader gives one clip at a time, in this process."""
    cfg = cfg.clone()
    cfg.defrost()
    if tuple(names) != tuple(cfg.DATASETS.TRAIN):
        cfg.DATASETS.RATIOS = ()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = tuple(names), ()
    cfg.SOLVER.IMS_PER_BATCH = cfg.SOLVER.ACCUMULATE = 1
    cfg.DATALOADER.NUM_WORKERS, cfg.SEED, cfg.MODEL.DEVICE = 0, seed, "cpu"
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = len(get_categories(names[0]).names)
    return cfg
