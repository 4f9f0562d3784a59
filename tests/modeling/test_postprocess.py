"""From class and mask logits to tracks."""

import numpy as np
import torch
from pycocotools import mask as mask_utils

from avis.modeling.postprocess import (
    MaskQuality,
    at_input_size,
    class_probabilities,
    encode_tracks,
    masks_at,
    select_tracks,
)


def test_best_pairs_of_query_and_class_are_kept_in_order():
    logits = torch.tensor([[4.0, 3.0, 0.0], [0.0, 0.0, 5.0], [0.0, 6.0, 0.0]])
    scores, classes, queries = select_tracks(class_probabilities(logits), topk=3)
    assert queries.tolist() == [2, 0, 0]
    assert classes.tolist() == [1, 0, 1]
    torch.testing.assert_close(scores, logits.softmax(-1)[[2, 0, 0], [1, 0, 1]])


def test_there_are_no_more_pairs_than_queries_times_classes():
    scores, _, _ = select_tracks(class_probabilities(torch.zeros(4, 2)), topk=10)
    assert scores.tolist() == [0.5] * 4


def test_padding_is_cut_before_the_masks_take_the_videos_size():
    logits = torch.full((1, 1, 8, 8), -1.0)
    logits[..., :4, :4] = 1.0
    masks = masks_at(at_input_size(logits, padded_size=(32, 32), image_size=(16, 32)), (40, 80))
    assert masks.shape == (1, 1, 40, 80)
    rows, columns = masks[0, 0, :, 0].sum(), masks[0, 0, 0].sum()
    assert rows == 40  # all rows that are left: the lower half was padding
    assert 38 <= columns <= 42


def test_encoded_tracks_decode_to_the_masks_whatever_the_chunks():
    torch.manual_seed(0)
    masks = torch.rand(3, 5, 7, 9) > 0.5
    masks[1, 2] = False
    for sizes in ([5], [2, 2, 1]):
        tracks = encode_tracks(masks.split(sizes, dim=1))
        assert tracks[1][2] is None
        for track, expected in zip(tracks, masks, strict=True):
            for rle, mask in zip(track, expected.numpy(), strict=True):
                found = np.zeros_like(mask) if rle is None else mask_utils.decode(rle).astype(bool)
                np.testing.assert_array_equal(found, mask)


def test_quality_is_the_mean_probability_inside_the_masks_of_all_frames():
    torch.manual_seed(1)
    logits = torch.randn(3, 5, 7, 9)
    logits[2] = -1
    probabilities = logits.sigmoid()
    expected = [p[p > 0.5].mean().item() for p in probabilities[:2]] + [0.0]
    for sizes in ([5], [2, 2, 1], [1] * 5):
        quality = MaskQuality()
        for chunk in logits.split(sizes, dim=1):
            quality.add(chunk)
        torch.testing.assert_close(quality.value(), torch.tensor(expected), atol=1e-5, rtol=1e-5)
