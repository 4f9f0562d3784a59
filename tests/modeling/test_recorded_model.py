"""The whole audio-visual model computes what it computed when tests/recorded/avis was made.

Tolerances are those of the numbers recorded from Mask2Former: float32 sums in another order.
"""

import numpy as np
import pytest

from tests.modeling.avis_recording import HEIGHT, RECORDING, WIDTH, inference_numbers, training_numbers


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(RECORDING) as arrays:
        return dict(arrays)


def test_losses_and_gradients(recorded):
    found = training_numbers()
    for names, values, tolerance in (
        ("loss_names", "losses", {"rtol": 1e-4}),
        ("gradient_names", "gradient_norms", {"rtol": 1e-3, "atol": 1e-5}),
    ):
        expected = dict(zip(recorded[names], recorded[values], strict=True))
        assert set(found[names]) == set(expected)
        in_order = [expected[name] for name in found[names]]
        np.testing.assert_allclose(found[values], in_order, **tolerance)


def test_scores_labels_and_masks(recorded):
    found = inference_numbers()
    np.testing.assert_allclose(found["scores"], recorded["scores"], atol=1e-5)
    assert found["labels"].tolist() == recorded["labels"].tolist()
    masks, expected = (np.unpackbits(numbers["masks_packed"]) for numbers in (found, recorded))
    differ = (masks != expected)[: 10 * 3 * HEIGHT * WIDTH].reshape(30, -1).sum(axis=1)
    assert differ.max() <= 1  # a logit of about 1e-6 may round to either side of 0
    assert 0.01 < expected.mean() < 0.99
