"""Masks and position embeddings of the attention layers are optional."""

import pytest
import torch

from avis.modeling.layers import CrossAttentionLayer, SelfAttentionLayer


@pytest.fixture
def queries() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 5, 16)


def test_no_embedding_is_one_of_zeros_and_no_mask_is_one_that_allows_all(queries):
    layer, zeros = SelfAttentionLayer(16, 4), torch.zeros(5, 16)
    everywhere = torch.ones(2, 5, 5, dtype=torch.bool)
    torch.testing.assert_close(layer(queries), layer(queries, zeros, everywhere))
    cross, pixels = CrossAttentionLayer(16, 4), torch.randn(2, 7, 16)
    allowed = torch.ones(2, 5, 7, dtype=torch.bool)
    torch.testing.assert_close(
        cross(queries, None, pixels, pixels), cross(queries, zeros, pixels, pixels, allowed)
    )


def test_a_masked_query_does_not_see_the_others(queries):
    layer, alone = SelfAttentionLayer(16, 4), torch.ones(2, 5, 5, dtype=torch.bool)
    alone[:, 0, 1:] = False
    changed = queries.clone()
    changed[:, 1:] += 1
    before, after = layer(queries, None, alone), layer(changed, None, alone)
    torch.testing.assert_close(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])
