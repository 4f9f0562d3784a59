"""FEATAudios: the features of a frozen audio backbone, computed once for whole data sets.

Worker processes read the sound and make log-mel examples of it, as the loader of a model does. This process
runs the backbone over the examples of one sound after the other, and writes a file for each. So a file's
bytes depend on its sound alone, and not on the other sounds or the number of processes.

Dimensions: T frames of a video, A audio channels; a log-mel example is 96 × 64.
"""

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from detectron2.utils import comm
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from avis.audio import AudioBackbone
from avis.audio.provenance import BARE_BACKBONE, describe, provenance_of
from avis.command_line import is_about_input
from avis.data.clip_audio import VideoSound, load_examples, load_features
from avis.dataset_tools.shared_work import SharedWork
from avis.files import is_file, remove_leftovers
from avis.formats.audio_features import Provenance, read_provenance, write_features
from avis.media.video import has_audio_stream

logger = logging.getLogger(__name__)


# How long processes wait while the others do nothing.
_TIMEOUT = timedelta(minutes=30)


@dataclass
class Summary:
    """What became of the files of a data set.

    Attributes:
        kept: how many were in order.
        written: how many were made.
        silent: how many of these are of silence, for want of sound.
        failed: why others could not be made, a sentence each.
    """

    kept: int = 0
    written: int = 0
    silent: int = 0
    failed: list[str] = field(default_factory=list)

    def __add__(self, other: "Summary") -> "Summary":
        """Of both."""
        return Summary(
            self.kept + other.kept,
            self.written + other.written,
            self.silent + other.silent,
            self.failed + other.failed,
        )


def prepare_features(
    sounds: Sequence[VideoSound],
    backbone: AudioBackbone,
    *,
    fps: float = 1.0,
    device: torch.device | str = "cpu",
    batch_size: int = 64,
    workers: int = 0,
    overwrite: bool = False,
    timeout: timedelta = _TIMEOUT,
) -> Summary:
    """Write the features of sounds, float32 (T, A) in a .npy file each, with a progress bar.

    Files of finite numbers in the right shape are kept if the same backbone with the same weights made them.
    Files that do not say count as a VGGish's without post-processing. Others are made anew with a warning.
    A file appears only when it is complete, and the leftovers of killed runs are removed. So a run can be
    ended at any time and started again, also beside another. If a sound cannot be read, the others are
    written nevertheless. All processes of a run must call this, and share the sounds.

    Args:
        sounds: from `find_sounds`; the same in all processes.
        backbone: with its weights.
        fps: frames per second of the videos.
        device: where the backbone computes.
        batch_size: examples that pass it at once.
        workers: processes that read sound; 0: this one does.
        overwrite: make all files anew.
        timeout: how long a process that is done waits while the others do nothing.

    Returns:
        What all processes have done together.

    Raises:
        FloatingPointError: the backbone gives NaN or infinity.
        OSError: a file cannot be written, or another process has failed.
    """
    for folder in {sound.features_file.parent for sound in sounds}:
        remove_leftovers(folder)
    made = provenance_of(backbone.to(device).eval(), fps, device)
    good = set() if overwrite else _find_good_together(sounds, made)
    todo = [sound for sound in sounds if sound not in good]
    work = SharedWork(len(todo), "audio features", timeout)
    readings = DataLoader(
        _Readings(todo, fps),
        sampler=work,
        batch_size=1,
        collate_fn=itemgetter(0),
        num_workers=min(workers, len(todo)),
    )
    summary = Summary()
    num_frames = sum(sound.length for sound in todo)
    is_hidden = not (todo and comm.is_main_process())
    with (
        tqdm(desc="audio features", total=num_frames, unit="frame", disable=is_hidden) as bar,
        work.ending_together(bar),
    ):
        for reading in readings:
            if _is_readable(reading, summary):
                features = _compute(backbone, reading.examples, device, batch_size)
                write_features(Path(reading.sound.features_file), features, made)
                summary.written += 1
            work.advance(reading.sound.length)
            bar.update(work.advanced() - bar.n)
    return sum(comm.all_gather(summary), start=Summary(kept=len(good)))


