"""Where what a model has seen of a video waits until the whole video is seen.

Dimensions: B clips, t frames of a chunk, T frames of the video.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


class FrameFeatures(dict[str, Tensor]):
    """Features of some frames by name, each (B, t, …)."""

    @property
    def num_frames(self) -> int:
        """t."""
        return next(iter(self.values())).shape[1]


class FeatureStore(Sequence[Any]):
    """The parts of a video in the order in which they came.

    `FrameFeatures` are laid side by side in tensors of T frames, so that the whole is never copied. Parts of
    other types stay as they are.
    """

    def __init__(self, num_frames: int) -> None:
        """Make room for a video of T frames."""
        self._num_frames = num_frames
        self._parts: list[Any] = []
        self._whole = FrameFeatures()
        self._filled = 0

    def append(self, part: Any) -> None:
        """Keep a part.

        Raises:
            ValueError: a part of features has more frames than there is room for.
        """
        if isinstance(part, FrameFeatures):
            part = self._lay(part)
        self._parts.append(part)

    def whole(self) -> FrameFeatures:
        """The features of all T frames, (B, T, …), without a copy.

        Raises:
            ValueError: frames are missing.
        """
        if self._filled != self._num_frames:
            raise ValueError(f"features of {self._filled} of {self._num_frames} frames are there")
        return self._whole

    def __getitem__(self, index: int) -> Any:
        return self._parts[index]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parts)

    def _lay(self, part: FrameFeatures) -> FrameFeatures:
        start, stop = self._filled, self._filled + part.num_frames
        if stop > self._num_frames:
            raise ValueError(f"frames {start} to {stop - 1} of a video of {self._num_frames}")
        self._filled = stop
        if part.num_frames == self._num_frames:  # as in training: kept as it is, with its gradients
            self._whole = part
            return part
        for name, features in part.items():
            if name not in self._whole:
                shape = (features.shape[0], self._num_frames, *features.shape[2:])
                self._whole[name] = features.new_empty(shape)
            self._whole[name][:, start:stop] = features
        return FrameFeatures({name: self._whole[name][:, start:stop] for name in part})


def join_frames(parts: Sequence[FrameFeatures]) -> FrameFeatures:
    """The features of all frames, (B, T, …), from the parts of a store or of any other sequence."""
    if isinstance(parts, FeatureStore):
        return parts.whole()
    if len(parts) == 1:
        return parts[0]
    return FrameFeatures({name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]})
