"""The way of a whole video: frames in chunks, features in a store, masks in chunks, tracks.

    features(chunk) → see(chunk) for every chunk → decide → masks(chunk) for every chunk → tracks

A fusion of the backbone's features needs those of all frames first; without one, a chunk is seen at once.
Chunks bound what the backbone, the pixel decoder and the masks need at once; the numbers do not depend on
them.

Dimensions: T frames of the video, t frames of a chunk, C channels, S audio sources, A audio channels, H×W the
video's size.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from torch import Tensor, nn

from avis.modeling.candidates import Candidates
from avis.modeling.decoder import Decoded
from avis.modeling.feature_store import FeatureStore, FrameFeatures
from avis.modeling.mask_former_head import MaskFormerHead
from avis.modeling.postprocess import (
    MaskQuality,
    at_input_size,
    check_finite,
    class_probabilities,
    encode_tracks,
    masks_at,
    select_tracks,
)
from avis.structures import VideoPrediction

# Pixels that pass the backbone and the pixel decoder at once where CHUNK_SIZE leaves the choice.
_PIXELS_AT_ONCE = 2**20
# Pixels of all tracks' masks at the video's own size that are held at once.
_MASK_PIXELS_AT_ONCE = 2**25


class VideoModel(Protocol):
    """What the driver asks of a model."""

    sem_seg_head: MaskFormerHead
    topk: int
    chunk_size: int
    mask_quality: bool
    min_score: float
    fusion: nn.ModuleDict

    def features(self, frames: Sequence[Tensor]) -> FrameFeatures:
        """Backbone features (1, t, C, h, w) of t frames (3, H, W)."""

    def padded_size(self, frames: Sequence[Tensor]) -> tuple[int, int]:
        """The size to which frames (3, H, W) are padded before the backbone."""

    def hear(self, videos: Sequence[dict]) -> Tensor | None:
        """(B, T, S, A) audio features of B inputs; None for a model that does not hear."""

    def fuse(self, features: FrameFeatures, audio: Tensor | None) -> FrameFeatures:
        """Features of all frames, fused with the audio."""


def predict_video(model: VideoModel, video: dict) -> VideoPrediction:
    """Predict the tracks of a video; see `find_candidates`."""
    tracks = find_candidates(model, video).tracks(model.min_score)
    return VideoPrediction(video["video_id"], video["height"], video["width"], len(video["image"]), tracks)


def find_candidates(model: VideoModel, video: dict) -> Candidates:
    """Find the best (query, class) pairs of a video, with their masks.

    Args:
        model: in evaluation mode.
        video: an input as `AVISMaskFormer.forward` takes it.

    Raises:
        FloatingPointError: class logits, queries or mask logits are not finite.
    """
    frames = video["image"]
    chunk_size = model.chunk_size or max(1, _PIXELS_AT_ONCE // frames[0][0].numel())
    audio = model.hear([video])
    decoded = _decode(model, frames, audio, chunk_size)
    size = (video["height"], video["width"])
    sizes = (model.padded_size(frames[:1]), tuple(frames[0].shape[-2:]), size)
    try:
        return _candidates(model, decoded, chunk_size, sizes)
    except FloatingPointError as error:
        raise FloatingPointError(f"video {video['video_id']!r}: {error}") from error


def _decode(model: VideoModel, frames: Sequence[Tensor], audio: Tensor | None, chunk_size: int) -> Decoded:
    """See all frames, then decide."""
    parts = FeatureStore(len(frames))
    for chunk, features in _fused_chunks(model, frames, audio, chunk_size):
        parts.append(model.sem_seg_head.see(features, None if audio is None else audio[:, chunk]))
        del features
    return model.sem_seg_head.decide(parts, audio)


def _fused_chunks(
    model: VideoModel, frames: Sequence[Tensor], audio: Tensor | None, chunk_size: int
) -> Iterator[tuple[slice, FrameFeatures]]:
    """Each chunk of frames with its backbone features, fused with the audio or not."""
    chunks = _chunks(len(frames), chunk_size)
    if not model.fusion:
        yield from ((chunk, model.features(frames[chunk])) for chunk in chunks)
        return
    store = FeatureStore(len(frames))
    for chunk in chunks:
        store.append(model.features(frames[chunk]))
    # A fusion may relate every frame to every other, so all must be there.
    fused = model.fuse(store.whole(), audio)
    del store
    for chunk in chunks:
        yield chunk, FrameFeatures({name: x[:, chunk] for name, x in fused.items()})


def _candidates(
    model: VideoModel, decoded: Decoded, chunk_size: int, sizes: tuple[tuple[int, int], ...]
) -> Candidates:
    """The best pairs; `sizes` are of the padded frames, the frames, and the video."""
    answer = decoded.predictions[-1]
    check_finite("queries", answer.queries)
    probabilities = class_probabilities(answer.class_logits[0])
    scores, classes, queries = select_tracks(probabilities, model.topk)
    # The masks of all tracks at the video's own size can be far larger than what the backbone takes.
    height, width = sizes[-1]
    frames_at_once = max(1, _MASK_PIXELS_AT_ONCE // (len(queries) * height * width))
    chunks = decoded.mask_features.split(min(chunk_size, frames_at_once), dim=1)
    quality = MaskQuality() if model.mask_quality else None
    mask_head = model.sem_seg_head.predictor.mask_embed
    logits = (mask_head(answer.queries, chunk, queries)[0] for chunk in chunks)
    if answer.gate is not None:
        gates = answer.gate[0, queries, :, None, None].split(chunks[0].shape[1], dim=1)
        logits = (chunk + gate for chunk, gate in zip(logits, gates, strict=True))
    segmentations = encode_tracks(_masks(logits, sizes, quality))
    rating = scores.new_ones(len(scores)) if quality is None else quality.value()
    return Candidates(probabilities, answer.queries[0], scores, classes, queries, rating, segmentations)


def _masks(
    chunks: Iterable[Tensor], sizes: tuple[tuple[int, int], ...], quality: MaskQuality | None
) -> Iterator[Tensor]:
    """(S, t, H, W) bool masks of the video's size from chunks of mask logits (S, t, h, w)."""
    *input_sizes, size = sizes
    for chunk in chunks:
        logits = at_input_size(check_finite("mask logits", chunk), *input_sizes)
        if quality is not None:
            quality.add(logits)
        yield masks_at(logits, size)


def _chunks(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]
