"""Loaders: endless clips for training, whole videos for evaluation."""

import itertools
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetFromList, build_detection_test_loader
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset

from avis.config import hears
from avis.data.audio_source import AudioSource, DataSets, audio_of_run
from avis.data.augmentation import build_augmentations
from avis.data.catalog import ensure_registered, get_categories, is_class_agnostic, is_present
from avis.data.clip_audio import with_sound
from avis.data.clip_mapper import ClipMapper, sounding_frames
from avis.data.records import with_features
from avis.data.repeats import repeat_factors
from avis.data.sampler import ClipSampler
from avis.files import is_file
from avis.structures import Categories

logger = logging.getLogger(__name__)

# Clips that are tried for one place of a batch.
_MAX_TRIES = 10
# Of the clips for a test set's loss: so many of each video, and any seed, which is the same in all runs.
_CLIPS_PER_VIDEO, _LOSS_SEED = 4, 20718


def build_train_loader(
    cfg: CfgNode, start_iteration: int = 0, classes: Categories | None = None
) -> DataLoader:
    """Build the endless loader of training clips.

    The clips of iteration i, their frames and augmentations depend on SEED and i alone: not on the number of
    processes and workers, nor on where training was resumed. A negative SEED draws one.

    Args:
        cfg: DATASETS.*, SOLVER.IMS_PER_BATCH (clips over all processes) and ACCUMULATE, SEED, INPUT.*,
            and of DATALOADER NUM_WORKERS, ON_ERROR, FILTER_EMPTY_ANNOTATIONS and what repeats videos.
        start_iteration: iterations already trained.
        classes: the model's; None: the categories of the first data set.

    Returns:
        A loader of lists of clips (see `ClipMapper`), this process's share of a batch.

    Raises:
        ValueError: the batch cannot be split over processes and passes, the number of classes is not the
            model's, or the data set is empty or malformed.
        FileNotFoundError: a data set's annotations do not exist, or a frame of a test set.
    """
    batch_size, world_size = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
    _check_batch_size(batch_size, world_size, cfg.SOLVER.ACCUMULATE)
    records = get_dataset_records(
        cfg.DATASETS.TRAIN,
        cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
        classes,
        drops_unknown=_drops_unknown(cfg),
    )
    records = with_features(records, cfg.INPUT.AUDIO.FEATURES_DIR)
    num_objects = sum(len(record["annotations"]) for record in records)
    logger.info("training on %d videos with %d objects", len(records), num_objects)
    check_num_classes(cfg, cfg.DATASETS.TRAIN[0])
    # What the test sets lack shall show now, not after the training.
    training, tests = {_training_names(cfg)[0]: records}, _present_tests(cfg)
    audio = _choose_audio(cfg, training | tests | training, ())  # training's first, and by its own records
    mapper = ClipMapper(cfg, is_train=True, audio_source=audio)
    seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    start, num_workers = start_iteration * batch_size, _num_workers(cfg)
    return DataLoader(
        SeededClips(records, mapper, seed, _skips(cfg)),
        batch_size=batch_size // world_size,
        sampler=ClipSampler(repeat_factors(cfg, records), seed, start, comm.get_rank(), world_size),
        num_workers=num_workers,
        collate_fn=list,
        worker_init_fn=_send_tensors_by_name,
        persistent_workers=num_workers > 0,
        # What is pinned is copied to a GPU while the host goes on.
        pin_memory=cfg.MODEL.DEVICE.startswith("cuda") and torch.cuda.is_available(),
    )


def build_test_loader(cfg: CfgNode, dataset_name: str, skip: Collection[int | str] = ()) -> DataLoader:
    """Build the loader of whole videos, one a batch, which sound as INPUT.AUDIO.AT_TEST says.

    Args:
        cfg: INPUT.* and DATALOADER.NUM_WORKERS.
        dataset_name: a registered name, or the path of annotations.
        skip: ids of videos to leave out.

    Raises:
        ValueError: the data set is empty or malformed.
        FileNotFoundError: its annotations do not exist.
    """
    records, audio = _test_records(cfg, dataset_name)
    mapper = ClipMapper(cfg, is_train=False, audio_source=audio)
    wanted = [record for record in records if record["video_id"] not in skip]
    if not wanted:
        return DataLoader([])  # Detectron2's cannot be empty
    return build_detection_test_loader(wanted, mapper=mapper, num_workers=_num_workers(cfg))


