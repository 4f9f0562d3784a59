"""What the model computes is what is defined, in value and gradient."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.benchmark.parts import local_points, make_parts
from avis.modeling.pixel_decoder import pixel_centres
from tests.benchmark.command import benchmark

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


def test_queries_look_around_their_own_places():
    torch.manual_seed(0)
    sizes = [(12, 20), (24, 40)]
    points = local_points(2, sizes, 16, "cpu").detach()
    assert points.shape == (2, 1200, 8, 2, 4, 2)
    places = torch.cat([pixel_centres(*size, torch.device("cpu")) for size in sizes])
    extents = torch.tensor([(width, height) for height, width in sizes])
    steps = (points - places[:, None, None, None]) * extents[:, None]
    # Point p of a head is p + 1 pixels from its query's place in one direction, up to the noise of 0.2.
    distances = steps.abs().amax(-1)
    for point in range(4):
        assert distances[..., point].mean() == pytest.approx(point + 1, abs=0.2)
    assert distances.max() < 4 + 6 * 0.2
    assert (steps[0] != steps[1]).any()


def test_mask_head_gives_what_losses_read():
    torch.manual_seed(0)
    head = make_parts(1, (3, 4), 16, "cpu")[2]
    assert head.ours(*head.inputs).shape == (1, 30, 1, 6, 8)  # three queries of ten predictions


def test_table_says_that_parts_agree_with_their_definitions(tmp_path: Path):
    run = benchmark(tmp_path, "parts", "--frames", 1, "--size", 4, 6, "--channels", 16, "--repeats", 1)
    rows = run.rows["parts"]
    assert len(rows) == len(run.cells) == len(NAMES)
    assert all(row["difference"] < 1e-3 for row in rows)
    kept = {row["part"]: (row["kept"], row["plain_kept"]) for row in rows}
    assert kept["selective scan"][0] < kept["selective scan"][1] / 10
