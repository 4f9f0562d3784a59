"""What the objects look like, and what of them is annotated."""

from dataclasses import replace
from itertools import combinations

import cv2
import numpy as np
import pytest

from avis.formats.categories import AVISEG_CATEGORIES
from avis.synthetic import PRESETS
from avis.synthetic.appearance import Variation, make_sprite
from avis.synthetic.pictures import render
from avis.synthetic.scene import Scene, SceneObject, Trajectory, plan_scene

OPTIONS = PRESETS["quickstart"]
PLAIN = Variation(hue_shift=0.0, brightness=1.0, phase=0.0, mirrored=False)


def still(category: str, x: float, y: float, cue: float = 0.0, diameter: float = 40.0) -> SceneObject:
    """An object that stays where it is for a frame."""
    trajectory = Trajectory(np.array([[x, y]]), np.zeros(1), np.ones(1))
    return SceneObject(category, diameter, PLAIN, trajectory, np.array([cue]), np.array([cue > 0]))


def draw(*objects: SceneObject) -> tuple[np.ndarray, np.ndarray]:
    return next(render(Scene(1, objects, ()), replace(OPTIONS, image_noise=0.0), np.random.default_rng(0)))


@pytest.mark.parametrize("category", AVISEG_CATEGORIES)
def test_the_cue_is_plain_at_its_weakest_in_a_small_frame(category: str) -> None:
    silent, mask = draw(still(category, 80, 48))
    sounding, same_mask = draw(still(category, 80, 48, cue=0.75))
    np.testing.assert_array_equal(mask, same_mask)
    change = np.abs(sounding.astype(float) - silent)
    assert change[mask[0]].mean() > 50
    around = cv2.dilate(mask[0].astype(np.uint8), np.ones((5, 5))).astype(bool)
    assert change[~around].max() == 0


def test_classes_look_different() -> None:
    looks = {
        name: cv2.resize(make_sprite(name, 48, PLAIN).picture(0), (48, 48)) for name in AVISEG_CATEGORIES
    }
    differences = {
        (one, other): np.abs(looks[one][..., :3] - looks[other][..., :3]).mean()
        for one, other in combinations(AVISEG_CATEGORIES, 2)
    }
    # Grey levels, over object and surroundings; two objects of a class differ by up to 20 in brightness.
    assert min(differences.values()) > 20, sorted(differences, key=differences.get)[:3]


def test_the_upper_object_hides_the_lower() -> None:
    picture, masks = draw(still("car", 70, 48), still("cat", 85, 48))
    alone, (upper,) = draw(still("cat", 85, 48))
    _, (whole,) = draw(still("car", 70, 48))
    np.testing.assert_array_equal(masks[1], upper)
    np.testing.assert_array_equal(masks[0], whole & ~upper)
    inside = cv2.erode(upper.astype(np.uint8), np.ones((3, 3))).astype(bool)
    np.testing.assert_array_equal(picture[inside], alone[inside])


@pytest.mark.parametrize(("x", "visible"), [(-100, False), (-21, False), (0, True), (80, True), (500, False)])
def test_out_of_view_means_no_mask(x: float, visible: bool) -> None:
    _, masks = draw(still("cat", x, 48))
    assert masks.any() == visible


def test_frames_and_masks_of_a_random_video() -> None:
    scene = plan_scene(OPTIONS, np.random.default_rng(3))
    frames = list(render(scene, OPTIONS, np.random.default_rng(0)))
    assert len(frames) == scene.num_frames
    for picture, masks in frames:
        assert picture.shape == (96, 160, 3) and picture.dtype == np.uint8
        assert masks.shape == (len(scene.objects), 96, 160) and masks.sum(axis=0).max() <= 1