def build_loss_loader(cfg: CfgNode, dataset_name: str, classes: Categories | None = None) -> DataLoader:
    """Build the loader of a process's share of clips of a test set, the same ones in every run.

    Frames are drawn as in training and changed as in evaluation. Of each video there are a few clips. All
    processes get equally many: the last clip comes again where they cannot be shared evenly.

    Args:
        cfg: INPUT.* and DATALOADER.NUM_WORKERS.
        dataset_name: a registered name, or the path of annotations.
        classes: of the model; None: the categories of the data set.

    Returns:
        A loader of lists of one clip (see `ClipMapper`); its sampler lists their positions among all clips,
        with the index of each one's video.
    """
    records, audio = _test_records(cfg, dataset_name, None if is_class_agnostic(dataset_name) else classes)
    resizing = build_augmentations(cfg, is_train=False)
    mapper = ClipMapper(cfg, is_train=True, audio_source=audio, augmentations=resizing)
    places = [(position, position // _CLIPS_PER_VIDEO) for position in range(len(records) * _CLIPS_PER_VIDEO)]
    places += places[-1:] * (-len(places) % comm.get_world_size())
    return DataLoader(
        SeededClips(records, mapper, _LOSS_SEED),
        sampler=places[comm.get_rank() :: comm.get_world_size()],
        batch_size=1,
        num_workers=_num_workers(cfg),
        collate_fn=list,
        worker_init_fn=_send_tensors_by_name,
    )


def _test_records(
    cfg: CfgNode, dataset_name: str, classes: Categories | None = None
) -> tuple[list[dict], AudioSource]:
    """The videos of a test set with the sound that they shall have, and what the model hears of it."""
    records = get_dataset_records([dataset_name], classes=classes)
    records = with_features(records, cfg.INPUT.AUDIO.FEATURES_DIR)
    # A SOURCE that is named is the same for all; "auto" shall be what it is for the run's other data sets.
    others = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST) if cfg.INPUT.AUDIO.SOURCE == "auto" else ()
    audio = _choose_audio(cfg, {dataset_name: records}, others)
    return with_sound(records, cfg.INPUT.AUDIO.AT_TEST), audio


def _check_batch_size(batch_size: int, num_processes: int, num_passes: int) -> None:
    if num_passes < 1:
        raise ValueError(f"SOLVER.ACCUMULATE is {num_passes}, a step has at least one pass")
    if batch_size < 1 or batch_size % num_processes:
        raise ValueError(f"SOLVER.IMS_PER_BATCH {batch_size} cannot be split over {num_processes} processes")
    if batch_size // num_processes % num_passes:
        raise ValueError(
            f"SOLVER.ACCUMULATE {num_passes} passes cannot share the {batch_size // num_processes} clips "
            f"that each process has of SOLVER.IMS_PER_BATCH {batch_size}"
        )


def _skips(cfg: CfgNode) -> bool:
    if cfg.DATALOADER.ON_ERROR not in ("raise", "skip"):
        raise ValueError(f"DATALOADER.ON_ERROR is {cfg.DATALOADER.ON_ERROR!r}; it can be 'raise' or 'skip'")
    return cfg.DATALOADER.ON_ERROR == "skip"


def _drops_unknown(cfg: CfgNode) -> bool:
    if cfg.DATASETS.UNKNOWN_CATEGORIES not in ("raise", "drop"):
        raise ValueError(
            f"DATASETS.UNKNOWN_CATEGORIES is {cfg.DATASETS.UNKNOWN_CATEGORIES!r}; it can be 'raise' or 'drop'"
        )
    return cfg.DATASETS.UNKNOWN_CATEGORIES == "drop"


def _present_tests(cfg: CfgNode) -> dict[str, list[dict]]:
    """The records of those test sets that are there, and all their frames with them.

    Raises:
        FileNotFoundError: a frame is missing.
    """
    tests = {name: _records_to_hear(cfg, name) for name in cfg.DATASETS.TEST if is_present(name)}
    for name, records in tests.items():
        missing = [
            (record["video_id"], index, file)
            for record in records
            for index, file in enumerate(record["file_names"])
            if not is_file(Path(file))
        ]
        if missing:
            raise FileNotFoundError(
                "{} of DATASETS.TEST lacks {} frames, the first is video {!r} frame {}: {}".format(
                    name, len(missing), *missing[0]
                )
            )
    return tests


def _send_tensors_by_name(worker: int) -> None:
    """Let a worker name the memory of a tensor rather than send a file descriptor for each.

    A clip of 60 frames has more tensors than a process may have descriptors, by default.
    """
    torch.multiprocessing.set_sharing_strategy("file_system")


def _num_workers(cfg: CfgNode) -> int:
    """DATALOADER.NUM_WORKERS, but not more than there are cores, of which torch would warn."""
    return min(cfg.DATALOADER.NUM_WORKERS, os.cpu_count() or 1)


def get_dataset_records(
    names: Sequence[str],
    filter_empty: bool = False,
    classes: Categories | None = None,
    drops_unknown: bool = False,
) -> list[dict]:
    """Read the records of data sets, one after the other, their categories matched with the classes by name.

    Args:
        names: registered names, or paths that end in ".json".
        filter_empty: leave out the videos in which nothing ever sounds.
        classes: what class indices stand for; None: the categories of the first data set.
        drops_unknown: leave out objects of categories that the classes lack, and say so.

    Raises:
        ValueError: a name is unknown, a file malformed, or no video is left; or the classes lack
            categories of a data set and shall not, or lack all of them.
        FileNotFoundError: a data set's annotations do not exist.
    """
    if isinstance(names, str) or not names:
        raise ValueError(f"DATASETS needs a sequence of at least one name, got {names!r}")
    for name in names:
        ensure_registered(name)
    classes = classes or get_categories(names[0])
    records = list(
        itertools.chain.from_iterable(_records_of_classes(name, classes, drops_unknown) for name in names)
    )
    if filter_empty:
        sounding = [record for record in records if sounding_frames(record)]
        logger.info(
            "%d of %d videos are left out: nothing sounds", len(records) - len(sounding), len(records)
        )
        records = sounding
    if not records:
        raise ValueError(f"no video of {tuple(names)} has a mask (DATALOADER.FILTER_EMPTY_ANNOTATIONS)")
    return records


def _records_of_classes(name: str, classes: Categories, drops_unknown: bool) -> list[dict]:
    """The records of a data set, which know it, with the indices of `classes`, matched by name."""
    records, own = [{**record, "data_set": name} for record in DatasetCatalog.get(name)], get_categories(name)
    if own.names == classes.names:
        return records
    missing = own.missing_in(classes)
    if missing and not (drops_unknown and len(missing) < len(own.names)):
        raise ValueError(
            f"categories of {name!r} and of the model's classes differ: {', '.join(missing)} is not among "
            f"{', '.join(classes.names)}; in training DATASETS.UNKNOWN_CATEGORIES drop leaves out objects of "
            "such categories, as long as there are others"
        )
    indices = own.indices_in(classes)
    matched = [{**record, "annotations": _renumber(record["annotations"], indices)} for record in records]
    before, after = (sum(len(r["annotations"]) for r in listed) for listed in (records, matched))
    if after < before:
        logger.warning(
            "%s: %d of its %d objects are left out and count as background. They are of %d categories that "
            "the model has not: %s",
            name, before - after, before, len(missing), ", ".join(missing),
        )  # fmt: skip
    return matched


def _renumber(annotations: Sequence[dict], indices: Sequence[int | None]) -> list[dict]:
    """The annotations with other class indices, without those that have none."""
    return [
        {**entry, "category_id": indices[entry["category_id"]]}
        for entry in annotations
        if indices[entry["category_id"]] is not None
    ]


def check_num_classes(cfg: CfgNode, name: str) -> Categories:
    """Check that the model has as many classes as a data set has categories.

    Returns:
        The categories.

    Raises:
        ValueError: it has not.
    """
    categories, number = get_categories(name), cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if len(categories.names) != number:
        raise ValueError(
            f"{name!r} has {len(categories.names)} categories, but MODEL.SEM_SEG_HEAD.NUM_CLASSES is "
            f"{number}; set it to {len(categories.names)}"
        )
    return categories


def _choose_audio(cfg: CfgNode, used: DataSets, others: Iterable[str]) -> AudioSource:
    """Choose what the model hears of data sets that are read already and of others that are there."""
    if not hears(cfg):
        return AudioSource(None)
    others = [name for name in dict.fromkeys(others) if name not in used and is_present(name)]
    data_sets = {**used, **{name: _records_to_hear(cfg, name) for name in others}}
    in_silence = cfg.INPUT.AUDIO.AT_TEST == "silent"
    silenced = [name for name in data_sets if in_silence and name not in _training_names(cfg)]
    audio = audio_of_run(cfg, data_sets, silenced)
    logger.info("audio source of %s: %s", ", ".join(data_sets), audio.kind)
    return audio


def _training_names(cfg: CfgNode) -> tuple[str, ...]:
    """What messages call the training data: all of it, and each data set."""
    return (", ".join(cfg.DATASETS.TRAIN), *cfg.DATASETS.TRAIN)


def _records_to_hear(cfg: CfgNode, name: str) -> list[dict]:
    """The records of a data set of which a run hears something."""
    records = with_features(DatasetCatalog.get(name), cfg.INPUT.AUDIO.FEATURES_DIR)
    only_sounding = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS and name not in cfg.DATASETS.TEST
    return [record for record in records if sounding_frames(record)] if only_sounding else records


class SeededClips(Dataset):
    """Clips whose random choices depend on a seed and on their position in the training order alone.

    So do those that a model makes for them, from the clip's "seed".
    """

    def __init__(
        self, records: list[dict], mapper: Callable[[dict], dict], seed: int, skips: bool = False
    ) -> None:
        """Keep the records, packed so that worker processes share them.

        Args:
            records: of videos.
            mapper: makes a clip of a record.
            seed: of all random choices.
            skips: a clip that cannot be read gives place to one of another video, which the position decides.
        """
        self.records = DatasetFromList(records, copy=False)
        self.mapper, self.seed, self.skips = mapper, seed, skips

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, sample: tuple[int, int]) -> dict:
        position, index = sample
        clip = self._load_or_replace(position, index) if self.skips else self._load(index, position)
        return {**clip, "seed": int(np.random.SeedSequence((self.seed, position)).generate_state(1)[0])}

    def _load(self, index: int, *place: int) -> dict:
        with _numpy_seed((self.seed, *place)):
            return self.mapper(self.records[index])

    def _load_or_replace(self, position: int, index: int) -> dict:
        """The clip, or the first of others that can be read, with "skipped": (video, reason) of each."""
        place, skipped = (position,), []
        while len(skipped) < _MAX_TRIES:
            try:
                return {**self._load(index, *place), "skipped": skipped}
            except (ValueError, OSError) as error:
                skipped.append((self.records[index]["video_id"], str(error)))
            place = (position, len(skipped))
            index = int(np.random.default_rng((self.seed, *place)).integers(len(self.records)))
        reasons = "; ".join(reason for _, reason in skipped)
        raise ValueError(f"{_MAX_TRIES} clips, one in place of the other, cannot be read: {reasons}")


@contextmanager
def _numpy_seed(seed: Sequence[int]) -> Iterator[None]:
    """Seed numpy's global generator, which augmentations draw from, and put it back afterwards."""
    state = np.random.get_state()
    np.random.seed(np.random.SeedSequence(seed).generate_state(4))
    try:
        yield
    finally:
        np.random.set_state(state)