@dataclass(frozen=True)
class _Reading:
    """A sound with its examples, (T, 96, 64), or why it cannot be read."""

    sound: VideoSound
    examples: Tensor | None = None
    silent: bool = False
    failure: str = ""


class _Readings(Dataset):
    """Reads each sound when it is asked for, in a worker process."""

    def __init__(self, sounds: Sequence[VideoSound], fps: float) -> None:
        self.sounds, self.fps = sounds, fps

    def __len__(self) -> int:
        return len(self.sounds)

    def __getitem__(self, index: int) -> _Reading:
        sound = self.sounds[index]
        try:
            silent = sound.audio_file is None or not has_audio_stream(sound.audio_file)
            heard = replace(sound, audio_file=None) if silent else sound
            return _Reading(sound, load_examples(heard, range(sound.length), self.fps), silent)
        except (OSError, ValueError) as error:
            if not is_about_input(error):
                raise
            return _Reading(sound, failure=str(error))


def _is_readable(reading: _Reading, summary: Summary) -> bool:
    """Whether a sound could be read; the summary notes what was wrong, or that there is none."""
    if reading.failure:
        summary.failed.append(reading.failure)
        return False
    if reading.silent:
        logger.warning("video %r has no sound: its features are those of silence", reading.sound.video)
        summary.silent += 1
    return True


@torch.inference_mode()
def _compute(
    backbone: AudioBackbone, examples: Tensor, device: torch.device | str, batch_size: int
) -> np.ndarray:
    """The features of the examples of a sound, float32 (T, A)."""
    # Batches of about the same size, none larger than wanted.
    batches = examples.tensor_split(math.ceil(len(examples) / batch_size))
    features = torch.cat([backbone(batch.to(device)).float().cpu() for batch in batches])
    if not torch.isfinite(features).all():
        raise FloatingPointError(f"{type(backbone).__name__} gives NaN or infinity: are these its weights?")
    return features.numpy()


def _find_good_together(sounds: Sequence[VideoSound], made: Provenance) -> set[VideoSound]:
    """As `_find_good`, each process of its share."""
    own = _find_good(sounds[comm.get_rank() :: comm.get_world_size()], made)
    return set().union(*comm.all_gather(own))


def _find_good(sounds: Sequence[VideoSound], made: Provenance) -> set[VideoSound]:
    """Those whose features exist, are in order, and are what would be made."""
    existing = [sound for sound in sounds if is_file(sound.features_file)]
    is_hidden = not comm.is_main_process()
    with ThreadPoolExecutor() as pool:
        checks = pool.map(partial(_find_flaw, feature_dim=len(made.silence)), existing)
        flaws = list(
            tqdm(checks, "checking", len(existing), unit="file", delay=2, leave=False, disable=is_hidden)
        )
    for flaw in filter(None, flaws):
        logger.warning("%s: made anew", flaw)
    return _without_others([sound for sound, flaw in zip(existing, flaws, strict=True) if not flaw], made)


def _find_flaw(sound: VideoSound, feature_dim: int) -> str:
    """What is wrong with a file of features; nothing: an empty string."""
    try:
        features = load_features(sound, range(sound.length), feature_dim)
        read_provenance(sound.features_file)
    except ValueError as error:
        return str(error)
    several = features.dim() == 3
    return f"{sound.features_file}: of {features.shape[1]} separated sources, not of one" if several else ""


def _without_others(sounds: Sequence[VideoSound], made: Provenance) -> set[VideoSound]:
    """Those whose features the same maker has made; one line says how many another has."""
    makers = {sound: read_provenance(sound.features_file) for sound in sounds}
    takes_bare = made.backbone == BARE_BACKBONE and not made.postprocess
    bare = {sound for sound, maker in makers.items() if maker is None and takes_bare}
    own = {sound for sound, maker in makers.items() if maker and maker.recipe == made.recipe}
    if bare:
        logger.info("%d files do not say what made them: taken for VGGish's and kept", len(bare))
    others = [sound for sound in makers if sound not in bare | own]
    if others:
        first = others[0].features_file
        logger.warning(
            "%d files are of %s, the first is %s; now it is %s: made anew",
            len(others), describe(makers[others[0]]), first, describe(made),
        )  # fmt: skip
    return bare | own
