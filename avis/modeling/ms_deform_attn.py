"""The module of multi-scale deformable attention: what a query reads where, around its own place.

Follows Zhu et al., "Deformable DETR", ICLR 2021, Eq. (2). Its sum over samples is `avis.kernels`'.

Dimensions: B images, S tokens of all levels, Q queries, C channels, M heads, L levels, P points.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avis.kernels import ms_deform_attn


class MSDeformAttn(nn.Module):
    """Deformable attention with its projections; parameter names as in Deformable DETR."""

    def __init__(self, embed_dim: int, num_levels: int, num_heads: int, num_points: int) -> None:
        """Make the projections.

        Raises:
            ValueError: `embed_dim` is not a multiple of `num_heads`.
        """
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"{embed_dim} channels cannot be split over {num_heads} heads")
        self.num_levels, self.num_heads, self.num_points = num_levels, num_heads, num_points
        self.sampling_offsets = nn.Linear(embed_dim, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(embed_dim, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(embed_dim, embed_dim)
        self.output_proj = nn.Linear(embed_dim, embed_dim)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)
        # Head m looks into its own compass direction, its point p at p + 1 steps.
        nn.init.zeros_(self.sampling_offsets.weight)
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1).view(1, 1, -1, 1)
        offsets = directions[:, None, None] * steps
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.num_levels, -1, -1).flatten())

    def forward(
        self,
        query: Tensor,
        positions: Tensor,
        reference_points: Tensor,
        value: Tensor,
        spatial_shapes: list[tuple[int, int]],
    ) -> Tensor:
        """Attend from `query` to `value` around the reference points.

        Args:
            query: (B, Q, C), without its position.
            positions: (Q, C) of the queries.
            reference_points: (Q, 2) as (x, y) in 0 … 1, the same on every level.
            value: (B, S, C).
            spatial_shapes: height and width of each of the L levels.

        Returns:
            (B, Q, C), still to pass `output_proj`: what follows the sampling can be computed again.
        """
        batch, num_queries, _ = query.shape
        heads, levels, points = self.num_heads, self.num_levels, self.num_points
        value = self.value_proj(value).unflatten(-1, (heads, -1))
        offsets = _of_sum(self.sampling_offsets, query, positions)
        offsets = offsets.view(batch, num_queries, heads, levels, points, 2)
        weights = _of_sum(self.attention_weights, query, positions)
        weights = weights.view(batch, num_queries, heads, levels * points)
        weights = weights.softmax(-1).view(batch, num_queries, heads, levels, points)
        extents = torch.tensor([(width, height) for height, width in spatial_shapes], dtype=query.dtype)
        extents = extents.to(query.device, non_blocking=True)
        locations = reference_points[:, None, None, None] + offsets / extents[:, None]
        return ms_deform_attn(value, spatial_shapes, locations, weights)


def _of_sum(linear: nn.Linear, query: Tensor, positions: Tensor) -> Tensor:
    """A linear layer of `query` (B, Q, C) + `positions` (Q, C), without a sum to keep for the gradients."""
    return linear(query) + F.linear(positions, linear.weight)
