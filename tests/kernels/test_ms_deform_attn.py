"""Every form of deformable attention against the definition, values and gradients."""

import importlib
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avis.kernels import ms_deform_attn
from avis.kernels.ms_deform_attn import _form_of, grid_sample_form
from avis.kernels.sampling_matrix import SampledSum

Form = Callable[..., Tensor]
Sizes = tuple[tuple[int, int], ...]
SIZES = ((3, 5), (1, 2), (4, 1), (2, 2))
# Sums of a few dozen terms, in another order.
FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}


class Inputs(NamedTuple):
    """Of `ms_deform_attn`, with the gradient of its output."""

    value: Tensor
    locations: Tensor
    weights: Tensor
    sizes: Sizes
    grad: Tensor


def random_inputs(
    seed: int = 0,
    sizes: Sizes = SIZES,
    *,
    batch: int = 2,
    queries: int = 5,
    heads: int = 3,
    channels: int = 4,
    points: int = 2,
    dtype: torch.dtype = torch.float32,
) -> Inputs:
    """Samples in and around the levels, a third of them outside, 1e-3 pixels off where forms bend."""
    generator = torch.Generator().manual_seed(seed)
    tokens, levels = sum(height * width for height, width in sizes), len(sizes)
    shape = (batch, queries, heads, levels, points)
    extents = torch.tensor([(width, height) for height, width in sizes], dtype=torch.float64)[:, None]
    pixels = (torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 1.6 - 0.3) * extents
    between = torch.rand(pixels.shape, generator=generator, dtype=torch.float64) * 0.998 + 0.001
    locations = (pixels.floor() + between + 0.5) / extents
    return Inputs(
        torch.randn(batch, tokens, heads, channels, generator=generator).to(dtype),
        locations.to(torch.promote_types(dtype, torch.float32)),
        torch.rand(shape, generator=generator).to(dtype),
        sizes,
        torch.randn(batch, queries, heads * channels, generator=generator).to(dtype),
    )


def results(form: Form, inputs: Inputs) -> list[Tensor]:
    """The output, and the gradients of value, locations and weights."""
    leaves = [x.clone().requires_grad_() for x in inputs[:3]]
    output = form(*leaves, inputs.sizes)
    output.backward(inputs.grad)
    return [output.detach(), *(leaf.grad for leaf in leaves)]


def definition(value: Tensor, locations: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
    """Eq. (3), sample by sample: each of the level's pixels weighs 1 minus its distance in x, times in y."""
    output = []
    for image, where, how_much in zip(value, locations, weights, strict=True):
        for query in range(where.shape[0]):
            for head in range(where.shape[1]):
                total, start = 0, 0
                for level, (height, width) in enumerate(sizes):
                    pixels = image[start : start + height * width, head].view(height, width, -1)
                    x, y = where[query, head, level].unbind(-1)
                    columns = (1 - (torch.arange(width) - (x[:, None] * width - 0.5)).abs()).clamp(min=0)
                    rows = (1 - (torch.arange(height) - (y[:, None] * height - 0.5)).abs()).clamp(min=0)
                    samples = torch.einsum("ph,pw,hwd->pd", rows, columns, pixels)
                    total = total + how_much[query, head, level] @ samples
                    start += height * width
                output.append(total)
    return torch.stack(output).view(*weights.shape[:2], -1)


def sparse_form(value: Tensor, locations: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
    return SampledSum.apply(value, locations, weights, sizes)


@pytest.fixture(scope="module")
def fused_form() -> Form:
    """The Triton kernels, in Triton's interpreter where there is no GPU (tests/conftest.py)."""
    pytest.importorskip("triton", reason="Triton is made for few platforms, and this is none of them")
    module = importlib.import_module("avis.kernels.ms_deform_attn_triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def form(value: Tensor, locations: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
        return module.fused_form(*(x.to(device) for x in (value, locations, weights)), sizes).cpu()

    return form


def check(form: Form, inputs: Inputs, **tolerance: float) -> None:
    exact = Inputs(*(x.double() for x in inputs[:3]), inputs.sizes, inputs.grad.double())
    for ours, expected in zip(results(form, inputs), results(definition, exact), strict=True):
        torch.testing.assert_close(ours, expected.to(ours.dtype), **tolerance)


sizes_of_levels = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4).map(tuple)
counts = st.fixed_dictionaries(
    {name: st.integers(1, 3) for name in ("batch", "queries", "heads", "channels", "points")}
)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), sizes_of_levels, counts, st.sampled_from([grid_sample_form, sparse_form]))
def test_forms_of_the_cpu_are_the_definition(seed: int, sizes: Sizes, counts: dict[str, int], form: Form):
    check(form, random_inputs(seed, sizes, **counts), **FLOAT32)


def test_a_query_may_have_more_samples_than_there_are_pixels():
    check(sparse_form, random_inputs(0, ((1, 1),), heads=1, points=3), **FLOAT32)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 1000), sizes_of_levels, counts)
def test_the_triton_kernels_are_the_definition(
    fused_form: Form, seed: int, sizes: Sizes, counts: dict[str, int]
):
    check(fused_form, random_inputs(seed, sizes, **counts), **FLOAT32)


