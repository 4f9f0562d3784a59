"""The store gives back what was put in, whole and in parts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avis.modeling import FeatureStore, FrameFeatures, join_frames


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_the_whole_is_the_parts_side_by_side(lengths):
    parts = [FrameFeatures(a=torch.randn(2, n, 3), b=torch.randn(2, n, 1, 4)) for n in lengths]
    store = FeatureStore(sum(lengths))
    for part in parts:
        store.append(part)
    assert len(store) == len(parts)
    for name in ("a", "b"):
        expected = torch.cat([part[name] for part in parts], dim=1)
        assert torch.equal(join_frames(store)[name], expected)
        assert torch.equal(join_frames(parts)[name], expected)
        assert all(torch.equal(kept[name], part[name]) for kept, part in zip(store, parts, strict=True))


def test_the_whole_is_no_copy():
    store = FeatureStore(4)
    for _ in range(2):
        store.append(FrameFeatures(a=torch.randn(1, 2, 3)))
    assert store[1]["a"].data_ptr() == store.whole()["a"][:, 2:].data_ptr()


def test_a_clip_that_is_seen_at_once_keeps_its_gradients():
    store, x = FeatureStore(2), torch.randn(1, 2, 3, requires_grad=True)
    store.append(FrameFeatures(a=x))
    store.whole()["a"].sum().backward()
    assert torch.equal(x.grad, torch.ones(1, 2, 3))


def test_parts_of_other_types_stay_as_they_are():
    store, part = FeatureStore(3), (torch.zeros(1), "queries")
    store.append(part)
    assert store[0] is part


def test_too_few_and_too_many_frames_are_refused():
    store = FeatureStore(3)
    store.append(FrameFeatures(a=torch.randn(1, 2, 3)))
    with pytest.raises(ValueError, match="features of 2 of 3 frames"):
        store.whole()
    with pytest.raises(ValueError, match="frames 2 to 3 of a video of 3"):
        store.append(FrameFeatures(a=torch.randn(1, 2, 3)))
