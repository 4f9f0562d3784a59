"""The product whose gradients skip rows, against the plain product."""

import pytest
import torch

from avis.kernels import matched_product


@pytest.mark.parametrize("left_shape", [(2, 6, 4), (6, 4)])
@pytest.mark.parametrize("matched", [[], [1], [0, 4, 5], list(range(6))])
def test_values_and_gradients_are_those_of_the_product(left_shape: tuple[int, ...], matched: list[int]):
    torch.manual_seed(0)
    left, right, grad = torch.randn(left_shape), torch.randn(2, 4, 7), torch.zeros(2, 6, 7)
    grad[0, matched] = torch.randn(len(matched), 7)
    grad[1, matched[:1]] = torch.randn(len(matched[:1]), 7)
    results = []
    for product in (matched_product, torch.matmul):
        leaves = [left.clone().requires_grad_(), right.clone().requires_grad_()]
        output = product(*leaves)
        output.backward(grad)
        results.append([output.detach(), *(leaf.grad for leaf in leaves)])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)


def test_a_gradient_that_is_nan_is_not_skipped():
    left, right = torch.randn(1, 3, 2, requires_grad=True), torch.randn(1, 2, 5, requires_grad=True)
    grad = torch.zeros(1, 3, 5)
    grad[0, 1, 2] = float("nan")
    matched_product(left, right).backward(grad)
    assert left.grad[0, 1].isnan().all() and right.grad[0, :, 2].isnan().all()


def test_few_rows_of_the_gradient_are_multiplied():
    """Those that are matched: the product of the others would be most of the work."""
    left, right = torch.randn(1, 50, 4, requires_grad=True), torch.randn(1, 4, 9, requires_grad=True)
    grad = torch.zeros(1, 50, 9)
    grad[:, [3, 8]] = 1.0
    with torch.profiler.profile(record_shapes=True) as profile:
        matched_product(left, right).backward(grad)
    products = [event.input_shapes for event in profile.events() if event.name == "aten::bmm"]
    assert [1, 50, 9] not in [shape for shapes in products for shape in shapes]
    assert [1, 2, 9] in [shape for shapes in products for shape in shapes]
