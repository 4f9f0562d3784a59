import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from avis.audio import log_mel_examples
from avis.data import ClipMapper, load_aviseg_json
from avis.data.clip_mapper import sample_frames
from avis.media.video import read_waveform
from tests.small_dataset import HEIGHT, LENGTH, WIDTH, edit, object_colour, object_mask, tracks


@pytest.fixture
def records(train_json):
    return load_aviseg_json(train_json)


def training_mapper(cfg):
    return ClipMapper(cfg, is_train=True, audio_source="waveform")


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 30), st.data())
def test_frames_are_distinct_and_near_where_the_video_allows(length, number, reach, data):
    reference = data.draw(st.integers(0, length - 1))
    frames = sample_frames(length, reference, number, reach)
    assert len(frames) == number and frames[0] == reference
    assert set(frames) <= set(range(length))
    assert len(set(frames)) == min(number, length)
    within_reach = min(length, reference + reach + 1) - max(0, reference - reach)
    if within_reach >= number:
        assert max(abs(frame - reference) for frame in frames) <= reach


def test_every_frame_within_reach_is_drawn():
    np.random.seed(0)
    drawn = {frame for _ in range(200) for frame in sample_frames(20, 10, 3, 2)}
    assert drawn == {8, 9, 10, 11, 12}


def test_clips_follow_the_batch_contract(cfg, records):
    clip = training_mapper(cfg)(records[1])
    assert len(clip["image"]) == len(clip["instances"]) == len(clip["frame_indices"]) == 3
    assert clip["frame_indices"] == sorted(set(clip["frame_indices"]))
    assert clip["file_names"] == [records[1]["file_names"][t] for t in clip["frame_indices"]]
    assert clip["image"][0].shape == (3, HEIGHT, WIDTH) and clip["image"][0].dtype == torch.uint8
    assert clip["audio_examples"].shape == (3, 96, 64)
    assert (clip["height"], clip["width"], clip["length"], clip["video_id"]) == (HEIGHT, WIDTH, LENGTH, 2)


def test_whole_videos_come_without_objects(cfg, records):
    cfg.INPUT.MIN_SIZE_TEST = 24
    video = ClipMapper(cfg, is_train=False, audio_source="waveform")(records[0])
    assert video["frame_indices"] == list(range(LENGTH)) and "instances" not in video
    assert {tuple(image.shape) for image in video["image"]} == {(3, 24, 32)}
    assert (video["height"], video["width"]) == (HEIGHT, WIDTH)
    waveform, rate = read_waveform(records[0]["audio_file"])
    torch.testing.assert_close(video["audio_examples"], log_mel_examples(waveform, rate, LENGTH))


@pytest.mark.parametrize("is_train", [True, False])
def test_frames_hear_the_sound_of_their_time_at_input_fps(cfg, records, is_train):
    """Frame t hears what begins at t / INPUT.FPS seconds."""
    waveform, rate = read_waveform(records[0]["audio_file"])
    heard = {}
    for fps in (1.0, 2.0):
        cfg.INPUT.FPS = fps
        np.random.seed(0)
        clip = ClipMapper(cfg, is_train=is_train, audio_source="waveform")(records[0])
        expected = log_mel_examples(waveform, rate, LENGTH, fps)[clip["frame_indices"]]
        # What follows a frame's sound is cut off at another place: the filter sees other neighbours.
        torch.testing.assert_close(clip["audio_examples"], expected, atol=1e-3, rtol=1e-3)
        heard[fps] = clip["audio_examples"]
    assert not torch.allclose(heard[1.0], heard[2.0], atol=1.0)


def test_a_model_that_does_not_hear_gets_no_audio(cfg, records):
    clip = ClipMapper(cfg, is_train=True, audio_source=None)(records[0])
    assert not any(key.startswith("audio") for key in clip)


def test_features_have_a_key_of_their_own(cfg, records, tmp_path):
    """Those of separated sources keep their axis: (F, S, A)."""
    np.save(tmp_path / "features.npy", np.zeros((LENGTH, 2, 128)))
    record = {**records[0], "audio_features_file": str(tmp_path / "features.npy")}
    clip = ClipMapper(cfg, is_train=True, audio_source="features")(record)
    assert clip["audio_features"].shape == (3, 2, 128) and "audio_examples" not in clip


def test_shuffled_clips_lose_the_order_of_time(cfg, records):
    cfg.INPUT.SAMPLING_FRAME_SHUFFLE = True
    np.random.seed(0)
    mapper = ClipMapper(cfg, is_train=True, audio_source=None)
    clips = [mapper(records[0]) for _ in range(10)]
    assert any(clip["frame_indices"] != sorted(clip["frame_indices"]) for clip in clips)


def visible(image, number):
    """Where a frame (3, H, W) shows an object's colour."""
    colour = torch.tensor(object_colour(number)).view(3, 1, 1)
    return ((image.int() - colour).abs() < 100).all(dim=0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["plain", "flip", "vertical", "crop", "resize", "rotation", "all"])
