"""Where the features of a video's frames lie: on the device, in host memory, or in a file.

A file is a scratch file (`avis.files`): nothing is left of it, however a process ends.

Dimensions: B clips, t frames of a chunk, T frames of the video.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from avis.files import ScratchFile

logger = logging.getLogger(__name__)

# Values of MODEL.MASK_FORMER.TEST.FEATURE_STORE.
PLACES = ("auto", "device", "host", "file")

# Bytes that "auto" lets features take in host memory.
_HOST_BYTES = 2 * 2**30
# A decoder that has all features at once takes about so many times their memory.
_ALL_AT_ONCE = 3


def check_place(place: str) -> str:
    """Return the place.

    Raises:
        ValueError: there is no such place.
    """
    if place not in PLACES:
        raise ValueError(f"MODEL.MASK_FORMER.TEST.FEATURE_STORE is {place!r}; it can be one of {PLACES}")
    return place


def choose_place(num_bytes: int, device: torch.device) -> str:
    """Choose by size where features lie: on the device, else in host memory, else in a file.

    On a CPU the choice depends on the size alone, so that a video has the same numbers on all machines.

    Args:
        num_bytes: of the features of all frames.
        device: that computes.
    """
    if _ALL_AT_ONCE * num_bytes <= _device_bytes(device):
        return "device"
    return "host" if num_bytes <= _HOST_BYTES else "file"


def _device_bytes(device: torch.device) -> int:
    """Bytes of a device that a video may take: half of what is free."""
    if device.type != "cuda":
        return _HOST_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (free + unused) // 2


class FrameStorage(ABC):
    """Features of T frames by name."""

    @abstractmethod
    def write(self, name: str, start: int, features: Tensor) -> None:
        """Keep the features (B, t, …) of the frames from `start` on."""

    @abstractmethod
    def read(self, name: str, frames: slice) -> Tensor:
        """The features (B, t, …) of some frames, perhaps on another device than they came from."""


class MemoryStorage(FrameStorage):
    """Features lie in one tensor each, (B, T, …), and are read without a copy."""

    def __init__(self, shapes: Mapping[str, Tensor], num_frames: int, device: torch.device) -> None:
        """Make room for T frames of features like those of `shapes`, (B, t, …)."""
        self._features = {
            name: x.new_empty((x.shape[0], num_frames, *x.shape[2:]), device=device)
            for name, x in shapes.items()
        }

    def write(self, name: str, start: int, features: Tensor) -> None:
        """See `FrameStorage.write`."""
        self._features[name][:, start : start + features.shape[1]] = features

    def read(self, name: str, frames: slice) -> Tensor:
        """See `FrameStorage.read`."""
        return self._features[name][:, frames]


class FileStorage(FrameStorage):
    """Features lie in a file of the system's temporary folder (TMPDIR), frame after frame of each name.

    Attributes:
        reserve: bytes of the disk that are left to others.
    """

    reserve = 2**28

    def __init__(self, shapes: Mapping[str, Tensor], num_frames: int) -> None:
        """Open the file for T frames of features like those of `shapes`, (B, t, …), and say its size.

        Raises:
            OSError: the disk has too little space.
        """
        self._of_frame = {name: x[:, :1].transpose(0, 1).to("meta") for name, x in shapes.items()}
        self._num_frames, self._offsets, size = num_frames, {}, 0
        for name, x in self._of_frame.items():
            self._offsets[name] = size
            size += num_frames * x.nbytes
        _check_disk(size, num_frames, self.reserve)
        self._file = ScratchFile()

    def write(self, name: str, start: int, features: Tensor) -> None:
        """See `FrameStorage.write`."""
        by_frame = features.detach().transpose(0, 1).cpu().contiguous()
        self._file.write(_bytes_of(by_frame), self._offsets[name] + start * self._of_frame[name].nbytes)

    def read(self, name: str, frames: slice) -> Tensor:
        """See `FrameStorage.read`."""
        start, stop, _ = frames.indices(self._num_frames)
        one = self._of_frame[name]
        by_frame = torch.empty((stop - start, *one.shape[1:]), dtype=one.dtype)
        self._file.read_into(_bytes_of(by_frame), self._offsets[name] + start * one.nbytes)
        return by_frame.transpose(0, 1)

    def close(self) -> None:
        """Close the file, and so remove it."""
        self._file.close()


def bytes_of_frames(features: Mapping[str, Tensor], num_frames: int) -> int:
    """Bytes that T frames of features like these, (B, t, …), take."""
    return sum(x.nbytes // x.shape[1] * num_frames for x in features.values())


def gibibytes(num_bytes: int) -> str:
    """A number of bytes for people to read."""
    return f"{num_bytes / 2**30:.1f} GiB"


def _bytes_of(x: Tensor) -> memoryview:
    """The memory of a contiguous tensor."""
    return memoryview(x.view(-1).view(torch.uint8).numpy())


def _check_disk(size: int, num_frames: int, reserve: int) -> None:
    """Say how much disk space the features of a video take.

    Raises:
        OSError: there is too little.
    """
    free, folder = ScratchFile.free_space()
    if size + reserve > free:
        raise OSError(
            f"the features of {num_frames} frames need {gibibytes(size)} of disk space, but {folder} has "
            f"{gibibytes(free)} free. Let TMPDIR name a folder with more space, or keep them in memory: "
            "MODEL.MASK_FORMER.TEST.FEATURE_STORE host"
        )
    logger.info(
        "features of %d frames: %s in a temporary file in %s, which has %s free",
        num_frames, gibibytes(size), folder, gibibytes(free),
    )  # fmt: skip
