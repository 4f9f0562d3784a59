"""Options out of their range are refused by name."""

from dataclasses import replace

import pytest

from avis.formats.categories import AVISEG_CATEGORIES
from avis.synthetic import PRESETS, SynthOptions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train", -1),
        ("seconds", (5.0, 3.0)),
        ("seconds", (0.2, 3.0)),
        ("fps", 0.0),
        ("fps", float("nan")),
        ("width", 16),
        ("categories", ("person", "drum")),
        ("categories", ("person", "cat", "cat", "car")),
        ("categories", ("person",)),
        ("objects", (0, 2)),
        ("object_size", (0.5, 1.5)),
        ("decoy_probability", 1.1),
        ("leave_probability", -0.1),
        ("activity", 0.0),
        ("cue_strength", 2.0),
        ("sound_noise", float("inf")),
        ("separated_sources", 4),
        ("separated_sources", -1),
        ("seed", -1),
    ],
)
def test_bad_values_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must .* got "):
        SynthOptions(**{name: value})


def test_a_data_set_of_no_videos_is_refused() -> None:
    with pytest.raises(ValueError, match="train and val and test are all 0"):
        SynthOptions(train=0, val=0, test=0)


def test_presets() -> None:
    assert PRESETS["full"].categories == AVISEG_CATEGORIES
    assert len(replace(PRESETS["quickstart"]).categories) == 6
