"""Parts of the model as they are defined: what the faster forms must equal.

Dimensions: B clips, T frames, C channels, A audio channels, N queries, h×w and H×W feature maps; otherwise
as in the modules of the parts.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from avis.modeling import TPAVI, ClusteredAttention, ResidualMaskHead
from avis.modeling.audio_query import CentricAudioQuery
from avis.modeling.clustered_attention import allowed_keys, choose_clusters
from avis.modeling.frame_windows import FrameWindows
from avis.modeling.kmeans import nearest
from avis.modeling.mask_head import MaskHead, resize_frames
from avis.modeling.temporal_fusion import WindowAttention


def quadratic_tpavi(fusion: TPAVI, visual: Tensor, audio: Tensor) -> Tensor:
    """TPAVI by its definition: a matrix of every pixel's attention to every pixel of every frame.

    (B, C, T, h, w) and (B, T, A) to (B, C, T, h, w).
    """
    repeated = fusion.align_channel(audio).transpose(1, 2)[..., None, None].expand_as(visual)
    theta, phi, g = (
        layer(x).flatten(2).transpose(1, 2)
        for layer, x in ((fusion.theta, visual), (fusion.phi, repeated), (fusion.g, visual))
    )
    attention = theta @ phi.transpose(1, 2) / theta.shape[1]
    attended = (attention @ g).transpose(1, 2).unflatten(2, visual.shape[2:])
    fused = fusion.W_z(attended) + visual
    return fusion.norm_layer(fused.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)


def plain_ms_deform_attn(
    value: Tensor, sizes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Deformable attention with the samples of all levels side by side; arguments as `ms_deform_attn`'s."""
    batch, _, heads, head_dim = value.shape
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)
    maps = value.permute(0, 2, 3, 1).flatten(0, 1).split([h * w for h, w in sizes], dim=2)
    samples = [
        F.grid_sample(level.unflatten(2, size), grids[:, :, index], align_corners=False)
        for index, (level, size) in enumerate(zip(maps, sizes, strict=True))
    ]
    weights = weights.transpose(1, 2).flatten(0, 1).flatten(2).unsqueeze(1)
    summed = (torch.cat(samples, dim=-1) * weights).sum(-1)
    return summed.view(batch, heads * head_dim, -1).transpose(1, 2)


def plain_residual_masks(head: ResidualMaskHead, queries: Tensor, mask_features: Tensor) -> Tensor:
    """Eq. (1) layer by layer: (B, N, C) and (B, T, C, H, W) to (B, N, T, H, W)."""
    pixels = mask_features.movedim(2, -1)
    responses = torch.einsum("bthwc,bnc->bthwn", pixels, queries)
    return head.linear(pixels + head.mlp(responses)).movedim(-1, 1)


@contextmanager
def as_defined() -> Iterator[None]:
    """Build models and let them compute as they are defined, as long as the block lasts.

    That is TPAVI, deformable attention and Eq. (1); gradients of all queries' masks; frozen norms as layers
    of their own; and nothing that is computed again for the gradients.
    """
    deformable, masks, encoder, model = (
        import_module(f"avis.modeling.{name}")
        for name in ("ms_deform_attn", "mask_head", "pixel_decoder", "avis_mask_former")
    )
    replaced = [
        (TPAVI, "forward", quadratic_tpavi),
        (deformable, "ms_deform_attn", plain_ms_deform_attn),
        (ResidualMaskHead, "forward", _selected_masks),
        (ResidualMaskHead, "on", MaskHead.on),
        (masks, "matched_product", torch.matmul),
        (encoder, "recomputed", _computed),
        (model, "fold_frozen_norms", lambda backbone: backbone),
    ]
    with ExitStack() as stack:
        for owner, name, form in replaced:
            stack.enter_context(mock.patch.object(owner, name, form))
        yield


def _selected_masks(
    head: ResidualMaskHead, queries: Tensor, mask_features: Tensor, selected: Tensor | None = None
) -> Tensor:
    """`plain_residual_masks` with the arguments of `MaskHead.forward`."""
    masks = plain_residual_masks(head, queries, mask_features)
    return masks if selected is None else masks[:, selected]


