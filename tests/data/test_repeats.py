"""Videos of rare classes more often, and data sets in a ratio."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avis.config import get_avis_cfg
from avis.data.repeats import repeat_factors
from avis.data.sampler import ClipSampler


def record(data_set: str, *classes: int) -> dict:
    return {"data_set": data_set, "annotations": [{"category_id": each} for each in classes]}


# Class 0 in 3 of 4 videos, class 1 in 1 of 4; "b" has one video.
RECORDS = [record("a", 0), record("a", 0, 1), record("a", 0), record("b")]


def factors(*opts: object) -> list[float]:
    cfg = get_avis_cfg(opts=["DATASETS.TRAIN", ("a", "b"), *opts])
    return repeat_factors(cfg, RECORDS).tolist()


BY_CLASS = ["DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", "DATALOADER.REPEAT_THRESHOLD", 0.75]


def test_by_default_each_video_comes_once():
    assert factors() == [1, 1, 1, 1]


def test_videos_go_by_their_rarest_class():
    assert factors(*BY_CLASS) == pytest.approx([1, 3**0.5, 1, 1])
    assert factors(*BY_CLASS, "DATALOADER.REPEAT_SQRT", False) == pytest.approx([1, 3, 1, 1])


def test_data_sets_have_their_share_of_an_epoch():
    assert factors("DATASETS.RATIOS", (1, 1)) == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    assert factors("DATASETS.RATIOS", (5, 0)) == pytest.approx([4 / 3, 4 / 3, 4 / 3, 0])
    of_a = factors("DATASETS.RATIOS", (3, 1), *BY_CLASS)[:3]
    assert sum(of_a) == pytest.approx(3) and of_a[1] / of_a[0] == pytest.approx(3**0.5)


@pytest.mark.parametrize(
    "ratios", [(1,), (1, -1), (0, 0), (1, 2, 3), ("a", 1), (1, float("inf")), (float("nan"), 1)]
)
def test_ratios_that_do_not_fit_are_refused(ratios: tuple):
    with pytest.raises(
        ValueError, match=r"DATASETS\.RATIOS .* must have a number for each of DATASETS\.TRAIN"
    ):
        factors("DATASETS.RATIOS", ratios)


def test_a_data_set_of_which_nothing_is_left_is_named():
    cfg = get_avis_cfg(opts=["DATASETS.TRAIN", ("a", "c"), "DATASETS.RATIOS", (1, 1)])
    with pytest.raises(ValueError, match="asks for videos of 'c', of which none is left"):
        repeat_factors(cfg, RECORDS)


def test_another_sampler_is_refused():
    with pytest.raises(ValueError, match=r"SAMPLER_TRAIN is 'RandomSubsetTrainingSampler'; it can be"):
        factors("DATALOADER.SAMPLER_TRAIN", "RandomSubsetTrainingSampler")


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=9).filter(lambda each: sum(each) > 1), st.integers(0, 99)
)
def test_every_pass_repeats_within_one_of_the_factor(repeats: list[float], seed: int):
    sampler = ClipSampler(repeats, seed)
    scale = sampler.length / sum(repeats)
    samples = [index for _, index in itertools.islice(sampler, 3 * sampler.length)]
    for start in range(0, len(samples), sampler.length):
        counts = Counter(samples[start : start + sampler.length])
        assert all(abs(counts[i] - scale * factor) < 1 + 1e-9 for i, factor in enumerate(repeats))
    resumed = itertools.islice(ClipSampler(repeats, seed, start=2), 4)
    assert list(resumed) == list(itertools.islice(sampler, 6))[2:]


def test_on_average_an_item_comes_as_often_as_its_factor():
    sampler = ClipSampler([0.25, 1.5, 1.25], seed=1)
    samples = [index for _, index in itertools.islice(sampler, 3 * 2000)]
    found = np.bincount(samples, minlength=3) / 2000
    # of 2,000 passes; the deviation of a mean is at most 0.5 / √2000 = 0.011
    np.testing.assert_allclose(found, [0.25, 1.5, 1.25], atol=0.05)
