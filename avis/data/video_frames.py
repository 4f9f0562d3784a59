"""The frames of a whole video, of which a few at a time are in memory.

Dimensions: T frames of the video, h×w as the model takes them.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from avis.data.preprocessing import FramePreparation
from avis.files import ScratchFile


class VideoFrames(Sequence[Tensor]):
    """Uint8 tensors (3, h, w), read when they are asked for and then not kept; a slice gives a list."""

    def __init__(self, read: Callable[[int], Tensor], num_frames: int) -> None:
        """Keep what reads a frame, and T."""
        self._read, self._num_frames = read, num_frames

    def __len__(self) -> int:
        return self._num_frames

    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        chosen = range(self._num_frames)[index]
        return [self._read(frame) for frame in chosen] if isinstance(index, slice) else self._read(chosen)


class PreparedReading:
    """Reads a frame and prepares it; worker processes can hand it over."""

    def __init__(self, read: Callable[[int], np.ndarray], prepare: FramePreparation) -> None:
        """Keep what reads a frame, RGB uint8 (H, W, 3), and what is done to it."""
        self._read, self._prepare = read, prepare

    def __call__(self, index: int) -> Tensor:
        """The frame, uint8 (3, h, w)."""
        return self._prepare(self._read(index), index)


class SpooledFrames:
    """The frames of a source that gives them one after the other, in a scratch file; a context that ends it.

    A video file can be decoded from its start only, so what is read twice goes to the disk meanwhile.
    """

    def __init__(self, frames: Iterable[Tensor]) -> None:
        """Write down frames, uint8 (3, h, w), all of one size; at least one.

        Raises:
            OSError: the disk is full.
        """
        self._file = ScratchFile()
        try:
            self._num_frames = self._write(frames)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> VideoFrames:
        return VideoFrames(self._read, self._num_frames)

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _write(self, frames: Iterable[Tensor]) -> int:
        number = -1
        for number, frame in enumerate(frames):
            self._shape = frame.shape
            self._file.write(memoryview(frame.numpy().reshape(-1)), number * frame.nbytes)
        return number + 1

    def _read(self, index: int) -> Tensor:
        frame = torch.empty(self._shape, dtype=torch.uint8)
        self._file.read_into(memoryview(frame.numpy().reshape(-1)), index * math.prod(self._shape))
        return frame
