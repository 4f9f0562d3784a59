"""Multi-scale deformable attention: every query reads a few learned points of every feature level.

Follows Zhu et al., "Deformable DETR", ICLR 2021, Eq. (3), in plain PyTorch: no compiler is needed.

Dimensions: B images, S tokens of all levels, Q queries, C channels, M heads, D = C/M channels a head,
L levels, P points.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Tensor | Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Weighted sum of bilinear samples of `value`; samples outside a level are zero.

    Args:
        value: (B, S, M, D), the levels' tokens one after the other, each row-major.
        spatial_shapes: (L, 2), height and width of each level; sum of products is S.
        sampling_locations: (B, Q, M, L, P, 2) as (x, y), 0 … 1 from edge to edge of a level.
        attention_weights: (B, Q, M, L, P).

    Returns:
        (B, Q, M·D).

    Raises:
        ValueError: the level sizes do not add up to the S tokens of `value`.
    """
    sizes = [(int(height), int(width)) for height, width in spatial_shapes]
    batch, num_tokens, heads, head_dim = value.shape
    if sum(height * width for height, width in sizes) != num_tokens:
        raise ValueError(f"value has {num_tokens} tokens, but the levels are {sizes}")
    # grid_sample takes one (D, h, w) map per image and head, and locations from -1 to 1. The queries go last:
    # sums over points are then sums of whole rows.
    maps = value.permute(0, 2, 3, 1).flatten(0, 1).split([height * width for height, width in sizes], dim=2)
    grids = (2 * sampling_locations - 1).permute(3, 0, 2, 4, 1, 5).flatten(1, 2).contiguous()
    weights = attention_weights.permute(3, 0, 2, 4, 1).flatten(1, 2).unsqueeze(2).contiguous()
    output = sum(
        (_sample(level.unflatten(2, size), grid) * weight).sum(dim=2)
        for level, size, grid, weight in zip(maps, sizes, grids, weights, strict=True)
    )
    return output.view(batch, heads * head_dim, -1).transpose(1, 2).contiguous()


def _sample(level: Tensor, grid: Tensor) -> Tensor:
    """(B·M, D, h, w) at (B·M, P, Q, 2) locations: (B·M, D, P, Q)."""
    return F.grid_sample(level, grid, padding_mode="zeros", align_corners=False)


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
        self, query: Tensor, reference_points: Tensor, value: Tensor, spatial_shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Attend from `query` to `value` around the reference points.

        Args:
            query: (B, Q, C).
            reference_points: (Q, 2) as (x, y) in 0 … 1, the same on every level.
            value: (B, S, C).
            spatial_shapes: height and width of each of the L levels.

        Returns:
            (B, Q, C).
        """
        batch, num_queries, _ = query.shape
        heads, levels, points = self.num_heads, self.num_levels, self.num_points
        value = self.value_proj(value).unflatten(-1, (heads, -1))
        offsets = self.sampling_offsets(query).view(batch, num_queries, heads, levels, points, 2)
        weights = self.attention_weights(query).view(batch, num_queries, heads, levels * points)
        weights = weights.softmax(-1).view(batch, num_queries, heads, levels, points)
        widths_heights = query.new_tensor([(width, height) for height, width in spatial_shapes])
        locations = reference_points[:, None, None, None] + offsets / widths_heights[:, None]
        return self.output_proj(ms_deform_attn(value, spatial_shapes, locations, weights))
