"""Where what a model has seen of a video waits until the whole video is seen.

Dimensions: B clips, t frames of a chunk, T frames of the video.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from avis.modeling.frame_storage import (
    FileStorage,
    FrameStorage,
    MemoryStorage,
    bytes_of_frames,
    choose_place,
    gibibytes,
)

logger = logging.getLogger(__name__)


class FrameFeatures(dict[str, Tensor]):
    """Features of some frames by name, each (B, t, …)."""

    @property
    def num_frames(self) -> int:
        """t."""
        return next(iter(self.values())).shape[1]


class StoredFeature:
    """One feature of all frames: ``feature[:, 10:20]`` are those of ten frames, (B, 10, …), on the device."""

    def __init__(self, storage: FrameStorage, name: str, device: torch.device) -> None:
        """Keep where the feature is."""
        self._storage, self._name, self._device = storage, name, device

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        _, frames = index
        return self._storage.read(self._name, frames).to(self._device)


class StoredFrames(Mapping[str, Tensor]):
    """Features of some frames by name, each (B, t, …): read when they are asked for, and then not kept."""

    def __init__(self, features: Mapping[str, StoredFeature], frames: slice) -> None:
        """Keep where they are."""
        self._features, self.frames = features, frames

    @property
    def num_frames(self) -> int:
        """t."""
        return self.frames.stop - self.frames.start

    def __getitem__(self, name: str) -> Tensor:
        return self._features[name][:, self.frames]

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)


class FeatureStore(Sequence[Any]):
    """The parts of a video in the order in which they came.

    `FrameFeatures` are laid side by side, in tensors of T frames or in a file, which closes with the store.
    Parts of other types stay as they are.

    Attributes:
        num_frames: T.
        place: where features lie, "device", "host" or "file"; "auto" until the first ones come.
    """

    def __init__(
        self, num_frames: int, place: str = "device", passed: Callable[[int], object] = lambda number: None
    ) -> None:
        """Make a store.

        Args:
            num_frames: T.
            place: where features shall lie; "auto" is chosen by their size.
            passed: is told how many frames an iteration over the parts has left behind.
        """
        self.num_frames, self.place, self._passed = num_frames, place, passed
        self._parts: list[Any] = []
        self._storage: FrameStorage | None = None
        self._features: dict[str, StoredFeature] = {}
        self._filled = 0

    def __enter__(self) -> "FeatureStore":
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._storage, FileStorage):
            self._storage.close()

    @property
    def streams(self) -> bool:
        """Whether features are not all on the device, so that they are better read part by part."""
        return self._storage is not None and self.place != "device"

    def place_for(self, features: FrameFeatures) -> str:
        """Where features like these lie, which are the first."""
        if self.place == "auto":
            device = next(iter(features.values())).device
            self.place = choose_place(bytes_of_frames(features, self.num_frames), device)
        return self.place

    def append(self, part: Any) -> None:
        """Keep a part.

        Raises:
            ValueError: a part of features has more frames than there is room for.
            OSError: features belong into a file, and the disk has too little space.
        """
        if isinstance(part, FrameFeatures):
            part = self._lay(part)
        self._parts.append(part)

    def feature(self, name: str) -> Tensor | StoredFeature:
        """One feature of all T frames, of which ``[:, frames]`` gives those of some, (B, t, …).

        Raises:
            ValueError: frames are missing.
        """
        return self._features[name] if self.streams else self.whole()[name]

    def whole(self) -> FrameFeatures:
        """The features of all T frames on the device, (B, T, …); without a copy if they are there.

        Raises:
            ValueError: frames are missing.
        """
        if self._filled != self.num_frames:
            raise ValueError(f"features of {self._filled} of {self.num_frames} frames are there")
        if self._storage is None:
            return next(part for part in self._parts if isinstance(part, FrameFeatures))
        whole = FrameFeatures({name: feature[:, :] for name, feature in self._features.items()})
        if self.streams:
            text = "the features of all %d frames are read into memory at once, %s: a part needs all frames"
            logger.warning(text, self.num_frames, gibibytes(bytes_of_frames(whole, self.num_frames)))
        return whole

    def __getitem__(self, index: int) -> Any:
        return self._parts[index]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Any]:
        """Go through the video once, which counts as progress."""
        for part in self._parts:
            yield part
            if isinstance(part, StoredFrames):
                self._passed(part.num_frames)

    def _lay(self, part: FrameFeatures) -> FrameFeatures | StoredFrames:
        start, stop = self._filled, self._filled + part.num_frames
        if stop > self.num_frames:
            raise ValueError(f"frames {start} to {stop - 1} of a video of {self.num_frames}")
        self._filled = stop
        if part.num_frames == self.num_frames:  # as in training: kept as it is, with its gradients
            return part
        if self._storage is None:
            self._open(part)
        for name, features in part.items():
            self._storage.write(name, start, features)
        return StoredFrames(self._features, slice(start, stop))

    def _open(self, part: FrameFeatures) -> None:
        """Make room for features like those of the first part."""
        device = next(iter(part.values())).device
        if self.place_for(part) == "file":
            self._storage = FileStorage(part, self.num_frames)
        else:
            of_memory = device if self.place == "device" else torch.device("cpu")
            self._storage = MemoryStorage(part, self.num_frames, of_memory)
        self._features = {name: StoredFeature(self._storage, name, device) for name in part}


def join_frames(parts: Sequence[Mapping[str, Tensor]]) -> FrameFeatures:
    """The features of all frames, (B, T, …), from the parts of a store or of any other sequence."""
    if isinstance(parts, FeatureStore):
        return parts.whole()
    if len(parts) == 1:
        return parts[0]
    return FrameFeatures({name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]})


def all_frames(parts: Sequence[Mapping[str, Tensor]], name: str) -> Tensor | StoredFeature:
    """One feature of all frames, of which ``[:, frames]`` gives those of some, (B, t, …)."""
    return parts.feature(name) if isinstance(parts, FeatureStore) else join_frames(parts)[name]


def is_streamed(parts: Sequence[Any]) -> bool:
    """Whether the parts of a video are better read one after the other than joined."""
    return isinstance(parts, FeatureStore) and parts.streams
