"""Uncompressed WAV files, of which only the samples asked for are read.

Follows the RIFF/WAVE format (IBM and Microsoft, 1991) with WAVE_FORMAT_EXTENSIBLE. FFmpeg reads these files
too, but takes milliseconds for every second of sound, and does not notice when a file is cut off.
libsndfile finds no sound where a recorder left the sizes at 0, or where a note announces too much. It tells
of wrong sizes in its log alone.

Recorders that write to pipes, or stop early, announce more than there is: such files are read to their end,
with a warning.

Dimensions: N samples.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from avis.media.errors import warn_once

_INTEGER, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
# Samples of each channel that are converted at once.
_BLOCK = 2**18
_DTYPES = {
    (_INTEGER, 8): "u1",
    (_INTEGER, 16): "<i2",
    (_INTEGER, 32): "<i4",
    (_FLOAT, 32): "<f4",
    (_FLOAT, 64): "<f8",
}


@dataclass(frozen=True)
class WavSamples:
    """Where and how a WAV holds its samples: `length` for each channel, interleaved from byte `offset` on."""

    path: str | Path
    offset: int
    length: int
    channels: int
    sample_rate: int
    dtype: np.dtype

    def read(self, first: int, count: int | None) -> np.ndarray:
        """Read up to `count` samples from sample `first` on, channels averaged; before sample 0 is silence.

        Returns:
            float32 (N,), nominally within [-1, 1].
        """
        silence = max(-first, 0) if count is None else min(max(-first, 0), count)
        begin = min(max(first, 0), self.length)
        end = self.length if count is None else min(max(first + count, begin), self.length)
        mono = np.zeros(silence + end - begin, np.float32)
        # A block at a time: of a long sound the whole has no room in every step on the way to floats.
        for start in range(begin, end, _BLOCK):
            stop = min(start + _BLOCK, end)
            place = slice(silence + start - begin, silence + stop - begin)
            mono[place] = to_float(self._interleaved(start, stop)).mean(axis=1)
        return mono

    def _interleaved(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, channels) samples as the file has them."""
        offset = self.offset + start * self.channels * self.dtype.itemsize
        samples = np.fromfile(self.path, self.dtype, (stop - start) * self.channels, offset=offset)
        return samples.reshape(-1, self.channels)


def find_samples(path: str | Path) -> WavSamples | None:
    """Find the samples of a WAV.

    Returns:
        None if it is another kind of file, or holds samples that are compressed or of 24 bits.

    Raises:
        ValueError: it is a WAV without samples.
    """
    with open(path, "rb") as file:
        name, whole = _next_chunk(file)
        if name != b"RIFF" or file.read(4) != b"WAVE":
            return None
        form, size = _find_data(file)
        offset = file.tell()
    present = os.path.getsize(path) - offset
    if size is None:
        raise ValueError(f"{path}: a WAV without samples: it has no 'data' chunk")
    whole -= offset - 8  # what the file's own size says of the samples and what follows them
    if max(size, whole - whole % 2) > present:
        warn_once(
            f"{path}: it announces {max(size, whole)} bytes of sound and holds {present}: it is read to its "
            "end. It was cut off, or its recorder could not know the size"
        )
    # 0: a recorder that could not go back to fill in the size
    return _describe(path, form, offset, min(size or present, present))


def to_float(samples: np.ndarray) -> np.ndarray:
    """Samples of any type as float32 of the same shape: integers are divided by their type's full scale."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    return samples.astype(np.float32) / np.float32(2 ** (8 * samples.dtype.itemsize - 1))


def _describe(path: str | Path, form: bytes, offset: int, size: int) -> WavSamples | None:
    """Read the format chunk `form` of a WAV that holds `size` bytes of samples from byte `offset` on."""
    encoding, channels, sample_rate, bits = (
        int.from_bytes(form[start:end], "little") for start, end in ((0, 2), (2, 4), (4, 8), (14, 16))
    )
    if encoding == _EXTENSIBLE:
        encoding = int.from_bytes(form[24:26], "little")
    if (encoding, bits) not in _DTYPES or not channels or not sample_rate:
        return None
    dtype = np.dtype(_DTYPES[encoding, bits])
    return WavSamples(path, offset, size // (channels * dtype.itemsize), channels, sample_rate, dtype)


def _find_data(file: BinaryIO) -> tuple[bytes, int | None]:
    """Go to the samples; the format chunk, and the announced size in bytes (None: there are no samples)."""
    form = b""
    name, size = _next_chunk(file)
    while name not in (b"data", b""):
        begin = file.tell()
        content = file.read(size + size % 2)
        form = content if name == b"fmt " else form
        if len(content) < size and b"data" in content:  # a chunk that announces too much
            file.seek(begin + content.index(b"data"))
        name, size = _next_chunk(file)
    return form, size if name else None


def _next_chunk(file: BinaryIO) -> tuple[bytes, int]:
    """Name and size in bytes of the chunk that follows; an empty name at the end of the file."""
    header = file.read(8)
    return (header[:4], int.from_bytes(header[4:], "little")) if len(header) == 8 else (b"", 0)
