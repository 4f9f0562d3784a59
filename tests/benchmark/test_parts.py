"""What the model computes is what is defined, in value and gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.benchmark.parts import make_parts

NAMES = [
    "TPAVI", "deformable attention", "mask head", "clustered attention", "k-means", "selective scan",
    "audio encoder of AVISM", "audio query of ACVIS", "masks for attention",
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
@settings(max_examples=10, deadline=None)
@given(frames=st.integers(1, 3), height=st.integers(2, 6), width=st.integers(2, 6))
def test_part_equals_its_definition(index, frames, height, width):
    torch.manual_seed(0)
    part = make_parts(frames, (height, width), 16, "cpu")[index]
    ours, plain = part.ours(*part.inputs), part.plain(*part.inputs)
    torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-4)
    weights = torch.randn_like(ours)
    gradients, expected = (torch.autograd.grad(output, part.inputs, weights) for output in (ours, plain))
    for found, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)
