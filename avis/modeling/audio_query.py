"""Audio queries: how the sound enters a decoder's queries before its first layer.

"mean" is the audio query of Guo et al., "Audio-Visual Instance Segmentation", arXiv 2310.18709v1: it adds the
projected mean audio feature of the clip to every query. "localize" is that of AVISM (Guo et al., CVPR 2025):
the sound attends to the pixels. "centric" is that of ACVIS (Seo et al., "Learning What To Hear", ICASSP
2026): the queries attend to the sound, and one more token counts what sounds. The last two have their
programs' parameter names. AVISM and ACVIS decode frames apart, and a frame has one audio token.

Dimensions: B clips, N queries, E extra tokens, C channels, K pixels of a level, S audio tokens, A audio
    channels.
"""

from abc import ABC, abstractmethod

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from avis.modeling.decoder import num_decoder_levels
from avis.modeling.layers import CrossAttentionLayer
from avis.registry import PartRegistry, Shapes

AUDIO_QUERY_REGISTRY = PartRegistry("MODEL.MASK_FORMER.AUDIO_QUERY")
AUDIO_QUERY_REGISTRY.__doc__ = """Subclasses of AudioQuery; shapes: "queries" (channels C, height N), "levels"
and "audio"."""


class AudioQuery(nn.Module, ABC):
    """Lets the sound into the queries.

    Attributes:
        num_extra: E, tokens that it puts in front of the queries. They attend to all pixels, have no class
            and no mask, and losses find them in `DecoderOutput.extra`.
        replaces_query_embed: it has position embeddings of its own, so the decoder keeps none.
        reads_pixels: it needs the levels' pixels. One that does not gets none of a video that is too large
            to be held at once.
    """

    num_extra = 0
    replaces_query_embed = False
    reads_pixels = True

    @abstractmethod
    def forward(
        self, queries: Tensor, query_embed: Tensor | None, levels: list[Tensor], audio: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Give the queries with which a decoder begins.

        Args:
            queries: (B, N, C) learnable queries.
            query_embed: (N, C) their position embedding; None if it `replaces_query_embed`.
            levels: pixels of each feature level, coarse to fine, (B, K_i, C).
            audio: (B, S, A); the frames' features one after the other where the decoder sees a whole clip.

        Returns:
            Queries (B, E + N, C) and their embedding, (E + N, C) or (B, E + N, C).
        """


@AUDIO_QUERY_REGISTRY.register(name="mean")
class MeanAudioQuery(AudioQuery, nn.Linear):
    """Adds the projected mean of the audio features to every query.

    It is the projection itself, rather than holding it, so that checkpoints keep their names.
    """

    reads_pixels = False

    @configurable
    def __init__(self, audio_dim: int, hidden_dim: int) -> None:
        """Make the projection, A → C."""
        nn.Linear.__init__(self, audio_dim, hidden_dim)

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        return {"audio_dim": shapes["audio"].channels, "hidden_dim": shapes["queries"].channels}

    def forward(
        self, queries: Tensor, query_embed: Tensor | None, levels: list[Tensor], audio: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `AudioQuery.forward`."""
        return queries + nn.Linear.forward(self, audio.mean(dim=1, keepdim=True)), query_embed


@AUDIO_QUERY_REGISTRY.register(name="localize")
class LocalizingAudioQuery(AudioQuery):
    """The mean sound attends to the pixels of each level; what it finds is added to the queries."""

    @configurable
    def __init__(self, audio_dim: int, hidden_dim: int, *, num_heads: int, num_layers: int) -> None:
        """Make a cross-attention layer for each level, and projections before and after them."""
        super().__init__()
        self.av_pre_proj = nn.Linear(audio_dim, hidden_dim)
        self.av_sf = nn.ModuleList(CrossAttentionLayer(hidden_dim, num_heads) for _ in range(num_layers))
        self.av_post_proj = nn.Linear(num_layers * hidden_dim, hidden_dim)

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config."""
        return _attention_options(cfg, shapes)

    def forward(
        self, queries: Tensor, query_embed: Tensor, levels: list[Tensor], audio: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `AudioQuery.forward`."""
        sound = self.av_pre_proj(audio.mean(dim=1, keepdim=True)).expand_as(queries)
        found = [
            attention(sound, query_embed, level, level)
            for attention, level in zip(self.av_sf, levels, strict=True)
        ]
        return queries + self.av_post_proj(torch.cat(found, dim=-1)), query_embed


@AUDIO_QUERY_REGISTRY.register(name="centric")
class CentricAudioQuery(AudioQuery):
    """The queries, and a token that counts, attend to the sound three times.

    The loss "count" reads the token. With one audio token, as in ACVIS, the attention is 1 whatever the
    queries are. It then adds the projected sound, and is not computed.
    """

    num_extra = 1
    reads_pixels = False

    @configurable
    def __init__(self, audio_dim: int, hidden_dim: int, *, num_heads: int, num_layers: int) -> None:
        """Make the token, the projection A → C and the cross-attention layers."""
        super().__init__()
        self.av_pre_proj = nn.Linear(audio_dim, hidden_dim)
        self.cls_token = nn.Embedding(self.num_extra, hidden_dim)
        self.audio_centric_query_generator = nn.ModuleList(
            CrossAttentionLayer(hidden_dim, num_heads) for _ in range(num_layers)
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config: a layer for each feature level, as the original has them."""
        return _attention_options(cfg, shapes)

    def forward(
        self, queries: Tensor, query_embed: Tensor, levels: list[Tensor], audio: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `AudioQuery.forward`."""
        token = self.cls_token.weight
        queries = torch.cat([token.expand(len(queries), -1, -1), queries], dim=1)
        embed = torch.cat([token, query_embed])
        sounds = self.av_pre_proj(audio)
        for layer in self.audio_centric_query_generator:
            if sounds.shape[1] == 1:
                queries = layer.attend_to_one(queries, sounds)
            else:
                queries = layer(queries, embed, sounds, sounds)
        return queries, embed


def _attention_options(cfg: CfgNode, shapes: Shapes) -> dict:
    """Arguments of a query with a cross-attention layer for each feature level."""
    return {
        "audio_dim": shapes["audio"].channels,
        "hidden_dim": shapes["queries"].channels,
        "num_heads": cfg.MODEL.MASK_FORMER.NHEADS,
        "num_layers": num_decoder_levels(cfg),
    }