def test_augmented_masks_lie_on_their_objects_in_every_frame(cfg, records, kind, seed):
    """Masks are resized to the nearest pixel and pictures smoothly, so borders may differ by a pixel."""
    cfg.INPUT.RANDOM_FLIP = {"flip": "horizontal", "all": "horizontal", "vertical": "vertical"}.get(
        kind, "none"
    )
    cfg.INPUT.CROP.ENABLED = kind in ("crop", "all")
    cfg.INPUT.CROP.SIZE = [0.6, 0.6]
    cfg.INPUT.MIN_SIZE_TRAIN = (40, 96, 120) if kind in ("resize", "all") else (HEIGHT,)
    colours = ["brightness", "contrast", "saturation", "rotation"]
    cfg.INPUT.AUGMENTATIONS = {"rotation": ["rotation"], "all": colours}.get(kind, [])
    np.random.seed(seed)
    clip = training_mapper(cfg)(records[seed % 3])
    sizes = {tuple(image.shape[1:]) for image in clip["image"]}
    assert len(sizes) == 1
    for image, instances in zip(clip["image"], clip["instances"], strict=True):
        assert instances.image_size == tuple(image.shape[1:])
        for mask, number in zip(instances.gt_masks.tensor, instances.gt_classes.tolist(), strict=True):
            picture = visible(image, number)
            border = 2 * (mask.shape[0] + mask.shape[1])
            assert int((mask ^ picture).sum()) <= border * 0.5
            assert int((mask & picture).sum()) >= 0.8 * int(mask.sum()) - 8


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation"])
def test_colours_change_alike_in_every_frame(cfg, train_json, kind):
    """All frames show the same picture, so they must stay equal, and not keep traces of another frame."""
    record = load_aviseg_json(train_json)[0]
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for file_name in record["file_names"][1:]:
        Image.fromarray(noise).save(file_name)
    cfg.INPUT.AUGMENTATIONS = [kind]
    cfg.INPUT.SAMPLING_FRAME_NUM = LENGTH
    np.random.seed(4)
    images = training_mapper(cfg)(record)["image"]
    assert all(torch.equal(image, images[1]) for image in images[2:])
    original = torch.from_numpy(noise.transpose(2, 0, 1))
    assert not torch.equal(images[1], original)
    if kind == "saturation":
        grey = original.float().mul(torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(dim=0)
        deviation = (images[1].float() - grey) / (original.float() - grey)
        inside = ((original.float() - grey).abs() > 40) & (images[1] > 0) & (images[1] < 255)
        assert deviation[inside].std() < 0.02  # one weight for all pixels, up to rounding to integers


def test_brightness_changes_by_a_tenth_at_most(cfg, records):
    cfg.INPUT.AUGMENTATIONS = ["brightness"]
    cfg.INPUT.SAMPLING_FRAME_NUM = 1
    for file_name in records[0]["file_names"]:
        Image.new("RGB", (WIDTH, HEIGHT), (100, 100, 100)).save(file_name)
    mapper = training_mapper(cfg)
    np.random.seed(0)
    values = [int(mapper(records[0])["image"][0].max()) for _ in range(40)]
    assert 90 <= min(values) < 93 and 107 < max(values) <= 110


def test_objects_keep_class_id_and_order_where_they_are_silent(cfg, records):
    cfg.INPUT.SAMPLING_FRAME_NUM = LENGTH
    clip = training_mapper(cfg)(records[0])
    for t, instances in enumerate(clip["instances"]):
        assert instances.gt_ids.tolist() == [1, 2] and instances.gt_classes.tolist() == [0, 1]
        for mask, track in zip(instances.gt_masks.tensor, tracks(1), strict=True):
            expected = np.zeros((HEIGHT, WIDTH)) if track[t] is None else track[t]
            np.testing.assert_array_equal(mask.numpy(), expected)


def clip_of_frames(cfg, record, reference):
    """The clip of one frame."""
    cfg.INPUT.SAMPLING_FRAME_NUM = 1
    mapper = training_mapper(cfg)
    while True:
        clip = mapper(record)
        if clip["frame_indices"] == [reference]:
            return clip


def test_objects_without_a_mask_in_the_clip_are_left_out(cfg, records):
    assert clip_of_frames(cfg, records[0], 1)["instances"][0].gt_ids.tolist() == [2]
    assert clip_of_frames(cfg, records[0], 4)["instances"][0].gt_ids.tolist() == [1]
    silent = clip_of_frames(cfg, records[0], 5)["instances"][0]
    assert len(silent) == 0 and silent.gt_masks.tensor.shape == (0, HEIGHT, WIDTH)


def test_objects_that_the_crop_removes_are_left_out(cfg, records):
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", (8, 8)
    cfg.INPUT.MIN_SIZE_TRAIN = (8,)
    np.random.seed(0)
    for _ in range(20):
        instances = training_mapper(cfg)(records[0])["instances"]
        masks = torch.stack([frame.gt_masks.tensor for frame in instances])
        assert masks.any(dim=(0, 2, 3)).all() if masks.shape[1] else True


def test_empty_clips_are_kept_unless_filtered(cfg, records):
    cfg.INPUT.SAMPLING_FRAME_NUM = 1
    for filtered, silent_clips in ((False, True), (True, False)):
        cfg.INPUT.FILTER_EMPTY_CLIPS = filtered
        mapper = training_mapper(cfg)
        np.random.seed(0)
        clips = [mapper(records[0]) for _ in range(40)]
        assert any(len(clip["instances"][0]) == 0 for clip in clips) == silent_clips


def test_crowds_are_left_out(cfg, train_json):
    edit(train_json, lambda content: content["annotations"][0].update(iscrowd=1))
    record = load_aviseg_json(train_json)[0]
    cfg.INPUT.SAMPLING_FRAME_NUM = LENGTH
    assert training_mapper(cfg)(record)["instances"][0].gt_ids.tolist() == [2]


def test_all_forms_of_masks_give_the_same_clip(cfg, train_json):
    """A rectangle can be written exactly as a polygon."""
    cfg.INPUT.SAMPLING_FRAME_NUM = LENGTH

    def masks():
        clip = training_mapper(cfg)(load_aviseg_json(train_json)[0])
        return torch.stack([frame.gt_masks.tensor for frame in clip["instances"]])

    def rewrite(form):
        def change(content):
            for number, track in enumerate(tracks(1)):
                content["annotations"][number]["segmentations"] = [m if m is None else form(m) for m in track]

        edit(train_json, change)

    compressed = masks()
    rewrite(polygon_of)
    assert torch.equal(masks(), compressed)
    rewrite(uncompressed)
    assert torch.equal(masks(), compressed)
    assert compressed.any()


def polygon_of(mask):
    rows, columns = np.nonzero(mask)
    top, bottom, left, right = (
        int(x) for x in (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
    )
    return [[left, top, right, top, right, bottom, left, bottom]]


def uncompressed(mask):
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return {"size": list(mask.shape), "counts": np.diff([0, *changes, len(flat)]).tolist()}


def test_records_stay_as_they_are(cfg, records):
    before = copy.deepcopy(records[0])
    training_mapper(cfg)(records[0])
    assert records[0] == before


def test_only_the_frames_of_the_clip_are_read(cfg, records):
    clip = training_mapper(cfg)
    np.random.seed(5)
    used = set(clip(records[0])["frame_indices"])
    for t in set(range(LENGTH)) - used:
        Path(records[0]["file_names"][t]).unlink()
    np.random.seed(5)
    assert set(clip(records[0])["frame_indices"]) == used


def test_clips_are_drawn_from_numpys_generator(cfg, records):
    mapper = training_mapper(cfg)
    np.random.seed(7)
    first = mapper(records[0])
    np.random.seed(7)
    assert mapper(records[0])["frame_indices"] == first["frame_indices"]


@pytest.fixture
def whole_video(cfg):
    return ClipMapper(cfg, is_train=False, audio_source="waveform")


def test_a_missing_frame_is_named(whole_video, records):
    Path(records[0]["file_names"][2]).unlink()
    with pytest.raises(ValueError, match=r"video 1 frame 2: .*clip1/00002\.png cannot be read"):
        whole_video(records[0])["image"][:]


def test_an_unreadable_frame_is_named(whole_video, records):
    path = Path(records[0]["file_names"][3]).with_suffix(".jpg")
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    records[0]["file_names"][3] = str(path)
    with pytest.raises(ValueError, match=r"video 1 frame 3: .*00003\.jpg cannot be read.*truncated"):
        whole_video(records[0])["image"][:]
    path.write_text("no picture")
    with pytest.raises(ValueError, match=r"video 1 frame 3: .*00003\.jpg cannot be read"):
        whole_video(records[0])["image"][:]


def test_a_frame_of_another_size_is_named(whole_video, records):
    Image.new("RGB", (WIDTH, HEIGHT + 2)).save(records[0]["file_names"][1])
    with pytest.raises(ValueError, match=r"video 1 frame 1: .*is 50×64, the annotations say 48×64"):
        whole_video(records[0])["image"][:]


def test_a_broken_mask_is_named(cfg, records):
    cfg.INPUT.SAMPLING_FRAME_NUM = LENGTH
    records[0]["annotations"][0]["segmentations"][2] = {"size": [HEIGHT, WIDTH], "counts": "0d0"}
    problem = r"video 1 annotation 1 frame 2: the RLE covers 20 pixels, .* 3072 pixels"
    with pytest.raises(ValueError, match=problem):
        training_mapper(cfg)(records[0])


def test_unknown_augmentations_are_refused(cfg):
    for key, value in (
        ("AUGMENTATIONS", ["blur"]),
        ("RANDOM_FLIP", "flip_by_frame"),
        ("MIN_SIZE_TRAIN_SAMPLING", "all"),
    ):
        broken = cfg.clone()
        broken.INPUT[key] = value
        with pytest.raises(ValueError, match=f"INPUT.{key}"):
            training_mapper(broken)


def test_names_of_mask2formers_configs_are_understood(cfg, records):
    cfg.INPUT.RANDOM_FLIP = "flip_by_clip"
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = "choice_by_clip"
    assert len(training_mapper(cfg)(records[0])["image"]) == 3
    assert object_mask(0, 0).shape == (HEIGHT, WIDTH)
