"""k-means of many point sets: where it starts, where it ends, and when it may stop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.benchmark.definitions import all_rounds_kmeans
from avis.modeling.kmeans import STARTS, Clusters, farthest_points, kmeans, nearest, random_points


def drawn_points(seed: int, rows: int, num_points: int) -> torch.Tensor:
    """Points on a coarse grid, so that some coincide and distances tie."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, (rows, num_points, 2), generator=generator).float()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), rows=st.integers(1, 3), points=st.integers(1, 30), data=st.data())
def test_stopping_early_gives_the_centres_of_all_rounds(seed, rows, points, data):
    torch.manual_seed(seed)
    x = drawn_points(seed, rows, points) + torch.randn(rows, points, 2) / 8
    starts = farthest_points(x, data.draw(st.integers(1, min(points, 8))))
    iterations = data.draw(st.integers(0, 50))
    clusters = kmeans(x, starts, iterations)
    expected = all_rounds_kmeans(x, starts, iterations)
    assert torch.equal(clusters.centres, expected)
    assert torch.equal(clusters.labels, nearest(x, expected))


def test_the_nearest_centre_is_that_of_least_distance():
    torch.manual_seed(0)
    points, centres = torch.randn(3, 50, 4), torch.randn(3, 6, 4)
    assert torch.equal(nearest(points, centres), torch.cdist(points, centres).argmin(-1))


def test_it_stops_when_no_label_changes():
    """In the rounds that are left out nothing would be computed; so no number of rounds takes long."""
    x = torch.tensor([[[0.0], [1.0], [10.0], [11.0]]])
    clusters = kmeans(x, torch.tensor([[0, 1]]), iterations=10**12)
    assert clusters.centres.flatten().tolist() == [0.5, 10.5] and clusters.labels.tolist() == [[0, 0, 1, 1]]


def test_one_round_is_one_round():
    x = torch.tensor([[[0.0], [1.0], [10.0], [11.0]]])
    assert kmeans(x, torch.tensor([[0, 1]]), 0).centres.flatten().tolist() == [0, 1]
    after_one = kmeans(x, torch.tensor([[0, 1]]), 1)
    assert after_one.centres.flatten().tolist() == [0, pytest.approx(22 / 3)]
    assert after_one.labels.tolist() == [[0, 0, 1, 1]]


def test_a_cluster_without_points_has_its_centre_at_0():
    x = torch.tensor([[[5.0], [5.0], [9.0]]])
    clusters = kmeans(x, torch.tensor([[0, 1, 2]]), 50)
    assert clusters.sizes.tolist() == [[2, 0, 1]]
    assert clusters.centres.flatten().tolist() == [5, 0, 9]


def test_sizes_count_the_points_of_each_set():
    clusters = Clusters(torch.zeros(2, 3, 1), torch.tensor([[0, 0, 2, 2], [1, 1, 1, 0]]))
    assert clusters.sizes.tolist() == [[2, 0, 2], [1, 3, 0]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20), num_points=st.integers(1, 12), data=st.data())
def test_each_start_is_farthest_from_those_before_it(seed, num_points, data):
    points = drawn_points(seed, 1, num_points)
    starts = farthest_points(points, data.draw(st.integers(1, num_points)))[0].tolist()
    points = points[0]
    from_mean = (points - points.mean(0)).norm(dim=-1)
    assert from_mean[starts[0]] == from_mean.max()
    for number in range(1, len(starts)):
        away = torch.cdist(points, points[starts[:number]]).amin(1)
        assert away[starts[number]] == away.max()


def test_starts_of_a_set_do_not_depend_on_the_others():
    points = torch.randn(3, 20, 4)
    torch.testing.assert_close(farthest_points(points, 5)[1:2], farthest_points(points[1:2], 5))


def test_random_starts_are_drawn_by_squared_distance():
    """From 0, a point at 1 has a chance of 1/10 and one at 3 of 9/10; of 3,000 draws, 3 σ are 1.6 %."""
    torch.manual_seed(0)
    points = torch.tensor([[[0.0], [1.0], [3.0]]]).expand(9000, 3, 1)
    first, second = random_points(points, 2).unbind(1)
    assert all(abs((first == place).float().mean() - 1 / 3) < 0.015 for place in range(3))
    of_first = second[first == 0]
    assert (of_first != 0).all() and abs((of_first == 2).float().mean() - 0.9) < 0.017


def test_random_starts_follow_torch_s_generator():
    points = torch.randn(4, 30, 3)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(random_points(points, 5))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_points_that_are_all_alike_have_one_cluster(start):
    points = torch.full((2, 10, 3), 4.0)
    clusters = kmeans(points, start(points, 8), 50)
    assert clusters.sizes.amax(1).tolist() == [10, 10] and clusters.centres.isfinite().all()
