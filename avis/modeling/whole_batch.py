"""What each part of a batch must know of the whole one, so that the parts together learn what it would teach.

A batch is split over processes, and in each process over passes (SOLVER.ACCUMULATE). Losses are means over
the clips, tracks or queries of the whole batch, and all its frames are padded to one size. The host knows
these facts of a clip before the model sees it, so that no part waits for a device to learn them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from detectron2.utils import comm
from torch import Tensor


class TrackCounts(NamedTuple):
    """How many tracks there are to find in each clip, or each frame, of a whole batch.

    Attributes:
        numbers: of all parts.
        num_parts: into which the batch is split.
    """

    numbers: tuple[int, ...]
    num_parts: int = 1


@dataclass(frozen=True)
class ClipFacts:
    """What other parts of a batch must know of a clip of T frames.

    Attributes:
        size: height and width of its largest frame.
        num_tracks: that are seen in at least one frame.
        in_frames: T numbers of tracks that are seen in a frame.
        num_sounding: T numbers of objects that sound in a frame, in view or not; None if that is not known.
    """

    size: tuple[int, int]
    num_tracks: int
    in_frames: tuple[int, ...]
    num_sounding: tuple[int, ...] | None = None


@dataclass(frozen=True)
class WholeBatch:
    """The facts of all clips of a batch.

    Attributes:
        clips: of all processes and passes.
        num_parts: passes of all processes together.
    """

    clips: tuple[ClipFacts, ...]
    num_parts: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that hold every frame."""
        heights, widths = zip(*(clip.size for clip in self.clips), strict=True)
        return max(heights), max(widths)

    @property
    def tracks_of_clips(self) -> TrackCounts:
        """The tracks of each clip."""
        return TrackCounts(tuple(clip.num_tracks for clip in self.clips), self.num_parts)

    @property
    def tracks_of_frames(self) -> TrackCounts:
        """The tracks of each frame of each clip."""
        numbers = tuple(number for clip in self.clips for number in clip.in_frames)
        return TrackCounts(numbers, self.num_parts)

    def mean(self, amount: Callable[[ClipFacts], float]) -> float:
        """The mean over the parts of an amount that is summed over the clips of a part.

        A part's sum divided by this is its share in the mean over the whole batch: the shares' mean is that.
        """
        return sum(map(amount, self.clips)) / self.num_parts


def with_whole_batch(clips: Sequence[dict], num_passes: int = 1) -> list[dict]:
    """Tell the clips of this process what they must know of the batch; all processes must call this.

    Args:
        clips: as the model takes them, with "instances".
        num_passes: in which the model will see the clips.

    Returns:
        New dicts, with "batch", a `WholeBatch`, and "seen", (M, T) as `seen_in_frames` gives it.
    """
    seen = [seen_in_frames(clip) for clip in clips]
    own = tuple(map(_facts, clips, seen))
    of_processes = comm.all_gather(own)
    facts = tuple(clip for of_process in of_processes for clip in of_process)
    batch = WholeBatch(facts, num_passes * len(of_processes))
    return [{**clip, "batch": batch, "seen": each} for clip, each in zip(clips, seen, strict=True)]


def seen_in_frames(clip: dict) -> Tensor:
    """(M, T) bool, whether each of M annotated tracks has a mask in a frame of a clip."""
    return torch.stack([frame.gt_masks.tensor.flatten(1).any(1) for frame in clip["instances"]], dim=1)


def _facts(clip: dict, seen: Tensor) -> ClipFacts:
    height, width = (max(frame.shape[axis] for frame in clip["image"]) for axis in (-2, -1))
    counts = clip.get("num_sounding")
    return ClipFacts(
        (height, width),
        int(seen.any(1).sum()),
        tuple(seen.sum(0).tolist()),
        None if counts is None else tuple(counts.tolist()),
    )
