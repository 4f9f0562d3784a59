"""From the decoder's output of one video to tracks: the best queries, their masks at the video's own size.

Follows Cheng et al., "Mask2Former for Video Instance Segmentation", 2021. Masks leave as RLE a few frames
at a time, so that memory does not grow with the length of the video.

Dimensions: N queries, K classes, S kept tracks, T frames, H×W the video's size.
"""

from collections.abc import Iterable

import numpy as np
import torch
from pycocotools import mask as mask_utils
from torch import Tensor
from torch.nn import functional as F

from avis.structures import RLE


def class_probabilities(class_logits: Tensor) -> Tensor:
    """(N, K) probabilities of the classes, without no-object, from logits (N, K+1).

    Raises:
        FloatingPointError: a logit is not finite.
    """
    check_finite("class logits", class_logits)
    return class_logits.float().softmax(-1)[:, :-1]


def select_tracks(probabilities: Tensor, topk: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best (query, class) pairs of a video; a query may appear with several classes.

    Args:
        probabilities: (N, K).
        topk: pairs kept at most.

    Returns:
        Scores, class indices and query indices, (S,) each, best first.
    """
    scores, pairs = probabilities.flatten().topk(min(topk, probabilities.numel()))
    num_classes = probabilities.shape[1]
    return scores, pairs % num_classes, pairs // num_classes


def check_finite(name: str, values: Tensor) -> Tensor:
    """Return the values. Unnoticed, NaN would become a video without tracks, or an empty mask.

    Raises:
        FloatingPointError: one of them is not finite.
    """
    if not values.isfinite().all():
        raise FloatingPointError(f"the {name} are not finite: do the weights hold NaN or infinite values?")
    return values


def at_input_size(mask_logits: Tensor, padded_size: tuple[int, int], image_size: tuple[int, int]) -> Tensor:
    """Mask logits at the size of the model's input without its padding.

    Args:
        mask_logits: (S, T, h, w).
        padded_size: of the model's input.
        image_size: of the input without padding, (h', w').

    Returns:
        (S, T, h', w').
    """
    logits = F.interpolate(mask_logits, size=padded_size, mode="bilinear", align_corners=False)
    return logits[..., : image_size[0], : image_size[1]]


def masks_at(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(S, T, H, W) bool masks at the video's size, from logits of another."""
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False) > 0


class MaskQuality:
    """The mean probability inside each track's masks of a whole video, summed up chunk by chunk.

    AVISM and its descendants multiply a track's score by it (Guo et al., CVPR 2025, as released).
    """

    def __init__(self) -> None:
        """Begin with no frames."""
        self._probability, self._area = 0.0, 0.0

    def add(self, logits: Tensor) -> None:
        """Add (S, t, h, w) logits of a chunk of frames."""
        inside = logits > 0
        self._probability += (logits.sigmoid() * inside).flatten(1).sum(1)
        self._area += inside.flatten(1).sum(1)

    def value(self) -> Tensor:
        """(S,), 0 for a track without masks."""
        return self._probability / (self._area + 1e-6)


def encode_tracks(chunks: Iterable[Tensor]) -> list[list[RLE | None]]:
    """Run-length encode S tracks that come as (S, t, H, W) bool chunks of frames.

    Returns:
        For each track its T masks; None where a mask is empty.
    """
    tracks = None
    for chunk in chunks:
        encoded = _encode_chunk(chunk.cpu())
        tracks = encoded if tracks is None else [a + b for a, b in zip(tracks, encoded, strict=True)]
    return tracks or []


def _encode_chunk(masks: Tensor) -> list[list[RLE | None]]:
    num_tracks, num_frames = masks.shape[:2]
    # pycocotools reads masks column by column, as (H, W, n) in Fortran order: (n, W, H) in memory.
    columns = masks.flatten(0, 1).transpose(1, 2).contiguous().to(torch.uint8).numpy()
    encoded = mask_utils.encode(np.asfortranarray(columns.transpose(2, 1, 0)))
    occupied = masks.flatten(2).any(-1).flatten().tolist()
    frames = [rle if seen else None for rle, seen in zip(encoded, occupied, strict=True)]
    return [frames[i * num_frames : (i + 1) * num_frames] for i in range(num_tracks)]
