"""The transformer decoder's layers: masked cross-attention, self-attention, feed-forward, and the MLP.

Follow Cheng et al., "Masked-attention Mask Transformer", CVPR 2022, Section 3.2, post-norm; parameter names
as there, so that the layers hold torch.nn.MultiheadAttention's parameters.

Dimensions: B clips, N queries, K keys, C channels.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MultiheadAttention(nn.Module):
    """Multi-head attention without its weights as output, so that fused kernels serve."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        """Make the projections, named and initialised as torch.nn.MultiheadAttention's.

        Raises:
            ValueError: `embed_dim` is not a multiple of `num_heads`.
        """
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"{embed_dim} channels cannot be split over {num_heads} heads")
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dim))
        self.out_proj = nn.Linear(embed_dim, embed_dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            query: (B, N, C).
            key: (B, K, C).
            value: (B, K, C).
            allowed: (B, N, K) bool, True where a query may attend to a key; the same for all heads.

        Returns:
            (B, N, C).
        """
        projections = zip(
            (query, key, value), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True
        )
        query, key, value = (self._split_heads(F.linear(x, w, b)) for x, w, b in projections)
        mask = None if allowed is None else allowed.unsqueeze(1)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def of_one_key(self, value: Tensor) -> Tensor:
        """What every query gets of one key, whose weight is 1 whatever the query; (B, 1, C) in and out."""
        weight, bias = self.in_proj_weight.chunk(3)[2], self.in_proj_bias.chunk(3)[2]
        return self.out_proj(F.linear(value, weight, bias))

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class CrossAttentionLayer(nn.Module):
    """Queries attend to the pixels of a feature level, within a mask."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        """Make the layer."""
        super().__init__()
        self.multihead_attn = MultiheadAttention(embed_dim, num_heads)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(
        self,
        queries: Tensor,
        query_embed: Tensor | None,
        keys: Tensor,
        values: Tensor,
        allowed: Tensor | None = None,
    ) -> Tensor:
        """Attend from queries to pixels.

        Args:
            queries: (B, N, C).
            query_embed: (N, C) or (B, N, C), the queries' position embedding, if they have one.
            keys: (B, K, C), with the pixels' position.
            values: (B, K, C), without it.
            allowed: (B, N, K) bool, True where a query may attend to a key; None: everywhere.

        Returns:
            (B, N, C).
        """
        attended = self.multihead_attn(_positioned(queries, query_embed), keys, values, allowed)
        return self.norm(queries + attended)

    def attend_to_one(self, queries: Tensor, value: Tensor) -> Tensor:
        """`forward` with one key of value (B, 1, C), without its attention: (B, N, C) in and out."""
        return self.norm(queries + self.multihead_attn.of_one_key(value))


class SelfAttentionLayer(nn.Module):
    """Queries attend to each other."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        """Make the layer."""
        super().__init__()
        self.self_attn = MultiheadAttention(embed_dim, num_heads)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(
        self, queries: Tensor, query_embed: Tensor | None = None, allowed: Tensor | None = None
    ) -> Tensor:
        """(B, N, C) in and out; embedding and mask (B, N, N) as those of `CrossAttentionLayer.forward`."""
        positioned = _positioned(queries, query_embed)
        return self.norm(queries + self.self_attn(positioned, positioned, queries, allowed))


class FFNLayer(nn.Module):
    """Two linear layers around a ReLU, with residual and norm."""

    def __init__(self, embed_dim: int, dim_feedforward: int) -> None:
        """Make the layer."""
        super().__init__()
        self.linear1 = nn.Linear(embed_dim, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, embed_dim)
        self.norm = nn.LayerNorm(embed_dim)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, queries: Tensor) -> Tensor:
        """(B, N, C) in and out."""
        return self.norm(queries + self.linear2(F.relu(self.linear1(queries))))


class MLP(nn.Module):
    """Linear layers with a ReLU between each two."""

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, num_layers: int) -> None:
        """Make `num_layers` linear layers."""
        super().__init__()
        dims = [in_dim] + [hidden_dim] * (num_layers - 1) + [out_dim]
        self.layers = nn.ModuleList(nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(dims))

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_dim) to (…, out_dim)."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


def _positioned(queries: Tensor, query_embed: Tensor | None) -> Tensor:
    return queries if query_embed is None else queries + query_embed
