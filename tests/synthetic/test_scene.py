"""What happens in the videos: neither sight nor hearing alone says which object sounds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.formats.categories import scenario_of
from avis.synthetic import PRESETS, SynthOptions
from avis.synthetic.scene import Scene, plan_scene


def scenes(options: SynthOptions, count: int) -> list[Scene]:
    return [plan_scene(options, np.random.default_rng(seed)) for seed in range(count)]


def heard(scene: Scene) -> dict[str, np.ndarray]:
    """In which frames each class is heard."""
    return {sound.category: sound.level > 0 for sound in scene.sounds}


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6), fps=st.sampled_from([0.5, 1.0, 3.0]), preset=st.sampled_from(list(PRESETS))
)
def test_what_sounds_is_heard_and_shows_it(seed: int, fps: float, preset: str) -> None:
    options = replace(PRESETS[preset], fps=fps)
    scene = plan_scene(options, np.random.default_rng(seed))
    assert options.seconds[0] * fps - 1 <= scene.num_frames <= options.seconds[1] * fps + 1
    assert options.objects[0] <= len(scene.objects) <= options.objects[1]
    frames_heard = heard(scene)
    for thing in scene.objects:
        class_heard = frames_heard.get(thing.category, np.zeros(scene.num_frames, bool))
        assert (thing.cue[thing.sounds] >= 0.75).all() and class_heard[thing.sounds].all()
        # A decoy never shows the cue while its class is heard.
        assert not (class_heard & (thing.cue > 0) & ~thing.sounds).any()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_of_two_objects_of_a_class_one_acts_at_a_time(seed: int) -> None:
    options = replace(PRESETS["quickstart"], pair_probability=1.0)
    scene = plan_scene(options, np.random.default_rng(seed))
    categories = [thing.category for thing in scene.objects]
    pair = [thing for thing in scene.objects if categories.count(thing.category) == 2]
    assert len(pair) == 2
    assert not ((pair[0].cue > 0) & (pair[1].cue > 0)).any()


@pytest.mark.parametrize("decoy_probability", [0.0, 0.5, 0.9])
def test_sight_alone_is_right_as_often_as_there_are_no_decoys(decoy_probability: float) -> None:
    options = replace(PRESETS["quickstart"], decoy_probability=decoy_probability, offscreen_probability=0.0)
    things = [thing for scene in scenes(options, 300) for thing in scene.objects]
    shown = sum((thing.cue > 0).sum() for thing in things)
    right = sum(thing.sounds.sum() for thing in things)
    # About 500 classes act, so one standard deviation of their share is 0.02.
    assert right / shown == pytest.approx(1 - decoy_probability, abs=0.06)


def test_hearing_alone_cannot_tell_silent_objects_from_others_of_their_class() -> None:
    frames_heard = frames_sounding = 0
    for scene in scenes(PRESETS["quickstart"], 300):
        frames = heard(scene)
        for thing in scene.objects:
            if thing.category in frames:
                frames_heard += frames[thing.category].sum()
                frames_sounding += thing.sounds.sum()
    assert 0.5 < frames_sounding / frames_heard < 0.8


def test_few_videos_of_the_quickstart_are_without_an_object_that_sounds() -> None:
    with_sound = [
        any(thing.sounds.any() for thing in scene.objects) for scene in scenes(PRESETS["quickstart"], 300)
    ]
    assert np.mean(with_sound) > 0.75


def test_a_class_may_be_heard_that_is_not_in_view() -> None:
    options = replace(PRESETS["quickstart"], offscreen_probability=1.0)
    for scene in scenes(options, 20):
        in_view = {thing.category for thing in scene.objects}
        assert any(sound.category not in in_view for sound in scene.sounds)
        assert not any(thing.sounds.any() for thing in scene.objects)


def test_objects_leave_and_come_back() -> None:
    options = replace(PRESETS["full"], seconds=(30.0, 30.0), leave_probability=1.0)
    returns = 0
    for scene in scenes(options, 20):
        for thing in scene.objects:
            x = thing.trajectory.centre[:, 0]
            outside = (x < -thing.diameter / 2) | (x > options.width + thing.diameter / 2)
            returns += outside[1:-1].any() and not outside[0] and not outside[-1]
    assert returns >= 10


def test_scenarios_of_categories() -> None:
    assert scenario_of("person") == "speaking"
    assert scenario_of("dog", "lion") == "animal"
    assert scenario_of("car", "airplane", "lawn_mover") == "machine"
    assert scenario_of("violin", "erhu", "tuba") == "music"
    assert scenario_of("violin", "person") == scenario_of("dog", "car") == "panorama"


def test_a_video_of_one_scenario_has_and_hears_nothing_else() -> None:
    options = replace(PRESETS["full"], scenario_probability=1.0)
    drawn = scenes(options, 100)
    assert {scene.scenario for scene in drawn} == {"music", "speaking", "animal", "machine"}
    for scene in drawn:
        assert {scenario_of(sound.category) for sound in scene.sounds} <= {scene.scenario}


def test_pairs_occur_also_where_a_scenario_has_one_class_only() -> None:
    options = replace(PRESETS["full"], categories=("person", "cat", "dog", "lion"), pair_probability=1.0)
    speaking = [scene for scene in scenes(options, 200) if scene.scenario == "speaking"]
    assert speaking and max(len(scene.objects) for scene in speaking) == 2
