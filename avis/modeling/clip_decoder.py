"""Clip decoder: objects of a whole clip or video from the queries of its frames.

Follows Heo et al., "VITA: Video Instance Segmentation via Object Token Association", NeurIPS 2022, and its
parameter names. Frame queries attend to each other in windows of frames. Sound joins them, where the model
hears. Clip queries then attend to all of them.

Dimensions: B clips, T frames, N frame queries, M clip queries, K classes, C channels, S audio sources, A
audio channels.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from avis.config import checkpoints, hears
from avis.modeling.frame_windows import FrameWindows
from avis.modeling.layers import CrossAttentionLayer, FFNLayer, SelfAttentionLayer
from avis.modeling.mask_head import MASK_HEAD_REGISTRY, MaskHead
from avis.modeling.recomputing import recomputed
from avis.modeling.temporal_fusion import TEMPORAL_FUSION_REGISTRY, TemporalFusion
from avis.registry import Shapes

# Windows of frames that pass a layer of the encoder at once.
_WINDOWS_AT_ONCE = 32


class ClipQueries(NamedTuple):
    """What a clip decoder gives.

    Attributes:
        frames: (B, T, N, C) frame queries that know of their window and of the sound.
        layers: (B, M, C) normalised clip queries after each layer.
    """

    frames: Tensor
    layers: list[Tensor]


class ClipDecoder(nn.Module):
    """Window encoder, temporal fusion with the sound, and a decoder over the queries of all frames."""

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        hidden_dim: int,
        num_frame_queries: int,
        num_queries: int,
        num_heads: int,
        dim_feedforward: int,
        num_encoder_layers: int,
        num_decoder_layers: int,
        window: int,
        make_mask_head: Callable[[], MaskHead],
        make_temporal_fusion: Callable[[], TemporalFusion] | None = None,
        shift_in_training: bool = False,
        checkpointing: bool = False,
    ) -> None:
        """Make the decoder.

        Args:
            num_classes: K, without no-object.
            hidden_dim: C, also of the frame queries.
            num_frame_queries: N.
            num_queries: M.
            num_heads: attention heads.
            dim_feedforward: width of the feed-forward layers.
            num_encoder_layers: layers of the window encoder.
            num_decoder_layers: layers of the clip queries, at least one.
            window: frames of a window.
            make_mask_head: makes the mask head of the clip queries.
            make_temporal_fusion: makes the fusion with the sound; None: a decoder that does not hear.
            shift_in_training: every other layer shifts its windows also in training.
            checkpointing: compute the layers again in the backward pass, to save memory.
        """
        super().__init__()
        self.window, self.shift_in_training = window, shift_in_training
        self.checkpointing = checkpointing
        encoder_layers, decoder_layers = range(num_encoder_layers), range(num_decoder_layers)
        self.input_proj_dec = nn.Linear(hidden_dim, hidden_dim)
        self.enc_self_attn = nn.ModuleList(SelfAttentionLayer(hidden_dim, num_heads) for _ in encoder_layers)
        self.enc_ffn = nn.ModuleList(FFNLayer(hidden_dim, dim_feedforward) for _ in encoder_layers)
        self.temporal_fusion = make_temporal_fusion() if make_temporal_fusion else None
        self.query_feat = nn.Embedding(num_queries, hidden_dim)
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.fq_pos = nn.Embedding(num_frame_queries, hidden_dim)
        self.transformer_cross_attention_layers = nn.ModuleList(
            CrossAttentionLayer(hidden_dim, num_heads) for _ in decoder_layers
        )
        self.transformer_self_attention_layers = nn.ModuleList(
            SelfAttentionLayer(hidden_dim, num_heads) for _ in decoder_layers
        )
        self.transformer_ffn_layers = nn.ModuleList(
            FFNLayer(hidden_dim, dim_feedforward) for _ in decoder_layers
        )
        self.decoder_norm = nn.LayerNorm(hidden_dim)
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        self.mask_embed = make_mask_head()

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        mask_former, options = cfg.MODEL.MASK_FORMER, cfg.MODEL.CLIP_DECODER
        if options.DEC_LAYERS < 1:
            raise ValueError("MODEL.CLIP_DECODER.DEC_LAYERS is 0; clip queries need at least one layer")
        frame_queries = ShapeSpec(channels=mask_former.HIDDEN_DIM, height=mask_former.NUM_OBJECT_QUERIES)
        clip_queries = ShapeSpec(channels=mask_former.HIDDEN_DIM, height=options.NUM_QUERIES)
        of_frames, of_clips = {**shapes, "queries": frame_queries}, {**shapes, "queries": clip_queries}
        fusion = cfg.MODEL.TEMPORAL_FUSION.NAME if hears(cfg) else ""
        return {
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "hidden_dim": mask_former.HIDDEN_DIM,
            "num_frame_queries": mask_former.NUM_OBJECT_QUERIES,
            "num_queries": options.NUM_QUERIES,
            "num_heads": mask_former.NHEADS,
            "dim_feedforward": options.DIM_FEEDFORWARD,
            "num_encoder_layers": options.ENC_LAYERS,
            "num_decoder_layers": options.DEC_LAYERS,
            "window": options.WINDOW,
            "make_mask_head": partial(MASK_HEAD_REGISTRY.build, mask_former.MASK_HEAD, cfg, of_clips),
            "make_temporal_fusion": partial(TEMPORAL_FUSION_REGISTRY.build, fusion, cfg, of_frames)
            if fusion
            else None,
            "shift_in_training": options.SHIFT_IN_TRAINING,
            "checkpointing": checkpoints(cfg, "decoder"),
        }

    def forward(self, frames: Tensor, audio: Tensor | None) -> ClipQueries:
        """Join the queries of all frames.

        Args:
            frames: (B, T, N, C) normalised queries of the frames.
            audio: (B, T, S, A) audio features, or None.
        """
        frames = self._encode(self.input_proj_dec(frames))
        if self.temporal_fusion is not None:
            frames = self.temporal_fusion(frames, audio)
        values = frames.flatten(1, 2)
        # The same for all frames: within a clip, frames are a set.
        keys = (frames + self.fq_pos.weight).flatten(1, 2)
        queries, embed = self.query_feat.weight.expand(len(frames), -1, -1), self.query_embed.weight
        layers = []
        for modules in zip(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
            strict=True,
        ):
            queries = self._run(_decoder_layer, *modules, queries, embed, keys, values)
            layers.append(self.decoder_norm(queries))
        return ClipQueries(frames, layers)

    def _encode(self, frames: Tensor) -> Tensor:
        """(B, T, N, C) in and out; the queries of a window's frames attend to each other."""
        batch, num_frames, num_queries, _ = frames.shape
        may_shift = self.shift_in_training or not self.training
        for index, modules in enumerate(zip(self.enc_self_attn, self.enc_ffn, strict=True)):
            windows = FrameWindows(num_frames, self.window, shifted=may_shift and index % 2 == 1)
            allowed = windows.allowed(batch, num_queries, frames.device)
            encoded = [
                self._run(_encoder_layer, *modules, tokens, None if allowed is None else allowed[group])
                for group, tokens in _groups(windows.split(frames))
            ]
            frames = windows.join(torch.cat(encoded), num_queries)
        return frames

    def _run(self, layer: Callable[..., Tensor], *inputs: Any) -> Tensor:
        return recomputed(layer, *inputs) if self.checkpointing else layer(*inputs)


def _encoder_layer(
    attention: SelfAttentionLayer, feedforward: FFNLayer, windows: Tensor, allowed: Tensor | None
) -> Tensor:
    """(B·n, W·N, C) in and out."""
    return feedforward(attention(windows, allowed=allowed))


def _decoder_layer(
    cross_attention: CrossAttentionLayer,
    self_attention: SelfAttentionLayer,
    feedforward: FFNLayer,
    queries: Tensor,
    embed: Tensor,
    keys: Tensor,
    values: Tensor,
) -> Tensor:
    """(B, M, C) in and out; the others as `CrossAttentionLayer.forward` takes them."""
    queries = cross_attention(queries, embed, keys, values)
    return feedforward(self_attention(queries, embed))


def _groups(windows: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Some windows at a time: of a long video, those of all frames would take much memory in a layer."""
    for start in range(0, len(windows), _WINDOWS_AT_ONCE):
        group = slice(start, start + _WINDOWS_AT_ONCE)
        yield group, windows[group]
