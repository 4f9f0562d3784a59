"""Multi-scale deformable attention: every query reads a few learned points of every feature level.

Follows Zhu et al., "Deformable DETR", ICLR 2021, Eq. (3). Three forms give the same numbers; none needs a
compiler, and the first two keep nothing but their inputs for the gradients:

    CUDA   a Triton kernel, `avis.kernels.ms_deform_attn_triton`
    CPU    a sparse matrix, `avis.kernels.sampling_matrix`
    else   `grid_sample_form`, the plain one; also in programs that torch.export makes

Dimensions: B images, S tokens of all levels, Q queries, M heads, D channels a head, L levels, P points.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional as F

from avis.kernels.sampling_matrix import SampledSum

logger = logging.getLogger(__name__)

Sizes = Sequence[tuple[int, int]]
Form = Callable[[Tensor, Tensor, Tensor, Sizes], Tensor]


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Tensor | Sizes,
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
        (B, Q, M·D), of the type of `value`.

    Raises:
        ValueError: the level sizes do not add up to the S tokens of `value`.
    """
    sizes = tuple((int(height), int(width)) for height, width in spatial_shapes)
    if sum(height * width for height, width in sizes) != value.shape[1]:
        raise ValueError(f"value has {value.shape[1]} tokens, but the levels are {list(sizes)}")
    form = grid_sample_form if torch.compiler.is_exporting() else _form_of(value.device.type)
    return form(value, sampling_locations, attention_weights, sizes)


def grid_sample_form(value: Tensor, locations: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
    """The plain form, by `F.grid_sample`, in float32 or float64; otherwise as `ms_deform_attn`."""
    batch, _, heads, head_dim = value.shape
    precise = torch.promote_types(value.dtype, torch.float32)
    # grid_sample takes one (D, h, w) map per image and head, and locations from -1 to 1. The queries go last:
    # sums over points are then sums of whole rows.
    maps = value.to(precise).permute(0, 2, 3, 1).flatten(0, 1)
    maps = maps.split([height * width for height, width in sizes], dim=2)
    grids = (2 * locations - 1).to(precise).permute(3, 0, 2, 4, 1, 5).flatten(1, 2).contiguous()
    weights = weights.to(precise).permute(3, 0, 2, 4, 1).flatten(1, 2).unsqueeze(2).contiguous()
    output = sum(
        (F.grid_sample(level.unflatten(2, size), grid, align_corners=False) * weight).sum(dim=2)
        for level, size, grid, weight in zip(maps, sizes, grids, weights, strict=True)
    )
    return output.view(batch, heads * head_dim, -1).transpose(1, 2).contiguous().to(value.dtype)


def _sparse_form(value: Tensor, locations: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
    """The form of the CPU, in float32 or float64."""
    precise = torch.promote_types(value.dtype, torch.float32)
    output = SampledSum.apply(value.to(precise), locations.to(precise), weights.to(precise), sizes)
    return output.to(value.dtype)


@functools.cache
def _form_of(device_type: str) -> Form:
    """The form for a kind of device, chosen once; Triton is imported for CUDA alone."""
    if device_type == "cpu":
        return _sparse_form
    if device_type != "cuda":
        return grid_sample_form
    if find_spec("triton") is None:
        return _without_triton("Triton is not installed")
    from avis.kernels.ms_deform_attn_triton import fused_form  # Triton exists for few platforms

    try:
        _try_out(fused_form, torch.device(device_type))
    # Triton needs a C compiler, a driver and a GPU that it knows; what it raises without has no common class.
    except Exception as error:
        return _without_triton(f"Triton does not work here ({type(error).__name__}: {error})")
    return fused_form


def _without_triton(reason: str) -> Form:
    logger.warning("%s: deformable attention takes its plain form, which is slower", reason)
    return grid_sample_form


def _try_out(form: Form, device: torch.device) -> None:
    """Compute one sample of one pixel, and its gradients."""
    with torch.inference_mode(False), torch.enable_grad():
        value, locations, weights = (
            torch.full(shape, 0.5, device=device, requires_grad=True)
            for shape in ((1, 1, 1, 1), (1, 1, 1, 1, 1, 2), (1, 1, 1, 1, 1))
        )
        form(value, locations, weights, ((1, 1),)).sum().backward()
