"""The ground truth of a training clip, brought to the model's device without holding up the host.

Dimensions: M tracks, T frames, h×w frames, H×W frames with padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from avis.modeling.points import Rand, seeded_rand
from avis.modeling.whole_batch import ClipFacts, WholeBatch, seen_in_frames


@dataclass
class ClipTargets:
    """The ground-truth tracks of one clip.

    Attributes:
        classes: (M,) contiguous class of each track.
        masks: (M, T, H, W) float, padded as the images; zero where a track is silent or out of view.
        ids: (M,) the tracks' annotation ids.
        num_sounding: (T,) objects that sound in each frame, cropped away or not; None if it is not known.
        seen: (T, M) bool on the host, whether a track has a mask in a frame; None: by `masks`.
        rand: the clip's own source of uniform numbers, called as `torch.rand`.
        batch: that the clip is a part of; None: there are no other parts.
    """

    classes: Tensor
    masks: Tensor
    ids: Tensor
    num_sounding: Tensor | None = None
    seen: Tensor | None = None
    rand: Rand = torch.rand
    batch: WholeBatch | None = None

    @cached_property
    def frames(self) -> list["ClipTargets"]:
        """Each of the T frames as a clip of its own, with the tracks that have a mask in it."""
        seen = self.masks.flatten(2).any(2).T.cpu() if self.seen is None else self.seen
        tracks = to_device([row.nonzero().squeeze(1) for row in seen], self.masks.device)
        return [self._frame(index, of_frame) for index, of_frame in enumerate(tracks)]

    def _frame(self, index: int, tracks: Tensor) -> "ClipTargets":
        masks = self.masks[tracks, index : index + 1]
        return ClipTargets(self.classes[tracks], masks, self.ids[tracks], rand=self.rand)

    @property
    def facts(self) -> ClipFacts:
        """What other clips of its batch would know of it."""
        in_frames = tuple(len(frame.ids) for frame in self.frames)
        counts = None if self.num_sounding is None else tuple(self.num_sounding.tolist())
        return ClipFacts(tuple(self.masks.shape[-2:]), len(self.ids), in_frames, counts)


def batch_of(targets: Sequence[ClipTargets]) -> WholeBatch:
    """The batch of which clips are a part, or all."""
    return targets[0].batch or WholeBatch(tuple(target.facts for target in targets))


def clip_targets(clip: dict, padded_size: tuple[int, int], device: torch.device) -> ClipTargets:
    """The tracks that sound in at least one frame of a clip; the others are not to be found in it.

    Args:
        clip: as the model takes it, with "instances"; with "seed", points are drawn from a generator of its
            own; with "batch" and "seen" where it is part of a batch (see `with_whole_batch`).
        padded_size: H, W.
        device: where the targets are wanted.
    """
    instances = clip["instances"]
    masks = torch.stack([frame.gt_masks.tensor for frame in instances], dim=1)
    seen = clip["seen"] if "seen" in clip else seen_in_frames(clip)
    sounding = seen.any(1)
    classes, ids = (x[sounding] for x in (instances[0].gt_classes, instances[0].gt_ids))
    counts = clip.get("num_sounding")
    numbers = [classes, ids] if counts is None else [classes, ids, counts]
    height, width = masks.shape[-2:]
    padded = F.pad(
        masks_to_device(masks[sounding], device).float(),
        (0, padded_size[1] - width, 0, padded_size[0] - height),
    )
    classes, ids, *counts = to_device(numbers, device)
    return ClipTargets(
        classes,
        padded,
        ids,
        *counts or [None],
        seen=seen[sounding].T,
        rand=seeded_rand(clip["seed"], device) if "seed" in clip else torch.rand,
        batch=clip.get("batch"),
    )


def to_device(vectors: list[Tensor], device: torch.device) -> list[Tensor]:
    """Vectors of whole numbers in one copy, for which the host does not wait."""
    joined = torch.cat(vectors)
    if device.type == "cuda":
        joined = joined.pin_memory()
    return list(joined.to(device, non_blocking=True).split([len(vector) for vector in vectors]))


def masks_to_device(masks: Tensor, device: torch.device) -> Tensor:
    """Masks of a bool tensor of any shape; to another processor they go as bits."""
    if device == masks.device:
        return masks
    (bits,) = to_device([packed(masks)], device)
    return unpacked(bits, masks.shape)


def packed(masks: Tensor) -> Tensor:
    """The elements of a bool tensor on the host as bits of bytes, the lowest of a byte first."""
    return torch.from_numpy(np.packbits(masks.flatten().numpy(), bitorder="little"))


def unpacked(bits: Tensor, shape: torch.Size) -> Tensor:
    """The bool tensor of a shape from what `packed` gives, on any device."""
    places = torch.arange(8, dtype=torch.uint8, device=bits.device)
    return ((bits[:, None] >> places) & 1).flatten()[: shape.numel()].view(shape).bool()
