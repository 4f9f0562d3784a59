"""Video transformer decoder: queries attend to the pixels of all frames at once, within their own masks.

Follows Cheng et al., "Mask2Former for Video Instance Segmentation", 2021, and its parameter names, with the
audio query of Guo et al., "Audio-Visual Instance Segmentation", arXiv 2310.18709.

Dimensions: B clips, T frames of the video, t frames of a chunk, N queries, E extra tokens, C channels, K
classes, A audio channels, h×w a feature level, H×W the per-pixel embeddings.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from fvcore.nn import weight_init
from torch import Tensor, nn

from avis.config import checkpoints, hears
from avis.modeling.audio_query import AUDIO_QUERY_REGISTRY, AudioQuery, MeanAudioQuery
from avis.modeling.decoder import (
    TRANSFORMER_DECODER_REGISTRY,
    Decoded,
    DecoderOutput,
    VideoDecoder,
    num_decoder_levels,
)
from avis.modeling.feature_store import FeatureStore, FrameFeatures, is_streamed, join_frames
from avis.modeling.layers import CrossAttentionLayer, FFNLayer, SelfAttentionLayer
from avis.modeling.mask_head import MASK_HEAD_REGISTRY, MaskHead, resize_frames
from avis.modeling.position_encoding import sine_embedding_2d, sine_embedding_3d
from avis.modeling.recomputing import recomputed
from avis.modeling.running_attention import RunningAttention
from avis.modeling.sounding_gate import SoundingGate
from avis.registry import Shapes

logger = logging.getLogger(__name__)


@TRANSFORMER_DECODER_REGISTRY.register()
class VideoMultiScaleMaskedTransformerDecoder(VideoDecoder):
    """Masked cross-attention over T·h·w pixels, self-attention and feed-forward, level after level.

    On clips of one frame, without temporal position, it is Mask2Former's decoder of images.
    """

    @configurable
    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int,
        hidden_dim: int,
        num_queries: int,
        num_heads: int,
        dim_feedforward: int,
        num_layers: int,
        make_mask_head: Callable[[], MaskHead],
        make_audio_query: Callable[[], AudioQuery] | None = None,
        num_levels: int = 3,
        enforce_input_proj: bool = False,
        temporal_position: bool = True,
        sounding_gate: SoundingGate | None = None,
        checkpointing: bool = False,
    ) -> None:
        """Make the decoder.

        Args:
            in_channels: channels of the feature levels.
            num_classes: K, without no-object.
            hidden_dim: C.
            num_queries: N.
            num_heads: attention heads.
            dim_feedforward: width of the feed-forward layers.
            num_layers: decoder layers.
            make_mask_head: makes the mask head. It is called here, after the layers: a seed shall give the
                initial weights that it has always given.
            make_audio_query: makes the audio query, likewise; None: a decoder that does not hear.
            num_levels: feature levels that the decoder reads, the coarsest ones.
            enforce_input_proj: project the levels also where `in_channels` equals C.
            temporal_position: pixels also tell in which frame they are.
            sounding_gate: closes masks in frames that do not sound like their query; None: does not.
            checkpointing: compute the layers again in the backward pass, to save memory.
        """
        super().__init__()
        self.num_layers, self.num_levels, self.temporal_position = num_layers, num_levels, temporal_position
        self.checkpointing = checkpointing
        layers = range(num_layers)
        self.transformer_cross_attention_layers = nn.ModuleList(
            CrossAttentionLayer(hidden_dim, num_heads) for _ in layers
        )
        self.transformer_self_attention_layers = nn.ModuleList(
            SelfAttentionLayer(hidden_dim, num_heads) for _ in layers
        )
        self.transformer_ffn_layers = nn.ModuleList(FFNLayer(hidden_dim, dim_feedforward) for _ in layers)
        self.decoder_norm = nn.LayerNorm(hidden_dim)
        self.query_feat = nn.Embedding(num_queries, hidden_dim)
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.level_embed = nn.Embedding(num_levels, hidden_dim)
        self.input_proj = nn.ModuleList(
            _input_projection(in_channels, hidden_dim, enforce_input_proj) for _ in range(num_levels)
        )
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        # The mask head has the name of Mask2Former's and the audio query that of the first, whichever they
        # are: checkpoints know them by these names.
        self.mask_embed = make_mask_head()
        self.audio_proj = make_audio_query() if make_audio_query else None
        self.sounding_gate = sounding_gate
        if self.audio_proj is not None and self.audio_proj.replaces_query_embed:
            self.query_embed = None
        if self.audio_proj is None or isinstance(self.audio_proj, MeanAudioQuery):
            self._freeze_what_no_layer_reads()

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        mask_former = cfg.MODEL.MASK_FORMER
        queries = ShapeSpec(channels=mask_former.HIDDEN_DIM, height=mask_former.NUM_OBJECT_QUERIES)
        shapes = {**shapes, "queries": queries}
        has_audio_query = hears(cfg) and mask_former.AUDIO_QUERY
        return {
            "in_channels": shapes["levels"].channels,
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "hidden_dim": queries.channels,
            "num_queries": queries.height,
            "num_heads": mask_former.NHEADS,
            "dim_feedforward": mask_former.DIM_FEEDFORWARD,
            # DEC_LAYERS counts predictions: one of the learnable queries, then one a layer.
            "num_layers": mask_former.DEC_LAYERS - 1,
            "make_mask_head": partial(MASK_HEAD_REGISTRY.build, mask_former.MASK_HEAD, cfg, shapes),
            "make_audio_query": partial(AUDIO_QUERY_REGISTRY.build, mask_former.AUDIO_QUERY, cfg, shapes)
            if has_audio_query
            else None,
            "num_levels": num_decoder_levels(cfg),
            "enforce_input_proj": mask_former.ENFORCE_INPUT_PROJ,
            "temporal_position": mask_former.TEMPORAL_POSITION,
            "sounding_gate": SoundingGate(shapes["audio"].channels, queries.channels)
            if hears(cfg) and mask_former.SOUNDING_GATE
            else None,
            "checkpointing": checkpoints(cfg, "decoder"),
        }

    def see(self, levels: list[Tensor], mask_features: Tensor, audio: Tensor | None = None) -> FrameFeatures:
        """Keep the per-pixel embeddings, and project the levels; see `VideoDecoder.see`."""
        projected = {
            _level_name(index): self._project(index, level)
            for index, level in enumerate(levels[: self.num_levels])
        }
        return FrameFeatures(mask_features=mask_features, **projected)

    def decide(self, parts: Sequence[FrameFeatures], audio: Tensor | None = None) -> Decoded:
        """Attend to all frames at once; see `VideoDecoder.decide`.

        Returns:
            num_layers + 1 predictions: of the learnable queries, then after each layer.
        """
        if is_streamed(parts):
            return self._decide_in_chunks(parts, audio)
        frames = join_frames(parts)
        mask_features = frames["mask_features"]
        levels = [frames[_level_name(index)] for index in range(self.num_levels)]
        sizes = [tuple(level.shape[-2:]) for level in levels]
        keys_values = [self._keys_and_values(level) for level in levels]
        queries, embed = self._initial_queries(
            len(mask_features), [values for _, values in keys_values], audio
        )
        masks = self.mask_embed.on(mask_features) if self.training else None
        predictions = [self._predict(queries, masks, audio)]
        run = partial(recomputed, self._layer) if self.checkpointing else self._layer
        for index in range(self.num_layers):
            level = index % self.num_levels
            allowed = self._attention_mask(predictions[-1], mask_features, sizes[level])
            queries = run(index, queries, embed, *keys_values[level], allowed)
            predictions.append(self._predict(queries, masks, audio))
        return Decoded(predictions, mask_features)

    def _decide_in_chunks(self, store: FeatureStore, audio: Tensor | None) -> Decoded:
        """What `decide` gives, with one chunk of the video on the device at a time."""
        batch = len(store[0][_level_name(0)])
        queries, embed = self._initial_queries(batch, self._pixels_for_audio_query(store), audio)
        predictions = [self._predict(queries, None, audio)]
        for index in range(self.num_layers):
            queries = self._attend_in_chunks(index, queries, embed, store, predictions[-1])
            queries = self.transformer_self_attention_layers[index](queries, embed)
            queries = self.transformer_ffn_layers[index](queries)
            predictions.append(self._predict(queries, None, audio))
        return Decoded(predictions, store.feature("mask_features"))

    def _pixels_for_audio_query(self, store: FeatureStore) -> list[Tensor]:
        """The levels (B, T·h_i·w_i, C) of the whole video, if the audio query reads them."""
        if self.audio_proj is None or not self.audio_proj.reads_pixels:
            return []
        logger.warning(
            "the audio query %s reads the pixels of all %d frames at once, which takes memory",
            type(self.audio_proj).__name__, store.num_frames,
        )  # fmt: skip
        levels = (store.feature(_level_name(index))[:, :] for index in range(self.num_levels))
        return [_pixels(level) for level in levels]

    def _attend_in_chunks(
        self, index: int, queries: Tensor, embed: Tensor | None, store: FeatureStore, output: DecoderOutput
    ) -> Tensor:
        """The cross-attention of a layer, within the masks of the output before it."""
        layer = self.transformer_cross_attention_layers[index]
        level = _level_name(index % self.num_levels)
        positioned = queries if embed is None else queries + embed
        within_masks = RunningAttention(layer.multihead_attn, positioned)
        for part in store:
            pixels = part[level]
            inside = self._inside_masks(output, part["mask_features"], pixels.shape[-2:], part.frames)
            keys_values = self._keys_and_values(pixels, part.frames, store.num_frames)
            within_masks.add(*keys_values, inside)
        attended, empty = within_masks.attended(), within_masks.without_keys()
        if empty.any():
            # As in `_attention_mask`, a query whose mask is empty attends everywhere. That no frame has any
            # of it shows at the end.
            some = empty.any(dim=0)
            everywhere = RunningAttention(layer.multihead_attn, positioned[:, some])
            for part in map(store.__getitem__, range(len(store))):  # a pass that nobody has reckoned with
                everywhere.add(*self._keys_and_values(part[level], part.frames, store.num_frames))
            instead = everywhere.attended()
            attended[:, some] = torch.where(empty[:, some, None], instead, attended[:, some])
        return layer.norm(queries + attended)

    def _freeze_what_no_layer_reads(self) -> None:
        """Such parameters get no gradient, and training on several processes would wait for one."""
        self.input_proj[self.num_layers :].requires_grad_(False)
        if self.num_layers == 0:
            self.query_embed.requires_grad_(False)
            self.level_embed.requires_grad_(False)

    @property
    def num_passes(self) -> int:
        """See `VideoDecoder`."""
        return self.num_layers

    @property
    def num_extra(self) -> int:
        """E, extra tokens in front of the queries."""
        return self.audio_proj.num_extra if self.audio_proj is not None else 0

    def _initial_queries(
        self, batch: int, levels: list[Tensor], audio: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Queries (B, E + N, C) of B clips and their embedding, from levels (B, T·h_i·w_i, C)."""
        queries = self.query_feat.weight.expand(batch, -1, -1)
        embed = None if self.query_embed is None else self.query_embed.weight
        if self.audio_proj is None:
            return queries, embed
        return self.audio_proj(queries, embed, levels, audio.flatten(1, 2))

    def _project(self, index: int, level: Tensor) -> Tensor:
        """(B, t, C', h, w) to (B, t, C, h, w), with the level's own embedding."""
        projected = self.input_proj[index](level.flatten(0, 1)).unflatten(0, level.shape[:2])
        return projected + self.level_embed.weight[index][:, None, None]

    def _keys_and_values(
        self, level: Tensor, frames: slice = slice(None), length: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, t·h·w, C) keys, which carry the position, and values, which do not.

        The level is that of `frames`, of a video of `length`; without them, of all frames.
        """
        _, num_frames, channels, height, width = level.shape
        if self.temporal_position:
            position = sine_embedding_3d(channels, length or num_frames, height, width, level.device, frames)
        else:
            position = sine_embedding_2d(channels, height, width, level.device)
        return _pixels(level + position), _pixels(level)

    def _layer(
        self, index: int, queries: Tensor, embed: Tensor | None, keys: Tensor, values: Tensor, allowed: Tensor
    ) -> Tensor:
        """(B, E + N, C) queries in and out; the others as `CrossAttentionLayer.forward` takes them."""
        queries = self.transformer_cross_attention_layers[index](queries, embed, keys, values, allowed)
        queries = self.transformer_self_attention_layers[index](queries, embed)
        return self.transformer_ffn_layers[index](queries)

    @torch.no_grad()
    def _attention_mask(self, output: DecoderOutput, mask_features: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, E + N, T·h·w), True inside each query's own mask.

        It is True everywhere for a query whose mask is empty, and for extra tokens.
        """
        allowed = self._inside_masks(output, mask_features, size)
        allowed |= ~allowed.any(dim=-1, keepdim=True)
        return allowed

    def _inside_masks(
        self,
        output: DecoderOutput,
        mask_features: Tensor,
        size: tuple[int, int],
        frames: slice = slice(None),
    ) -> Tensor:
        """(B, E + N, t·h·w), True inside each query's own mask, and for extra tokens.

        The embeddings (B, t, C, H, W) are those of `frames`.
        """
        if output.mask_logits is None:
            gate = None if output.gate is None else output.gate[..., frames]
            logits = _gated(self.mask_embed.resized(output.queries, mask_features, size), gate)
        else:
            logits = resize_frames(output.mask_logits, size)
        inside = logits.flatten(2) >= 0
        if not self.num_extra:
            return inside
        return torch.cat([inside.new_ones(len(inside), self.num_extra, inside.shape[2]), inside], dim=1)

    def _predict(
        self, queries: Tensor, masks: Callable[[Tensor], Tensor] | None, audio: Tensor | None
    ) -> DecoderOutput:
        """What queries (B, E + N, C) say; `masks` gives the logits of the normalised queries (B, N, C)."""
        normalised = self.decoder_norm(queries)
        extra, queries = normalised[:, : self.num_extra], normalised[:, self.num_extra :]
        gate = None if self.sounding_gate is None else self.sounding_gate(queries, audio)
        logits = None if masks is None else _gated(masks(queries), gate)
        extra = extra if self.num_extra else None
        return DecoderOutput(self.class_embed(queries), queries, logits, extra, gate)


def _gated(mask_logits: Tensor, gate: Tensor | None) -> Tensor:
    """(B, N, T, h, w) in and out, with a gate (B, N, T) or without."""
    return mask_logits if gate is None else mask_logits + gate[..., None, None]


def _pixels(level: Tensor) -> Tensor:
    """(B, t, C, h, w) to (B, t·h·w, C), laid out once: of a view, every layer's projections keep a copy."""
    return level.permute(0, 1, 3, 4, 2).flatten(1, 3).contiguous()


def _level_name(index: int) -> str:
    return f"level_{index}"


def _input_projection(in_channels: int, hidden_dim: int, enforce: bool) -> nn.Module:
    if in_channels == hidden_dim and not enforce:
        return nn.Identity()
    convolution = nn.Conv2d(in_channels, hidden_dim, 1)
    weight_init.c2_xavier_fill(convolution)
    return convolution
