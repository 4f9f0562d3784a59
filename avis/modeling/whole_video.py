"""The way of a whole video: frames in chunks, features in a store, masks in chunks, tracks.

    features(chunk) → see(chunk) for every chunk → decide → masks(chunk) for every chunk → tracks

Chunks bound what the backbone, the pixel decoder and the masks need at once; the numbers do not depend on
them.

Dimensions: T frames of the video, t frames of a chunk, C channels, S audio sources, A audio channels, H×W the
video's size.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor

from avis.modeling.decoder import Decoded
from avis.modeling.feature_store import FeatureStore, FrameFeatures
from avis.modeling.mask_former_head import MaskFormerHead
from avis.modeling.postprocess import check_finite, encode_tracks, resize_masks, select_tracks
from avis.structures import Track, VideoPrediction

# Pixels that pass the backbone and the pixel decoder at once where CHUNK_SIZE leaves the choice.
_PIXELS_AT_ONCE = 2**20
# Pixels of all tracks' masks at the video's own size that are held at once.
_MASK_PIXELS_AT_ONCE = 2**25


class VideoModel(Protocol):
    """What the driver asks of a model."""

    sem_seg_head: MaskFormerHead
    topk: int
    chunk_size: int

    def features(self, frames: Sequence[Tensor]) -> tuple[FrameFeatures, tuple[int, int]]:
        """Backbone features (1, t, C, h, w) of t frames (3, H, W), and the size to which they were padded."""

    def hear(self, videos: Sequence[dict]) -> Tensor | None:
        """(B, T, S, A) audio features of B inputs; None for a model that does not hear."""

    def fuse(self, features: FrameFeatures, audio: Tensor | None) -> FrameFeatures:
        """Features of all frames, fused with the audio."""


def predict_video(model: VideoModel, video: dict) -> VideoPrediction:
    """Predict the tracks of a video.

    Args:
        model: in evaluation mode.
        video: an input as `AVISMaskFormer.forward` takes it.

    Raises:
        FloatingPointError: class logits, queries or mask logits are not finite.
    """
    frames = video["image"]
    chunk_size = model.chunk_size or max(1, _PIXELS_AT_ONCE // frames[0][0].numel())
    audio = model.hear([video])
    decoded, padded_size = _decode(model, frames, audio, chunk_size)
    size = (video["height"], video["width"])
    sizes = (padded_size, tuple(frames[0].shape[-2:]), size)
    try:
        tracks = _tracks(model, decoded, chunk_size, sizes)
    except FloatingPointError as error:
        raise FloatingPointError(f"video {video['video_id']!r}: {error}") from error
    return VideoPrediction(video["video_id"], *size, len(frames), tracks)


def _decode(
    model: VideoModel, frames: Sequence[Tensor], audio: Tensor | None, chunk_size: int
) -> tuple[Decoded, tuple[int, int]]:
    """See all frames, then decide; also the size of the padded frames."""
    store = FeatureStore(len(frames))
    for chunk in _chunks(len(frames), chunk_size):
        features, padded_size = model.features(frames[chunk])
        store.append(features)
    # A fusion may relate every frame to every other, so all must be there.
    fused = model.fuse(store.whole(), audio)
    del store, features
    parts = FeatureStore(len(frames))
    for chunk in _chunks(len(frames), chunk_size):
        of_chunk = {name: x[:, chunk] for name, x in fused.items()}
        parts.append(model.sem_seg_head.see(of_chunk, None if audio is None else audio[:, chunk]))
    del fused, of_chunk
    return model.sem_seg_head.decide(parts, audio), padded_size


def _tracks(
    model: VideoModel, decoded: Decoded, chunk_size: int, sizes: tuple[tuple[int, int], ...]
) -> list[Track]:
    """The best tracks; `sizes` are of the padded frames, the frames, and the video."""
    answer, mask_head = decoded.predictions[-1], model.sem_seg_head.predictor.mask_embed
    check_finite("queries", answer.queries)
    scores, classes, queries = select_tracks(answer.class_logits[0], model.topk)
    # The masks of all tracks at the video's own size can be far larger than what the backbone takes.
    height, width = sizes[-1]
    frames_at_once = max(1, _MASK_PIXELS_AT_ONCE // (len(queries) * height * width))
    masks = (
        resize_masks(check_finite("mask logits", mask_head(answer.queries, chunk, queries)[0]), *sizes)
        for chunk in decoded.mask_features.split(min(chunk_size, frames_at_once), dim=1)
    )
    triples = zip(scores.tolist(), classes.tolist(), encode_tracks(masks), strict=True)
    return [Track(score, category, segmentations) for score, category, segmentations in triples]


def _chunks(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
