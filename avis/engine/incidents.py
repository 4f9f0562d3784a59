"""What training skips: clips that cannot be read, and iterations whose loss or gradient is not finite.

Each is counted, named in the log and in a file, and too many of them end the training.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from detectron2.utils import comm
from torch import Tensor, nn

logger = logging.getLogger(__name__)

# Names that a message lists.
_MAX_NAMES = 5


class Incidents:
    """The incidents of a run; every process calls the same methods in the same order.

    Attributes:
        clips: that were skipped, in all processes.
        iterations: that were skipped.
        in_a_row: of these, the last ones without a good one between them.
    """

    def __init__(self, file: Path, *, skip_clips: bool, max_clips: int, max_iterations: int) -> None:
        """Set up the counts.

        Args:
            file: gets one JSON object a line for each incident.
            skip_clips: whether the loader skips clips; if not, nobody asks the other processes for theirs.
            max_clips: that may be skipped.
            max_iterations: in a row that end the training.
        """
        self.file, self.skip_clips = file, skip_clips
        self.max_clips, self.max_iterations = max_clips, max_iterations
        self.clips = self.iterations = self.in_a_row = 0

    def note_clips(self, iteration: int, batch: Sequence[dict]) -> None:
        """Count what the loader has skipped to make this process's share of a batch.

        Raises:
            ValueError: more than `max_clips` were skipped.
        """
        if not self.skip_clips:
            return
        own = [skipped for clip in batch for skipped in clip.get("skipped", ())]
        for video, reason in _of_all_processes(own):
            self.clips += 1
            logger.warning("Iteration %d: a clip of video %r is skipped: %s", iteration, video, reason)
            self._write(iteration=iteration, skipped="clip", videos=[video], reason=reason)
        if self.clips > self.max_clips:
            raise ValueError(
                f"{self.clips} clips could not be read, more than DATALOADER.MAX_SKIPPED {self.max_clips}; "
                f"{self.file} names them, and tools/validate_dataset.py finds all problems of a data set"
            )

    def note_iteration(
        self, iteration: int, batch: Sequence[dict], model: nn.Module, error: FloatingPointError
    ) -> None:
        """Count an iteration that has changed nothing.

        Raises:
            FloatingPointError: it is the last of `max_iterations` in a row; with a diagnosis.
        """
        self.iterations += 1
        self.in_a_row += 1
        clips = _of_all_processes([_describe(clip) for clip in batch])
        text = f"iteration {iteration}: {error}. Its clips: {'; '.join(clips)}"
        self._write(iteration=iteration, skipped="iteration", videos=clips, reason=str(error))
        if self.in_a_row >= self.max_iterations:
            raise FloatingPointError(f"{text}. {self._diagnosis(model)}") from error
        logger.warning("Skipped %s", text)

    def note_success(self) -> None:
        """An iteration has changed the weights."""
        self.in_a_row = 0

    def metrics(self) -> dict[str, int]:
        """What there is to report beside the losses."""
        counts = {"skipped_clips": self.clips, "skipped_iterations": self.iterations}
        return {name: count for name, count in counts.items() if count}

    def state_dict(self) -> dict[str, int]:
        """The counts."""
        return {"clips": self.clips, "iterations": self.iterations, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on counting from those of a checkpoint."""
        self.clips, self.iterations, self.in_a_row = (
            state[name] for name in ("clips", "iterations", "in_a_row")
        )

    def _diagnosis(self, model: nn.Module) -> str:
        broken = [name for name, value in model.state_dict().items() if not _is_finite(value)]
        if broken:
            names = ", ".join(broken[:_MAX_NAMES])
            return f"The weights are not finite: {names}{' …' if broken[_MAX_NAMES:] else ''}"
        return (
            f"The weights are finite, those of before {self.in_a_row} skipped iteration(s) "
            f"(SOLVER.MAX_NONFINITE {self.max_iterations}). Clips that return in {self.file} are at fault; "
            "if there are none, lower SOLVER.BASE_LR, clip gradients, or use bfloat16 instead of float16"
        )

    def _write(self, **incident: object) -> None:
        if comm.is_main_process():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(incident, ensure_ascii=False) + "\n")


def _of_all_processes(own: list) -> list:
    return [item for of_process in comm.all_gather(own) for item in of_process]


def _describe(clip: dict) -> str:
    """What a message calls a clip, and which of its inputs are not finite."""
    name = f"video {clip.get('video_id')!r} frames {clip.get('frame_indices')}"
    broken = [key for key, value in _tensors(clip) if not _is_finite(value)]
    return f"{name}, of which {', '.join(broken)} is not finite" if broken else name


def _tensors(clip: dict) -> Iterator[tuple[str, Tensor]]:
    return ((key, value) for key, value in clip.items() if isinstance(value, Tensor))


def _is_finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value).all())
