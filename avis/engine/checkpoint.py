"""Saving and resuming the whole state of a training run."""

import errno
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from fvcore.common.checkpoint import Checkpointer
from torch import Tensor, nn

from avis import __version__
from avis.audio import weights as audio_weights
from avis.engine.changed_settings import changed_settings
from avis.engine.rng import get_rng_state
from avis.files import replacing
from avis.structures import Categories
from avis.weights import (
    LAST_CHECKPOINT,
    apply_weights,
    classes_of,
    load_weights,
    newest_checkpoint,
    read_checkpoint,
    set_classes,
)
from avis.weights.about import categories_of

logger = logging.getLogger(__name__)

# Of the disk, of a quota, and of the largest file that is allowed.
_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class AVISCheckpointer(Checkpointer):
    """Detectron2's checkpointer with safe reading, files that are whole or absent, and generator states.

    Files say what they hold: the categories of the model's classes (`set_classes`), config and version.

    Args:
        model: the model, plain or wrapped for distributed training.
        save_dir: the folder of the checkpoints; holds ``last_checkpoint``, the name of the newest.
        config: of the model, as YAML.
        checkpointables: objects with ``state_dict`` and ``load_state_dict``, saved beside the model.
    """

    def __init__(
        self, model: nn.Module, save_dir: str = "", config: str = "", **checkpointables: Any
    ) -> None:
        super().__init__(model, save_dir, save_to_disk=comm.is_main_process(), **checkpointables)
        self.path_manager = PathManager
        self.config = config

    def save(
        self, name: str, rng_states: list[dict] | None = None, *, is_last: bool = True, **extra: Any
    ) -> None:
        """Write ``<save_dir>/<name>.pth``.

        Args:
            name: of the file, without its suffix.
            rng_states: the generator states of the processes; None: they are collected, for which every
                process must call this. The main process writes.
            is_last: whether ``last_checkpoint`` names the file.
            extra: what the file shall hold, too.

        Raises:
            OSError: the file cannot be written. The one before it and ``last_checkpoint`` are as they were.
        """
        rng_states = comm.gather(get_rng_state()) if rng_states is None else rng_states
        if not (self.save_dir and self.save_to_disk):
            return
        states = {key: item.state_dict() for key, item in self.checkpointables.items()}
        described = {"config": self.config, "version": __version__}
        if classes := classes_of(self.model):
            described["categories"] = classes.to_json()
        checkpoint = {"model": self._weights(), **described, **states, "rng_states": rng_states, **extra}
        path = Path(self.save_dir, f"{name}.pth")
        logger.info("Saving checkpoint to %s", path)
        try:
            with replacing(path) as unfinished, unfinished.open("wb") as file:
                torch.save(checkpoint, file)
            if is_last:
                self.tag_last_checkpoint(path.name)
        except (OSError, RuntimeError) as error:
            raise _explained(error, path) from error

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the newest checkpoint in ``last_checkpoint``."""
        with replacing(Path(self.save_dir, LAST_CHECKPOINT)) as unfinished:
            unfinished.write_text(last_filename_basename)

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict:
        """Load the newest whole checkpoint of `save_dir`, or if there is none the weights of `path`.

        Args:
            path: as `load` takes it.
            resume: False loads `path` alone.

        Returns:
            As `load`.

        Raises:
            FileNotFoundError: as `newest_checkpoint` and `load`.
            ValueError: as `newest_checkpoint` and `load`.
        """
        newest = newest_checkpoint(self.save_dir) if resume else None
        return self.load(newest) if newest else self.load(path, checkpointables=[])

    def load(self, path: str, checkpointables: Sequence[str] | None = None) -> dict:
        """Load a checkpoint.

        Args:
            path: a file as `read_checkpoint` takes; "" loads nothing.
            checkpointables: which objects to load beside the model, None: all. With objects, this resumes a
                run: the model must agree with the file in every name and shape. Without any, the weights that
                fit are loaded.

        Returns:
            What the file holds beside the model and the checkpointables.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, or does not belong to this model.
        """
        if not path:
            logger.info("No weights to load: the model keeps its initial values")
            return {}
        if checkpointables is None:
            checkpointables = list(self.checkpointables)
        if checkpointables:
            return self._resume(path, checkpointables)
        audio_weights.note_loaded(self.model, load_weights(self.model, path))
        return {}

    def _resume(self, path: str, checkpointables: Sequence[str]) -> dict:
        checkpoint = read_checkpoint(path)
        for change in changed_settings(checkpoint.get("config", ""), self.config):
            logger.warning("Changed since the checkpoint, from now on: %s", change)
        self._keep_classes(path, categories_of(checkpoint))
        report = apply_weights(self.model, checkpoint)
        unsaved = audio_weights.unsaved_prefixes(self.model)
        report.missing = [name for name in report.missing if not name.startswith(unsaved)]
        if not report.complete():
            raise ValueError(
                f"cannot resume from {path}: the model differs from the saved one ({report.summary()}). "
                "To start anew from its weights, set MODEL.WEIGHTS to it and leave --resume out"
            )
        del checkpoint["model"]
        for key in checkpointables:
            if key not in checkpoint:
                raise ValueError(f"cannot resume from {path}: it holds no {key!r}, only weights")
            self.checkpointables[key].load_state_dict(checkpoint.pop(key))
        audio_weights.note_loaded(self.model, report)
        logger.info("Resumed from %s", path)
        return checkpoint

    def _keep_classes(self, path: str, saved: Categories | None) -> None:
        """Go on with the classes of the run, in its order, which weights and optimizer follow."""
        own = classes_of(self.model)
        if saved and own and set(saved.names) != set(own.names):
            raise ValueError(
                f"cannot resume from {path}: its categories are {', '.join(saved.names)}, those of "
                f"DATASETS.TRAIN are {', '.join(own.names)}. To start anew from its weights, set "
                "MODEL.WEIGHTS to it and leave --resume out"
            )
        set_classes(self.model, saved or own)

    def _weights(self) -> dict[str, Tensor]:
        unsaved = audio_weights.unsaved_prefixes(self.model)
        return {name: v for name, v in self.model.state_dict().items() if not name.startswith(unsaved)}


def _explained(error: Exception, path: Path) -> Exception:
    """Say that the disk is full, where that is the reason, which PyTorch's writer hides behind its own."""
    if any(getattr(cause, "errno", None) in _DISK_IS_FULL for cause in _causes(error)):
        return OSError(
            f"no space left to write {path}: the checkpoints before it are whole. Make room, or set "
            "SOLVER.CHECKPOINT_KEEP to keep fewer, and go on by --resume"
        )
    return error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