def _computed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    return function(*inputs)


def gathered_attention(layer: ClusteredAttention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Clustered attention to keys that are gathered for each query; arguments as those of the layer.

    Its chosen keys come first, in the order of their clusters. The first key of all fills the other places.
    """
    query, key, value = layer.project(query, key, value)
    queries, keys = layer.cluster(query), layer.cluster(key)
    order = keys.labels.argsort(dim=-1, stable=True).unsqueeze(1)
    allowed = allowed_keys(queries, keys, choose_clusters(queries, keys, layer.top_p))
    allowed = allowed.take_along_dim(order, dim=2)
    num_keys = allowed.sum(-1, keepdim=True)
    width = int(num_keys.max())
    places = allowed.int().argsort(dim=-1, descending=True, stable=True)[..., :width]
    filled = torch.arange(width, device=query.device) >= num_keys
    indices = order.take_along_dim(places.masked_fill(filled, 0), dim=2)
    rows = torch.arange(len(indices), device=query.device)[:, None, None]
    logits = torch.einsum("rnd,rnkd->rnk", query, key[rows, indices]) / math.sqrt(query.shape[-1])
    if not layer.released_padding:
        logits = logits.masked_fill(filled, -math.inf)
    return layer.join_heads(torch.einsum("rnk,rnkd->rnd", logits.softmax(-1), value[rows, indices]))


def all_rounds_kmeans(points: Tensor, starts: Tensor, iterations: int) -> Tensor:
    """k-means in a fixed number of rounds; points (R, P, D) and starts (R, K) to centres (R, K, D)."""
    centres = points.take_along_dim(starts.unsqueeze(2), dim=1)
    for _ in range(iterations):
        members = F.one_hot(nearest(points, centres), starts.shape[1]).to(points.dtype)
        centres = (members.mT @ points) / members.sum(1).clamp(min=1).unsqueeze(2)
    return centres


def stepwise_scan(x: Tensor, step: Tensor, rate: Tensor, drive: Tensor, readout: Tensor) -> Tensor:
    """The selective scan, position by position; arguments as `selective_scan`'s."""
    state, outputs = torch.zeros_like(rate), []
    for x_l, step_l, drive_l, readout_l in zip(x, step, drive, readout, strict=True):
        entering = (step_l * x_l).unsqueeze(-1) * drive_l.unsqueeze(-2)
        state = (step_l.unsqueeze(-1) * rate).exp() * state + entering
        outputs.append((state * readout_l.unsqueeze(-2)).sum(-1))
    return torch.stack(outputs)


def copied_sounds(fusion: WindowAttention, frames: Tensor, audio: Tensor) -> Tensor:
    """AVISM's audio encoder with a copy of the frame's sound for each query; (B, T, N, C), (B, T, 1, A)."""
    batch, num_frames, num_queries, _ = frames.shape
    sounds = fusion.av_proj(audio).expand_as(frames)
    layers = zip(fusion.enc_av_cross_attn, fusion.enc_av_ffn, strict=True)
    for index, (attention, feedforward) in enumerate(layers):
        windows = FrameWindows(num_frames, fusion.window, shifted=index % 2 == 1)
        allowed = windows.allowed(batch, num_queries, frames.device)
        keys = windows.split(frames)
        sounds = windows.join(
            feedforward(attention(windows.split(sounds), None, keys, keys, allowed)), num_queries
        )
    return frames + sounds


def attended_sound(query: CentricAudioQuery, queries: Tensor, audio: Tensor) -> Tensor:
    """ACVIS's queries with an attention to the frame's one audio token; (B, N, C), (B, 1, A)."""
    queries = torch.cat([query.cls_token.weight.expand(len(queries), -1, -1), queries], dim=1)
    sound = query.av_pre_proj(audio)
    for layer in query.audio_centric_query_generator:
        queries = layer(queries, None, sound, sound)
    return queries


def resized_masks(head: MaskHead, size: tuple[int, int], queries: Tensor, mask_features: Tensor) -> Tensor:
    """Full masks of all queries, then at the size of attention masks; (B, N, C), (B, T, C, H, W)."""
    return resize_frames(head(queries, mask_features), size)
