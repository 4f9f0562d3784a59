"""Deformable attention on the CPU: the samples as a sparse matrix, of which only the inputs are kept.

A row for each query and head has the K = 4·L·P weights, bilinear times attention, of the values that it
reads. With grad the gradient of the output,

    output = matrix · value,  ∂value = matrixᵀ · grad,  ∂matrix = grad · valueᵀ, at the entries alone.

Levels get a border of zeros, so that no sample misses its map.

Dimensions: S tokens of all levels, Z tokens with the borders, Q queries, M heads, D channels a head, L
levels, P points, K entries a row; images are computed one by one, as then their entries stay in the cache.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

Sizes = Sequence[tuple[int, int]]


class SampledSum(torch.autograd.Function):
    """`ms_deform_attn` of float32 or float64 tensors on the CPU, with the level sizes last."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor, locations: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
        """Sum up: (B, Q, M·D)."""
        ctx.save_for_backward(value, locations, weights)
        ctx.sizes = sizes
        images = zip(value, locations, weights, strict=True)
        return torch.stack([_Samples(*image, sizes).sums().flatten(1) for image in images])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of value, locations and weights."""
        images = zip(*ctx.saved_tensors, grad, strict=True)
        of_images = [_Samples(*image, ctx.sizes).gradients(gradient) for *image, gradient in images]
        return *(torch.stack(gradients) for gradients in zip(*of_images, strict=True)), None


class _Axis(NamedTuple):
    """Where samples are along the rows or columns of a level; all but the length (Q, M, P).

    Attributes:
        length: of the level.
        position: in pixels, 0 at the centre of the first one.
        first: the pixel or border before the sample, counted from the border.
        fraction: how far the sample is from there to the next one, 0 … 1.
    """

    length: int
    position: Tensor
    first: Tensor
    fraction: Tensor

    @classmethod
    def of(cls, locations: Tensor, length: int) -> "_Axis":
        """Samples at 0 … 1 from edge to edge; those that are not finite have such fractions."""
        position = locations * length - 0.5
        clamped = position.clamp(-1, length)
        before = clamped.floor().clamp(max=length - 1)
        first = before.to(torch.int32).add_(1).clamp_(0, length)
        return cls(length, position, first, clamped - before)

    def scale(self) -> Tensor:
        """Pixels a sample moves where its location moves by 1: none beyond the border."""
        return ((self.position >= -1) & (self.position < self.length)) * float(self.length)


class _Samples:
    """The matrix of one image."""

    def __init__(self, value: Tensor, locations: Tensor, weights: Tensor, sizes: Sizes) -> None:
        """Find the entries.

        Args:
            value: (S, M, D).
            locations: (Q, M, L, P, 2).
            weights: (Q, M, L, P).
            sizes: of the levels.
        """
        num_queries, self.heads, num_levels, points = weights.shape
        self.sizes, self.weights = sizes, weights
        self.rows = _with_borders(value, sizes).flatten(0, 1)
        self.axes = [
            (_Axis.of(locations[:, :, level, :, 0], width), _Axis.of(locations[:, :, level, :, 1], height))
            for level, (height, width) in enumerate(sizes)
        ]
        shape = (num_queries, self.heads, num_levels, 4, points)
        self.indices = torch.empty(shape, dtype=torch.int32)
        self.entries = weights.new_empty(shape)
        self._fill()

    def _fill(self) -> None:
        """Write the entries: of each level's samples the upper left and right, the lower left and right."""
        head, start = torch.arange(self.heads, dtype=torch.int32).view(-1, 1), 0
        for level, (x, y) in enumerate(self.axes):
            line = x.length + 2
            corner = (y.first * line + x.first + start) * self.heads + head
            down, up = self.weights[:, :, level] * y.fraction, self.weights[:, :, level] * (1 - y.fraction)
            steps, halves, sides = (
                (0, 1, line, line + 1),
                (up, up, down, down),
                (1 - x.fraction, x.fraction) * 2,
            )
            for index, (step, half, side) in enumerate(zip(steps, halves, sides, strict=True)):
                torch.add(corner, step * self.heads, out=self.indices[:, :, level, index])
                torch.mul(half, side, out=self.entries[:, :, level, index])
            start += (y.length + 2) * line

    def sums(self) -> Tensor:
        """(Q, M, D): the matrix times the values."""
        indices, entries = (x.view(-1, x[0, 0].numel()) for x in (self.indices, self.entries))
        output = F.embedding_bag(indices, self.rows, mode="sum", per_sample_weights=entries)
        return output.view(-1, self.heads, output.shape[-1])

    def gradients(self, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of value, locations and weights from that of the output, (Q, M·D)."""
        grad = grad.reshape(-1, self.rows.shape[1])
        return self._of_value(grad), *self._of_samples(self._of_entries(grad))

    def _of_value(self, grad: Tensor) -> Tensor:
        matrix = csr_array(
            (self.entries.numpy().ravel(), self.indices.numpy().ravel(), self._bounds().numpy()),
            shape=(len(grad), len(self.rows)),
        )
        rows = torch.from_numpy(matrix.T @ grad.numpy())
        return _without_borders(rows.unflatten(0, (-1, self.heads)), self.sizes)

    def _of_entries(self, grad: Tensor) -> Tensor:
        """(Q, M, L, 4, P): gradients of the entries."""
        rows = self.rows
        if (missing := self.indices[0, 0].numel() - len(rows)) > 0:
            rows = F.pad(rows, (0, 0, 0, missing))  # torch refuses a matrix with more entries than places
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
            places = torch.sparse_csr_tensor(
                self._bounds(),
                self.indices.flatten(),
                torch.zeros_like(self.entries).flatten(),
                size=(len(grad), len(rows)),
                check_invariants=False,  # rows have corners twice and in any order, which this product takes
            )
        return torch.sparse.sampled_addmm(places, grad, rows.T).values().view_as(self.entries)

    def _bounds(self) -> Tensor:
        """Where each row's entries begin, and the last one's end."""
        return torch.arange(0, self.indices.numel() + 1, self.indices[0, 0].numel(), dtype=torch.int32)

    def _of_samples(self, of_entries: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of locations and weights from those of the entries."""
        of_locations = self.weights.new_empty(*self.weights.shape, 2)
        of_weights = torch.empty_like(self.weights)
        for level, (x, y) in enumerate(self.axes):
            upper_left, upper_right, lower_left, lower_right = of_entries[:, :, level].unbind(2)
            upper = torch.lerp(upper_left, upper_right, x.fraction)
            lower = torch.lerp(lower_left, lower_right, x.fraction)
            of_weights[:, :, level] = torch.lerp(upper, lower, y.fraction)
            across = torch.lerp(upper_right - upper_left, lower_right - lower_left, y.fraction)
            weights = self.weights[:, :, level]
            of_locations[:, :, level, :, 0] = across * weights * x.scale()
            of_locations[:, :, level, :, 1] = (lower - upper) * weights * y.scale()
        return of_locations, of_weights


def _with_borders(value: Tensor, sizes: Sizes) -> Tensor:
    """(S, M, D) to (Z, M, D)."""
    bordered = value.new_zeros(sum((height + 2) * (width + 2) for height, width in sizes), *value.shape[1:])
    for inner, level in zip(_inner(bordered, sizes), _maps(value, sizes), strict=True):
        inner.copy_(level)
    return bordered


def _without_borders(bordered: Tensor, sizes: Sizes) -> Tensor:
    """(Z, M, D) to (S, M, D)."""
    return torch.cat([inner.flatten(0, 1) for inner in _inner(bordered, sizes)])


def _inner(bordered: Tensor, sizes: Sizes) -> list[Tensor]:
    """The levels (h, w, M, D) within their borders."""
    with_borders = [(height + 2, width + 2) for height, width in sizes]
    return [level[1:-1, 1:-1] for level in _maps(bordered, with_borders)]


def _maps(tokens: Tensor, sizes: Sizes) -> list[Tensor]:
    """The levels' maps (h, w, M, D) of tokens one after the other."""
    parts = tokens.split([height * width for height, width in sizes])
    return [part.unflatten(0, size) for part, size in zip(parts, sizes, strict=True)]
