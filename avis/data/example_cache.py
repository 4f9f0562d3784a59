"""The log-mel examples that a loader's process has computed, kept for when their frames are drawn again.

Every example is computed by itself, so that it does not depend on which others are wanted or kept.
"""

import os
from collections import OrderedDict
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from avis.data.clip_audio import VideoSound, load_examples

# 24 KiB each: of the sound of 87 minutes at one frame a second.
MAX_EXAMPLES = 5 * 2**10


class ExampleCache:
    """Loads the examples of clips; the oldest unused go first. A file that has changed is read again."""

    def __init__(self, fps: float, max_examples: int = MAX_EXAMPLES) -> None:
        """Set up an empty cache.

        Args:
            fps: frames per second of the videos.
            max_examples: how many are kept.
        """
        self.fps, self.max_examples = fps, max_examples
        self._examples: OrderedDict[Hashable, Tensor] = OrderedDict()

    def load(self, sound: VideoSound, frame_indices: Sequence[int]) -> Tensor:
        """The log-mel examples of F frames of a video, (F, 96, 64); see `load_examples`."""
        if sound.audio_file is None:
            return load_examples(sound, frame_indices, self.fps)
        file = _identity(sound.audio_file)
        return torch.stack([self._load_one(sound, row, file) for row in sound.rows(frame_indices)])

    def _load_one(self, sound: VideoSound, row: int, file: Hashable) -> Tensor:
        key = (file, sound.audio_track, sound.start, row)
        if key not in self._examples:
            self._examples[key] = load_examples(sound, [row], self.fps)[0]
        self._examples.move_to_end(key)
        if len(self._examples) > self.max_examples:
            self._examples.popitem(last=False)
        return self._examples[key]


def _identity(path: str) -> Hashable:
    """What tells a file from another, and from itself after a change; None where there is none."""
    try:
        state = os.stat(path)
    except OSError:  # that it is missing is said where it is read
        return None
    return path, state.st_ino, state.st_size, state.st_mtime_ns