def test_the_triton_kernels_take_more_queries_than_a_program_and_odd_channels(fused_form: Form):
    check(fused_form, random_inputs(queries=19, channels=5), **FLOAT32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_triton_kernels_take_half_precision(fused_form: Form, dtype: torch.dtype):
    """Values and weights are rounded, sums are not: the results are as exact as their own type."""
    digits = {torch.bfloat16: 2e-2, torch.float16: 3e-3}[dtype]
    check(fused_form, random_inputs(dtype=dtype), rtol=digits, atol=digits)


def test_the_sparse_form_has_the_gradients_of_its_values():
    inputs = random_inputs(dtype=torch.float64, queries=3, heads=2, channels=2)
    leaves = [x.requires_grad_() for x in inputs[:3]]
    assert torch.autograd.gradcheck(lambda *leaves: sparse_form(*leaves, SIZES), leaves)


def test_a_sample_on_the_border_moves_as_that_of_grid_sample():
    """Where the forms bend they have the slope to the right, at initialisation already."""
    sizes = ((4, 8), (2, 1))  # powers of 2: all forms find the same pixel
    inputs = random_inputs(sizes=sizes)
    extents = torch.tensor([(width, height) for height, width in sizes])[:, None]
    steps = torch.randint(-2, 9, inputs.locations.shape)
    on_pixels = inputs._replace(locations=(steps + 0.5) / extents)
    for ours, expected in zip(
        results(sparse_form, on_pixels), results(grid_sample_form, on_pixels), strict=True
    ):
        torch.testing.assert_close(ours, expected, **FLOAT32)


def test_a_sample_at_nan_gives_nan_to_its_query_alone(fused_form: Form):
    """So that training notices it."""
    inputs = random_inputs()
    for form in (sparse_form, fused_form):
        expected = form(*inputs[:4])
        expected[0, 1, 8:12] = float("nan")
        lost = inputs._replace(locations=inputs.locations.clone())
        lost.locations[0, 1, 2, 0, 0, 0] = float("nan")
        torch.testing.assert_close(form(*lost[:4]), expected, equal_nan=True)


def test_a_sample_far_away_reads_nothing(fused_form: Form):
    inputs = random_inputs()
    inputs.locations[0, 1, 2, 0, 0, 0] = 1e30
    without = inputs._replace(weights=inputs.weights.clone())
    without.weights[0, 1, 2, 0, 0] = 0
    for form in (sparse_form, fused_form):
        torch.testing.assert_close(form(*inputs[:4]), form(*without[:4]))


def test_half_precision_on_the_cpu_is_computed_in_float32():
    inputs = random_inputs(dtype=torch.bfloat16)
    output = ms_deform_attn(inputs.value, SIZES, inputs.locations, inputs.weights)
    exact = definition(*(x.float() for x in inputs[:3]), SIZES)
    torch.testing.assert_close(output, exact.bfloat16(), rtol=8e-3, atol=1e-6)  # one rounding


def test_sizes_may_be_a_tensor():
    inputs = random_inputs()
    output = ms_deform_attn(inputs.value, torch.tensor(SIZES), inputs.locations, inputs.weights)
    torch.testing.assert_close(output, sparse_form(*inputs[:4]))


def test_tokens_that_are_no_levels_are_refused():
    inputs = random_inputs()
    with pytest.raises(ValueError, match=r"value has 25 tokens, but the levels are \[\(3, 5\)\]"):
        ms_deform_attn(inputs.value, SIZES[:1], inputs.locations, inputs.weights)


def test_nothing_but_the_inputs_is_kept_for_the_gradients():
    kept: list[Tensor] = []
    inputs = random_inputs()
    leaves = [x.requires_grad_() for x in inputs[:3]]
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        ms_deform_attn(leaves[0], SIZES, *leaves[1:])
    assert {x.data_ptr() for x in kept} <= {x.data_ptr() for x in leaves}


@pytest.fixture
def forms(monkeypatch):
    """The module that chooses a form, which has not chosen yet and forgets what it chooses."""
    _form_of.cache_clear()
    yield importlib.import_module("avis.kernels.ms_deform_attn")
    _form_of.cache_clear()


def test_without_triton_cuda_takes_the_plain_form_and_says_so_once(forms, monkeypatch, caplog):
    monkeypatch.setattr(forms, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert [_form_of(device) for device in ("cuda", "cuda", "mps")] == [grid_sample_form] * 3
    assert [record.message.split(":")[0] for record in caplog.records] == ["Triton is not installed"]


def test_where_triton_fails_cuda_takes_the_plain_form_and_says_why(forms, fused_form, monkeypatch, caplog):
    """It does without a C compiler, for one."""
    kernels = importlib.import_module("avis.kernels.ms_deform_attn_triton")

    def fails(*inputs: object) -> None:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(kernels, "fused_form", fails)
    monkeypatch.setattr(forms, "torch", _CudaIsTheCpu())
    with caplog.at_level(logging.WARNING):
        assert [_form_of("cuda"), _form_of("cuda")] == [grid_sample_form] * 2
    assert [record.message for record in caplog.records] == [
        "Triton does not work here (RuntimeError: Failed to find C compiler): deformable attention takes its "
        "plain form, which is slower"
    ]


def test_where_triton_works_cuda_takes_its_kernels_also_in_inference_mode(forms, fused_form, monkeypatch):
    kernels = importlib.import_module("avis.kernels.ms_deform_attn_triton")
    if not torch.cuda.is_available():
        monkeypatch.setattr(forms, "torch", _CudaIsTheCpu())
    with torch.inference_mode():
        assert _form_of("cuda") is kernels.fused_form


class _CudaIsTheCpu:
    """torch, but its CUDA device is the CPU, on which Triton's interpreter computes."""

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)

    @staticmethod
    def device(kind: str) -> torch.device:
        return torch.device("cpu" if kind == "cuda" else kind)


WITHOUT_TRITON = """
import sys, torch
from avis.kernels import ms_deform_attn
ones = torch.ones(1, 1, 1, 1, 1)
ms_deform_attn(ones[0], [(1, 1)], torch.stack([ones, ones], dim=-1), ones)
sys.exit("triton" in sys.modules)
"""


def test_the_cpu_does_without_triton():
    subprocess.run([sys.executable, "-c", WITHOUT_TRITON], check=True)
