"""Attention of clusters to clusters: the masked form, the choice of clusters, and what it can be given."""

import math
from itertools import accumulate

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from avis.benchmark.definitions import gathered_attention
from avis.modeling import ClusteredAttention
from avis.modeling.clustered_attention import choose_clusters, cluster_shares
from avis.modeling.kmeans import STARTS, Clusters, kmeans


def drawn_inputs(frames: int, num_queries: int, num_keys: int) -> list[torch.Tensor]:
    shapes = ((frames, num_queries, 8), (frames, num_keys, 8), (frames, num_keys, 8))
    return [(2 * torch.randn(shape)).requires_grad_() for shape in shapes]


@settings(max_examples=30, deadline=None)
@given(
    frames=st.integers(1, 3),
    queries=st.integers(1, 12),
    keys=st.integers(1, 20),
    clusters=st.integers(1, 8),
    top_p=st.floats(0, 1),
    padding=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_masked_form_equals_gathered_definition(frames, queries, keys, clusters, top_p, padding, seed):
    torch.manual_seed(seed)
    layer = ClusteredAttention(8, 2, top_p=top_p, num_clusters=clusters, released_padding=padding)
    inputs = drawn_inputs(frames, queries, keys)
    masked, gathered = layer(*inputs), gathered_attention(layer, *inputs)
    torch.testing.assert_close(masked, gathered, atol=1e-5, rtol=1e-5)
    weights, leaves = torch.randn_like(masked), [*inputs, *layer.parameters()]
    gradients, expected = (torch.autograd.grad(output, leaves, weights) for output in (masked, gathered))
    for found, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20), top_p=st.floats(0, 1))
def test_the_heaviest_clusters_are_chosen_while_they_sum_up_to_at_most_top_p(seed, top_p):
    torch.manual_seed(seed)
    points, others = torch.randn(2, 10, 3), torch.randn(2, 15, 3)
    queries, keys = (kmeans(x, torch.arange(4).expand(2, -1), 50) for x in (points, others))
    chosen = choose_clusters(queries, keys, top_p)
    for row in range(2):
        sizes = keys.labels[row].bincount(minlength=4)
        for cluster, centre in enumerate(queries.centres[row]):
            weights = [
                size * math.exp(centre @ other / math.sqrt(3))
                for size, other in zip(sizes.tolist(), keys.centres[row], strict=True)
            ]
            shares = [weight / (sum(weights) + 1e-8) for weight in weights]
            order = sorted(range(4), key=lambda key: -shares[key])
            sums = list(accumulate(shares[key] for key in order))
            assume(all(abs(total - top_p) > 1e-5 for total in sums))  # nearer, float32 may decide otherwise
            wanted = {order[0]} | {key for key, total in zip(order, sums, strict=True) if total <= top_p}
            with_keys = {key for key in range(4) if sizes[key]}
            assert set(chosen[row, cluster].nonzero().flatten().tolist()) & with_keys == wanted & with_keys


def test_shares_of_strong_attention_are_finite():
    """Where the original's exponentials overflow: the strongest cluster has all."""
    centres = torch.tensor([[[30.0], [-30.0]]])
    clusters = Clusters(centres, torch.tensor([[0, 1, 1]]))
    assert cluster_shares(clusters, clusters).tolist() == [[[1, 0], [0, 1]]]


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (3, 6), (12, 5), (5, 12)])
def test_there_may_be_fewer_tokens_than_clusters(start, queries, keys):
    layer = ClusteredAttention(8, 2, top_p=0.7, num_clusters=8, start=start)
    assert layer(*drawn_inputs(2, queries, keys)).isfinite().all()


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("padding", [False, True])
def test_in_a_constant_map_all_values_count_alike(start, padding):
    torch.manual_seed(0)
    layer = ClusteredAttention(8, 2, top_p=0.7, start=start, released_padding=padding)
    query, key, value = drawn_inputs(1, 6, 20)
    constant = torch.full_like(key, 0.5)
    expected = layer.out_proj(layer.v_proj(value.mean(1, keepdim=True))).expand(-1, 6, -1)
    torch.testing.assert_close(layer(query, constant, value), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("padding", [False, True])
def test_only_released_padding_lets_frames_of_a_call_change_each_other(padding):
    torch.manual_seed(0)
    layer = ClusteredAttention(8, 2, top_p=0.7, released_padding=padding)
    inputs = drawn_inputs(3, 10, 30)
    together, alone = layer(*inputs), torch.cat([layer(*(x[i : i + 1] for x in inputs)) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5) == (not padding)


def test_with_all_clusters_it_is_attention():
    torch.manual_seed(0)
    layer = ClusteredAttention(8, 2, top_p=1.1)
    inputs = drawn_inputs(2, 5, 9)
    attended = torch.nn.functional.scaled_dot_product_attention(*layer.project(*inputs))
    torch.testing.assert_close(layer(*inputs), layer.join_heads(attended))


def test_clusters_and_numbers_are_those_of_float32_under_autocast():
    torch.manual_seed(0)
    layer, inputs = ClusteredAttention(8, 2, top_p=0.7), drawn_inputs(2, 10, 30)
    plain = layer(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(*inputs), plain)


def test_the_start_decides_whether_runs_agree():
    torch.manual_seed(0)
    inputs, same = drawn_inputs(2, 20, 60), {}
    for name, start in STARTS.items():
        layer = ClusteredAttention(8, 2, top_p=0.7, start=start)
        same[name] = torch.equal(layer(*inputs), layer(*inputs))
    assert same == {"farthest": True, "random": False}


def test_channels_that_no_heads_share_are_refused():
    with pytest.raises(ValueError, match="9 channels cannot be split over 2 heads"):
        ClusteredAttention(9, 2, top_p=0.7)
