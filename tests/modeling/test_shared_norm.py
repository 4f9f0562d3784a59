"""Batch norms that processes share; tests/engine/test_launch.py has what two of them learn."""

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d, NaiveSyncBatchNorm
from torch import nn

from avis.modeling.shared_norm import SharedBatchNorm, share_batch_norms
from tests.modeling.test_avis_mask_former import clip, small_model


def test_all_that_learn_are_shared_on_request_and_keep_their_names():
    plain, shared = (small_model("MODEL.SYNC_BN", choice) for choice in (False, True))
    kinds = [
        {type(m) for m in model.modules() if "BatchNorm" in type(m).__name__} for model in (plain, shared)
    ]
    assert kinds == [
        {FrozenBatchNorm2d, nn.BatchNorm2d, nn.BatchNorm3d},
        {FrozenBatchNorm2d, SharedBatchNorm},
    ]
    assert list(plain.state_dict()) == list(shared.state_dict())
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in shared.named_parameters()]


def test_one_process_shares_with_nobody():
    plain, shared = (small_model("MODEL.SYNC_BN", choice).train() for choice in (False, True))
    torch.manual_seed(1)
    batch = [{**clip(2), "seed": seed} for seed in range(2)]
    losses, expected = shared(batch), plain(batch)
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(shared.state_dict(), plain.state_dict())


def test_others_stay():
    model = nn.Sequential(
        FrozenBatchNorm2d(2), NaiveSyncBatchNorm(2), nn.GroupNorm(1, 2), nn.BatchNorm1d(2).eval()
    )
    kept = list(model)[:3]
    share_batch_norms(model)
    assert list(model)[:3] == kept
    assert isinstance(model[3], SharedBatchNorm) and not model[3].training


def test_a_norm_that_does_more_is_refused():
    class Activated(nn.BatchNorm2d):
        pass

    with pytest.raises(ValueError, match=r"MODEL\.SYNC_BN: 0\.0 is a Activated"):
        share_batch_norms(nn.Sequential(nn.Sequential(Activated(2))))
