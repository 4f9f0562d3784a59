"""Deformable attention on CUDA: Triton kernels that keep nothing but their inputs for the gradients.

A program computes some queries of one head of one image. Sums are in float32 whatever the inputs are. The
gradient of the values is summed up by atomic additions, whose order, and so last digits, may change.

Dimensions: B images, S tokens of all levels, Q queries, M heads, D channels a head, L levels, P points.
"""

from functools import lru_cache

import torch
import triton
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from triton import language as tl

Sizes = tuple[tuple[int, int], ...]

_QUERIES_AT_ONCE = 16


def fused_form(value: Tensor, locations: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
    """`ms_deform_attn` of tensors on a CUDA device, in float32, bfloat16 or float16."""
    return _FusedSum.apply(value, locations, weights, sizes)


class _FusedSum(torch.autograd.Function):
    """Arguments and output as `fused_form` has them."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor, locations: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
        value, locations, weights = value.contiguous(), locations.contiguous(), weights.contiguous()
        ctx.save_for_backward(value, locations, weights)
        ctx.sizes = sizes
        batch, _, heads, head_dim = value.shape
        output = value.new_empty(batch, weights.shape[1], heads * head_dim)
        _launch(_forward_kernel, value, locations, weights, sizes, output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        value, locations, weights = ctx.saved_tensors
        of_value = torch.zeros_like(value, dtype=torch.float32)
        of_locations, of_weights = torch.empty_like(locations), torch.empty_like(weights)
        gradients = (grad.contiguous(), of_value, of_locations, of_weights)
        _launch(_backward_kernel, value, locations, weights, ctx.sizes, *gradients)
        return of_value.to(value.dtype), of_locations, of_weights, None


def _launch(
    kernel, value: Tensor, locations: Tensor, weights: Tensor, sizes: Sizes, *outputs: Tensor
) -> None:
    """Run a kernel over all queries, heads and images."""
    batch, num_tokens, heads, head_dim = value.shape
    num_queries, num_levels, points = weights.shape[1], weights.shape[3], weights.shape[4]
    grid = (triton.cdiv(num_queries, _QUERIES_AT_ONCE), heads, batch)
    with torch.cuda.device_of(value):
        kernel[grid](
            value,
            locations,
            weights,
            _level_table(sizes, value.device),
            *outputs,
            num_tokens,
            num_queries,
            heads,
            NUM_LEVELS=num_levels,
            POINTS=points,
            CHANNELS=head_dim,
            BLOCK_CHANNELS=triton.next_power_of_2(head_dim),
            BLOCK_QUERIES=_QUERIES_AT_ONCE,
        )


@lru_cache(maxsize=64)
def _level_table(sizes: Sizes, device: torch.device) -> Tensor:
    """(L, 3): each level's height, width and first token; kept, as a training has few sizes."""
    starts = [sum(height * width for height, width in sizes[:level]) for level in range(len(sizes))]
    rows = [(height, width, start) for (height, width), start in zip(sizes, starts, strict=True)]
    return torch.tensor(rows, dtype=torch.int32).to(device, non_blocking=True)


@triton.jit
def _find(locations, weights, levels, sample, level, is_query):
    """Where (queries,) samples are on a level.

    Returns:
        Their four corners, upper left and right, lower left and right: tokens, whether each is a pixel, and
        its share of the output; how far the sample is right of and below the first; the sample's weight;
        width and height of the level.
    """
    height, width = tl.load(levels + 3 * level), tl.load(levels + 3 * level + 1)
    start = tl.load(levels + 3 * level + 2)
    x = tl.load(locations + 2 * sample, mask=is_query, other=0.0).to(tl.float32) * width - 0.5
    y = tl.load(locations + 2 * sample + 1, mask=is_query, other=0.0).to(tl.float32) * height - 0.5
    left, upper = tl.floor(x), tl.floor(y)
    right, down = x - left, y - upper
    # NaN becomes a place outside; the distances stay NaN, and so does the sum
    left = tl.minimum(tl.maximum(left, -2.0), width).to(tl.int32)
    upper = tl.minimum(tl.maximum(upper, -2.0), height).to(tl.int32)
    is_left, is_right = is_query & (left >= 0) & (left < width), is_query & (left >= -1) & (left < width - 1)
    is_upper, is_lower = (upper >= 0) & (upper < height), (upper >= -1) & (upper < height - 1)
    token = start + upper * width + left
    tokens = (token, token + 1, token + width, token + width + 1)
    are_pixels = (is_left & is_upper, is_right & is_upper, is_left & is_lower, is_right & is_lower)
    weight = tl.load(weights + sample, mask=is_query, other=0.0).to(tl.float32)
    above, below = weight * (1 - down), weight * down
    shares = (above * (1 - right), above * right, below * (1 - right), below * right)
    return tokens, are_pixels, shares, right, down, weight, width, height


@triton.jit
def _rows(first, token, is_pixel, heads, CHANNELS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr):
    """Pointers to the (queries, channels) rows of tokens, and which of them are there."""
    channel = tl.arange(0, BLOCK_CHANNELS)
    pointers = first + token.to(tl.int64)[:, None] * heads * CHANNELS + channel[None, :]
    return pointers, is_pixel[:, None] & (channel < CHANNELS)[None, :]


@triton.jit
def _forward_kernel(
    value,
    locations,
    weights,
    levels,
    output,
    num_tokens,
    num_queries,
    heads,
    NUM_LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
):
    query = tl.program_id(0) * BLOCK_QUERIES + tl.arange(0, BLOCK_QUERIES)
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    is_query = query < num_queries
    value += (image * num_tokens * heads + head) * CHANNELS
    row = (image * num_queries + query) * heads + head
    total = tl.zeros((BLOCK_QUERIES, BLOCK_CHANNELS), dtype=tl.float32)
    for level in range(NUM_LEVELS):
        for point in range(POINTS):
            sample = (row * NUM_LEVELS + level) * POINTS + point
            tokens, are_pixels, shares, _, _, _, _, _ = _find(
                locations, weights, levels, sample, level, is_query
            )
            for corner in tl.static_range(4):
                rows, mask = _rows(value, tokens[corner], are_pixels[corner], heads, CHANNELS, BLOCK_CHANNELS)
                total += shares[corner][:, None] * tl.load(rows, mask=mask, other=0.0).to(tl.float32)
    rows, mask = _rows(output, row, is_query, 1, CHANNELS, BLOCK_CHANNELS)
    tl.store(rows, total.to(output.dtype.element_ty), mask=mask)


@triton.jit
def _backward_kernel(
    value,
    locations,
    weights,
    levels,
    grad,
    of_value,
    of_locations,
    of_weights,
    num_tokens,
    num_queries,
    heads,
    NUM_LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
):
    query = tl.program_id(0) * BLOCK_QUERIES + tl.arange(0, BLOCK_QUERIES)
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    is_query = query < num_queries
    first = (image * num_tokens * heads + head) * CHANNELS
    row = (image * num_queries + query) * heads + head
    rows, mask = _rows(grad, row, is_query, 1, CHANNELS, BLOCK_CHANNELS)
    of_output = tl.load(rows, mask=mask, other=0.0).to(tl.float32)
    for level in range(NUM_LEVELS):
        for point in range(POINTS):
            sample = (row * NUM_LEVELS + level) * POINTS + point
            tokens, are_pixels, shares, right, down, weight, width, height = _find(
                locations, weights, levels, sample, level, is_query
            )
            of_weight, of_x, of_y = tl.zeros_like(weight), tl.zeros_like(weight), tl.zeros_like(weight)
            slopes_x = (down - 1, 1 - down, -down, down)
            slopes_y = (right - 1, -right, 1 - right, right)
            parts = ((1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right)
            for corner in tl.static_range(4):
                rows, mask = _rows(
                    value + first, tokens[corner], are_pixels[corner], heads, CHANNELS, BLOCK_CHANNELS
                )
                of_entry = tl.sum(of_output * tl.load(rows, mask=mask, other=0.0).to(tl.float32), axis=1)
                of_weight += parts[corner] * of_entry
                of_x += slopes_x[corner] * of_entry
                of_y += slopes_y[corner] * of_entry
                rows, mask = _rows(
                    of_value + first, tokens[corner], are_pixels[corner], heads, CHANNELS, BLOCK_CHANNELS
                )
                tl.atomic_add(rows, shares[corner][:, None] * of_output, mask=mask, sem="relaxed")
            of_x, of_y = of_x * weight * width, of_y * weight * height
            tl.store(of_weights + sample, of_weight.to(of_weights.dtype.element_ty), mask=is_query)
            tl.store(of_locations + 2 * sample, of_x.to(of_locations.dtype.element_ty), mask=is_query)
            tl.store(of_locations + 2 * sample + 1, of_y.to(of_locations.dtype.element_ty), mask=is_query)
