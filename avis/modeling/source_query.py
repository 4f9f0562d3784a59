"""The audio query "sources": the separated sources of a frame's sound look for what they come from.

Follows the frame decoder of H2S (Liu et al., "Hear to See", ACM MM 2026), with its parameter names. Learnable
queries, one for each query of the decoder, attend to the sources. With what they hear they attend to the
pixels of each level. What they find there is added to the decoder's queries.

Dimensions: B clips (of one frame, in H2S), N queries, C channels, K pixels of a level, S audio sources, A
audio channels.
"""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from avis.modeling.audio_query import AUDIO_QUERY_REGISTRY, AudioQuery
from avis.modeling.clustered_attention import ClusteredAttention
from avis.modeling.decoder import num_decoder_levels
from avis.modeling.kmeans import STARTS, Start, farthest_points
from avis.modeling.source_decomposition import SourceDecomposition
from avis.registry import Shapes


@AUDIO_QUERY_REGISTRY.register(name="sources")
class SourceAudioQuery(SourceDecomposition, AudioQuery):
    """What the sources find among the pixels is added to the queries.

    The queries that hear the sources have a position embedding. The decoder's queries take it, too. So the
    decoder keeps none of its own.
    """

    replaces_query_embed = True

    @configurable
    def __init__(
        self,
        audio_dim: int,
        hidden_dim: int,
        num_queries: int,
        *,
        num_heads: int,
        top_p: Sequence[float],
        num_clusters: int = 8,
        iterations: int = 50,
        start: Start = farthest_points,
        released_padding: bool = True,
    ) -> None:
        """Make the decomposition, and a clustered attention for each level.

        Args:
            audio_dim: A.
            hidden_dim: C.
            num_queries: N.
            num_heads: attention heads.
            top_p: of each level's attention, coarse to fine; this and the following as `ClusteredAttention`
                takes them.
            num_clusters: of queries and of pixels.
            iterations: the most rounds of k-means.
            start: where k-means begins.
            released_padding: whether queries get copies of keys.
        """
        super().__init__(num_queries, hidden_dim, num_heads)
        self.av_pre_proj = nn.Linear(audio_dim, hidden_dim)
        self.av_sf = nn.ModuleList(
            ClusteredAttention(
                hidden_dim,
                num_heads,
                top_p=share,
                num_clusters=num_clusters,
                iterations=iterations,
                start=start,
                released_padding=released_padding,
            )
            for share in top_p
        )
        self.av_post_proj = nn.Linear(len(top_p) * hidden_dim, hidden_dim)

    @classmethod
    def from_config(cls, cfg: CfgNode, shapes: Shapes) -> dict:
        """Arguments of the class from a config.

        Raises:
            ValueError: CLUSTERED_ATTENTION does not fit the levels, or names no start.
        """
        options, num_levels = cfg.MODEL.CLUSTERED_ATTENTION, num_decoder_levels(cfg)
        if len(options.TOP_P) != num_levels:
            raise ValueError(
                f"MODEL.CLUSTERED_ATTENTION.TOP_P is {list(options.TOP_P)}; it has one share for each of the "
                f"{num_levels} feature levels that the decoder reads"
            )
        if options.START not in STARTS:
            raise ValueError(
                f"MODEL.CLUSTERED_ATTENTION.START is {options.START!r}; it can be one of {list(STARTS)}"
            )
        return {
            "audio_dim": shapes["audio"].channels,
            "hidden_dim": shapes["queries"].channels,
            "num_queries": shapes["queries"].height,
            "num_heads": cfg.MODEL.MASK_FORMER.NHEADS,
            "top_p": options.TOP_P,
            "num_clusters": options.CLUSTERS,
            "iterations": options.ITERATIONS,
            "start": STARTS[options.START],
            "released_padding": options.RELEASED_PADDING,
        }

    def forward(
        self, queries: Tensor, query_embed: Tensor | None, levels: list[Tensor], audio: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `AudioQuery.forward`; `query_embed` is not read."""
        embed = self.audio_decomp_pos.weight
        heard = self.decompose(self.av_pre_proj(audio)) + embed
        found = [attention(heard, level, level) for attention, level in zip(self.av_sf, levels, strict=True)]
        return queries + self.av_post_proj(torch.cat(found, dim=-1)), embed
