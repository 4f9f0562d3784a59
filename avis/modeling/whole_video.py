"""The way of a whole video: frames in chunks, features in a store, masks in chunks, tracks.

    features, fuse, see for every chunk of frames → decide → masks for every chunk → tracks

A fusion that sums over all frames (`TwoPassFusion`) has a look at every chunk first. Any other fusion that
relates frames needs the features of all of them at once. Chunks bound what everything needs at once, and the
store keeps on disk what memory should not hold. The numbers do not depend on them.

Dimensions: T frames of the video, t frames of a chunk, C channels, S audio sources, A audio channels, H×W the
video's size.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor, nn

from avis.modeling.candidates import Candidates
from avis.modeling.decoder import Decoded
from avis.modeling.feature_store import FeatureStore, FrameFeatures
from avis.modeling.fusion import ChunkedFusion, can_fuse_in_chunks
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
from avis.modeling.precision import autocast_to
from avis.modeling.progress import Progress
from avis.structures import VideoPrediction

logger = logging.getLogger(__name__)

# Pixels that pass the backbone and the pixel decoder at once where CHUNK_SIZE leaves the choice. On a CPU
# fewer are faster, as more of what lies between two layers stays in its caches.
_PIXELS_AT_ONCE, _PIXELS_AT_ONCE_ON_CPU = 2**20, 2**18
# Pixels of all tracks' masks at the video's own size that are held at once.
_MASK_PIXELS_AT_ONCE = 2**25
# What the steps of a frame cost, as progress counts: about the time of ResNet-50's on a CPU.
_LOOKING, _SEEING, _DECIDING, _MASKS = 2.0, 10.0, 1.0, 1.0


class VideoModel(Protocol):
    """What the driver asks of a model."""

    device: torch.device
    sem_seg_head: MaskFormerHead
    topk: int
    chunk_size: int
    feature_store: str
    mask_quality: bool
    min_score: float
    test_precision: torch.dtype | None
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
        OSError: the features belong on disk, which has too little space.
    """
    with autocast_to(model.test_precision, model.device):
        return _find_candidates(model, video)


