"""Learnable queries that take apart the sound of a frame.

Follows the audio decomposition of H2S (Liu et al., "Hear to See", ACM MM 2026), with its parameter names.

Dimensions: R frames, N queries, C channels, S audio sources.
"""

from torch import Tensor, nn

from avis.modeling.layers import CrossAttentionLayer


class SourceDecomposition(nn.Module):
    """N learnable queries attend to the sources of each frame.

    A base class, rather than a part of those that hear with it, so that checkpoints keep their names.
    """

    def __init__(self, num_queries: int, embed_dim: int, num_heads: int) -> None:
        """Make the queries, their position embedding, and the attention."""
        super().__init__()
        self.audio_decomp_queries = nn.Embedding(num_queries, embed_dim)
        self.audio_decomp_pos = nn.Embedding(num_queries, embed_dim)
        self.audio_decomp_attention = CrossAttentionLayer(embed_dim, num_heads)

    def decompose(self, sources: Tensor) -> Tensor:
        """(R, S, C) to (R, N, C), what each query hears in a frame."""
        queries = self.audio_decomp_queries.weight.expand(len(sources), -1, -1)
        return self.audio_decomp_attention(queries, self.audio_decomp_pos.weight, sources, sources)