def _find_candidates(model: VideoModel, video: dict) -> Candidates:
    frames = video["image"]
    first = frames[0]
    at_once = _PIXELS_AT_ONCE_ON_CPU if model.device.type == "cpu" else _PIXELS_AT_ONCE
    chunk_size = model.chunk_size or max(1, at_once // first[0].numel())
    audio = model.hear([video])
    size = (video["height"], video["width"])
    sizes = (model.padded_size([first]), tuple(first.shape[-2:]), size)
    with (
        Progress(f"video {video['video_id']!r}", _work(model, len(frames))) as progress,
        FeatureStore(
            len(frames), model.feature_store, lambda number: progress.add(_DECIDING * number)
        ) as parts,
    ):
        decoded = _decode(model, frames, audio, chunk_size, parts, progress)
        try:
            return _candidates(model, decoded, len(frames), chunk_size, sizes, progress)
        except FloatingPointError as error:
            raise FloatingPointError(f"video {video['video_id']!r}: {error}") from error


def _work(model: VideoModel, num_frames: int) -> float:
    """What there is to do, as progress counts it."""
    return num_frames * (_cost_of_seeing(model) + _cost_of_deciding(model) + _MASKS)


def _cost_of_seeing(model: VideoModel) -> float:
    return _SEEING + (_LOOKING if model.fusion else 0)


def _cost_of_deciding(model: VideoModel) -> float:
    return _DECIDING * model.sem_seg_head.predictor.num_passes


def _decode(
    model: VideoModel,
    frames: Sequence[Tensor],
    audio: Tensor | None,
    chunk_size: int,
    parts: FeatureStore,
    progress: Progress,
) -> Decoded:
    """See all frames, then decide; `parts`, which are none yet, are what the answer's masks are made of."""
    num_frames = len(frames)
    for chunk, features in _fused_chunks(model, frames, audio, chunk_size, progress):
        parts.append(model.sem_seg_head.see(features, None if audio is None else audio[:, chunk]))
        progress.add(_SEEING * features.num_frames)
        del features
    progress.reach(num_frames * _cost_of_seeing(model))  # not all fusions look first
    decoded = model.sem_seg_head.decide(parts, audio)
    progress.reach(num_frames * (_cost_of_seeing(model) + _cost_of_deciding(model)))  # nor do all go in parts
    return decoded


def _fused_chunks(
    model: VideoModel, frames: Sequence[Tensor], audio: Tensor | None, chunk_size: int, progress: Progress
) -> Iterator[tuple[slice, FrameFeatures]]:
    """Each chunk of frames with its backbone features, fused with the audio or not."""
    chunks = _chunks(len(frames), chunk_size)
    if not can_fuse_in_chunks(model.fusion):
        yield from _fused_at_once(model, frames, audio, chunks)
        return
    fusion, kept = ChunkedFusion(model.fusion, len(frames)), FeatureStore(len(frames), model.feature_store)
    if fusion.looks:
        for chunk, images in _prefetched(frames, chunks):
            features = model.features(images)
            fusion.look(features, audio[:, chunk])
            # What does not fit in memory is computed again, which is about as fast as a disk.
            if kept.place_for(features) != "file" or len(chunks) == 1:
                kept.append(features)
            progress.add(_LOOKING * features.num_frames)
            del features
    again = zip(chunks, kept, strict=True) if kept else _features(model, frames, chunks)
    for chunk, features in again:
        yield chunk, FrameFeatures(fusion.fuse(features, None if audio is None else audio[:, chunk]))


def _fused_at_once(
    model: VideoModel, frames: Sequence[Tensor], audio: Tensor, chunks: Sequence[slice]
) -> Iterator[tuple[slice, FrameFeatures]]:
    """For a fusion that relates every frame to every other in ways of its own: all features are there."""
    names = ", ".join(sorted({type(module).__name__ for module in model.fusion.values()}))
    logger.info(
        "the fusion %s needs all %d frames at once, so memory grows with them; a TwoPassFusion would not",
        names, len(frames),
    )  # fmt: skip
    store = FeatureStore(len(frames))
    for _, features in _features(model, frames, chunks):
        store.append(features)
    fused = model.fuse(store.whole(), audio)
    del store
    for chunk in chunks:
        yield chunk, FrameFeatures({name: x[:, chunk] for name, x in fused.items()})


def _features(
    model: VideoModel, frames: Sequence[Tensor], chunks: Sequence[slice]
) -> Iterator[tuple[slice, FrameFeatures]]:
    """The backbone features of each chunk."""
    return ((chunk, model.features(images)) for chunk, images in _prefetched(frames, chunks))


def _prefetched(
    frames: Sequence[Tensor], chunks: Sequence[slice]
) -> Iterator[tuple[slice, Sequence[Tensor]]]:
    """Each chunk of frames; the next one is decoded while the model computes."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(frames.__getitem__, chunks[0])
        for chunk, following in zip(chunks, [*chunks[1:], None], strict=True):
            images = coming.result()
            if following is not None:
                coming = reader.submit(frames.__getitem__, following)
            yield chunk, images


def _candidates(
    model: VideoModel,
    decoded: Decoded,
    num_frames: int,
    chunk_size: int,
    sizes: tuple[tuple[int, int], ...],
    progress: Progress,
) -> Candidates:
    """The best pairs; `sizes` are of the padded frames, the frames, and the video."""
    answer = decoded.predictions[-1]
    check_finite("queries", answer.queries)
    probabilities = class_probabilities(answer.class_logits[0])
    scores, classes, queries = select_tracks(probabilities, model.topk)
    # The masks of all tracks at the video's own size can be far larger than what the backbone takes.
    height, width = sizes[-1]
    frames_at_once = max(1, _MASK_PIXELS_AT_ONCE // (len(queries) * height * width))
    chunks = _chunks(num_frames, min(chunk_size, frames_at_once))
    quality = MaskQuality() if model.mask_quality else None
    logits = _mask_logits(model, decoded, queries, chunks, progress)
    segmentations = encode_tracks(_masks(logits, sizes, quality))
    rating = scores.new_ones(len(scores)) if quality is None else quality.value()
    return Candidates(probabilities, answer.queries[0], scores, classes, queries, rating, segmentations)


def _mask_logits(
    model: VideoModel, decoded: Decoded, queries: Tensor, chunks: Iterable[slice], progress: Progress
) -> Iterator[Tensor]:
    """(S, t, h, w) of the S chosen queries, for each chunk of frames."""
    answer, mask_head = decoded.predictions[-1], model.sem_seg_head.predictor.mask_embed
    for chunk in chunks:
        logits = mask_head(answer.queries, decoded.mask_features[:, chunk], queries)[0]
        if answer.gate is not None:
            logits = logits + answer.gate[0, queries, chunk, None, None]
        yield logits
        progress.add(_MASKS * logits.shape[1])


def _masks(
    chunks: Iterable[Tensor], sizes: tuple[tuple[int, int], ...], quality: MaskQuality | None
) -> Iterator[Tensor]:
    """(S, t, H, W) bool masks of the video's size from chunks of mask logits (S, t, h, w)."""
    *input_sizes, size = sizes
    for chunk in chunks:
        logits = at_input_size(check_finite("mask logits", chunk).float(), *input_sizes)
        if quality is not None:
            quality.add(logits)
        yield masks_at(logits, size)


def _chunks(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]
