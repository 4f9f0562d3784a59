import itertools
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.utils import comm

from avis.data import build_test_loader, build_train_loader, choose_audio_source, get_dataset_records
from avis.data.sampler import ClipSampler
from tests.small_dataset import LENGTH, edit, renumber, write_split


def batches(cfg, number, start=0):
    return list(itertools.islice(build_train_loader(cfg, start), number))


def same(clip, other):
    masks, other_masks = (
        torch.stack([frame.gt_masks.tensor for frame in c["instances"]]) for c in (clip, other)
    )
    return (
        clip["video_id"] == other["video_id"]
        and clip["frame_indices"] == other["frame_indices"]
        and all(torch.equal(a, b) for a, b in zip(clip["image"], other["image"], strict=True))
        and torch.equal(clip["audio_examples"], other["audio_examples"])
        and torch.equal(masks, other_masks)
        and clip["seed"] == other["seed"]
    )


def all_same(first, second):
    first, second = list(itertools.chain(*first)), list(itertools.chain(*second))
    return len(first) == len(second) and all(map(same, first, second))


@pytest.fixture
def augmented(cfg):
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    cfg.INPUT.MIN_SIZE_TRAIN = (32, 40, 48)
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.AUGMENTATIONS = ["brightness"]
    return cfg


def test_batches_are_lists_of_clips(cfg):
    (batch,) = batches(cfg, 1)
    assert isinstance(batch, list) and len(batch) == 2
    assert set(batch[0]) == {
        "image", "audio_examples", "instances", "frame_indices", "file_names", "height", "width", "length",
        "video_id", "num_sounding", "seed",
    }  # fmt: skip


def test_a_worker_sends_a_clip_in_a_few_pieces(cfg):
    """The frames of a clip share their memory, so a worker hands over one piece of each kind."""
    cfg.DATALOADER.NUM_WORKERS = 1
    for clip in batches(cfg, 1)[0]:
        frames = [frame.get_fields() for frame in clip["instances"]]
        masks = [frame["gt_masks"].tensor for frame in frames]
        for tensors in (
            clip["image"],
            masks,
            *([f[key] for f in frames] for key in ("gt_classes", "gt_ids")),
        ):
            assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
            assert tensors[0].is_shared()
        assert len(masks) == 3 and masks[0].untyped_storage().nbytes() == sum(mask.numel() for mask in masks)


def test_resumed_training_sees_the_same_clips(augmented):
    whole = batches(augmented, 6)
    assert all_same(batches(augmented, 2, start=4), whole[4:])
    assert not all_same(whole[:2], whole[4:])


def test_the_number_of_workers_does_not_change_the_clips(augmented):
    whole = batches(augmented, 4)
    augmented.DATALOADER.NUM_WORKERS = 2
    assert all_same(batches(augmented, 4), whole)
    assert all_same(batches(augmented, 2, start=2), whole[2:])


def test_other_seeds_give_other_clips(augmented):
    whole = batches(augmented, 2)
    augmented.SEED = 2
    assert not all_same(batches(augmented, 2), whole)
    augmented.SEED = -1
    assert not all_same(batches(augmented, 2), batches(augmented, 2))


def test_loading_leaves_numpys_generator_alone(cfg):
    np.random.seed(0)
    expected = np.random.rand(3)
    np.random.seed(0)
    batches(cfg, 2)
    np.testing.assert_array_equal(np.random.rand(3), expected)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_rank(rank, port, cfg, results):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    comm.create_local_process_group(2)
    cfg.DATALOADER.NUM_WORKERS = 2
    seen = [(clip["video_id"], clip["frame_indices"], clip["image"][0].sum().item())
            for batch in batches(cfg, 4, start=1) for clip in batch]  # fmt: skip
    videos = [video["video_id"] for batch in build_test_loader(cfg, cfg.DATASETS.TEST[0]) for video in batch]
    for clips, passes, message in (
        (3, 1, "IMS_PER_BATCH 3 cannot be split over 2 processes"),
        (6, 2, "ACCUMULATE 2 passes cannot share the 3 clips that each process has"),
        (6, 0, "ACCUMULATE is 0"),
    ):
        cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATE = clips, passes
        with pytest.raises(ValueError, match=message):
            build_train_loader(cfg)
    results.put((rank, seen, videos))
    torch.distributed.destroy_process_group()


def test_two_processes_with_workers_share_what_one_would_see(augmented):
    context = multiprocessing.get_context("fork")  # as the loader's own workers; spares them the imports
    results, port = context.SimpleQueue(), free_port()
    processes = [context.Process(target=run_rank, args=(rank, port, augmented, results)) for rank in range(2)]
    for process in processes:
        process.start()
    (_, first, first_videos), (_, second, second_videos) = sorted(results.get() for _ in processes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    whole = [(clip["video_id"], clip["frame_indices"], clip["image"][0].sum().item())
             for clip in itertools.chain(*batches(augmented, 4, start=1))]  # fmt: skip
    assert whole == list(itertools.chain(*zip(first, second, strict=True)))
    assert sorted(first_videos + second_videos) == [1, 2, 3]


def test_every_pass_visits_every_clip_once():
    order = [index for _, index in itertools.islice(iter(ClipSampler([1] * 7, seed=3)), 21)]
    assert [sorted(order[start : start + 7]) for start in (0, 7, 14)] == [list(range(7))] * 3
    assert order[:7] != order[7:14]


def test_the_order_can_start_anywhere():
    whole = list(itertools.islice(iter(ClipSampler([1] * 5, seed=3)), 30))
    assert list(itertools.islice(iter(ClipSampler([1] * 5, seed=3, start=13)), 17)) == whole[13:]
    ranks = [list(itertools.islice(iter(ClipSampler([1] * 5, 3, 4, rank, 2)), 5)) for rank in range(2)]
    assert [sample for pair in zip(*ranks, strict=True) for sample in pair] == whole[4:14]


def test_whole_videos_come_once_each_in_order(cfg):
    loader = build_test_loader(cfg, cfg.DATASETS.TEST[0])
    videos = list(loader)
    assert [len(batch) for batch in videos] == [1, 1, 1] and len(loader) == 3
    assert [batch[0]["video_id"] for batch in videos] == [1, 2, 3]
    assert len(videos[0][0]["image"]) == LENGTH


def test_sound_at_test_is_what_the_config_says(cfg):
    name = cfg.DATASETS.TEST[0]
    own, silent, shuffled = (
        [video["audio_examples"] for (video,) in build_test_loader(with_test_sound(cfg, sound), name)]
        for sound in ("own", "silent", "shuffled")
    )
    assert all(audio.min() == audio.max() for audio in silent)
    assert all(torch.equal(shuffled[i], own[(i + 1) % 3]) for i in range(3))


def with_test_sound(cfg, sound):
    cfg = cfg.clone()
    cfg.INPUT.AUDIO.AT_TEST = sound
    return cfg


def test_the_batch_must_split_over_the_processes(cfg):
    cfg.SOLVER.IMS_PER_BATCH = 0
    with pytest.raises(ValueError, match="IMS_PER_BATCH 0 cannot be split over 1"):
        build_train_loader(cfg)


def test_the_number_of_classes_must_be_the_models(cfg):
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 26
    with pytest.raises(ValueError, match=r"has 2 categories, but MODEL.SEM_SEG_HEAD.NUM_CLASSES is 26"):
        build_train_loader(cfg)


def test_data_sets_of_different_categories_do_not_mix(cfg, tmp_path):
    other = edit(
        write_split(tmp_path / "other"), lambda content: content["categories"][0].update(name="cello")
    )
    cfg.DATASETS.TRAIN = (*cfg.DATASETS.TRAIN, str(other))
    with pytest.raises(ValueError, match=r"categories of .* differ: .*cello"):
        build_train_loader(cfg)


@pytest.mark.parametrize("names", [["dog", "violin"], ["dog"]])
def test_categories_of_several_data_sets_are_matched_by_name(train_json, tmp_path, names):
    other = renumber(write_split(tmp_path / "other", num_videos=2), names)
    records = get_dataset_records([str(train_json), str(other)])
    of_dogs = [[a["category_id"] for a in record["annotations"]] for record in records]
    assert of_dogs == [[0, 1]] * 3 + [[1] if names == ["dog"] else [0, 1]] * 2


def test_several_data_sets_follow_one_another(train_json, tmp_path):
    other = write_split(tmp_path / "other", "val", num_videos=2)
    records = get_dataset_records([str(train_json), str(other)])
    assert [record["video_id"] for record in records] == [1, 2, 3, 1, 2]


def test_videos_in_which_nothing_sounds_can_be_left_out(train_json):
    def silence_the_second(content):
        content["annotations"] = [a for a in content["annotations"] if a["video_id"] != 2]
        content["annotations"][0]["segmentations"] = [None] * LENGTH

    edit(train_json, silence_the_second)
    names = [str(train_json)]
    assert [record["video_id"] for record in get_dataset_records(names)] == [1, 2, 3]
    assert [record["video_id"] for record in get_dataset_records(names, filter_empty=True)] == [1, 3]


def test_a_training_set_without_masks_is_refused(cfg, train_json):
    edit(train_json, lambda content: content.pop("annotations"))
    with pytest.raises(ValueError, match=r"no video of .*train\.json.* has a mask"):
        build_train_loader(cfg)


@pytest.mark.parametrize("names", [(), "avis_train"])
def test_names_must_be_a_sequence(names):
    with pytest.raises(ValueError, match="DATASETS needs a sequence"):
        get_dataset_records(names)


def write_features(train_json, *videos):
    folder = train_json.parent / "train" / "FEATAudios"
    folder.mkdir()
    for video in videos:
        np.save(folder / f"clip{video}.npy", np.full((LENGTH, 128), video, np.float32))


def test_features_are_taken_where_all_videos_have_them_and_the_backbone_made_them(cfg, train_json):
    write_features(train_json, 1, 2, 3)
    records = get_dataset_records([str(train_json)])
    assert choose_audio_source(cfg, records) == "features"
    (batch,) = batches(cfg, 1)
    assert all((clip["audio_features"] == clip["video_id"]).all() for clip in batch)
    for key, value, source in (
        ("MODEL.AUDIO.FREEZE", False, "waveform"),
        ("MODEL.AUDIO.NAME", "AudioCNN", "waveform"),
        ("MODEL.AUDIO.NAME", "", None),
        ("INPUT.AUDIO.SOURCE", "waveform", "waveform"),
    ):
        other = cfg.clone()
        other.merge_from_list([key, value])
        assert choose_audio_source(other, records) == source


def test_a_model_none_of_whose_parts_listens_gets_no_audio(cfg, train_json):
    records = get_dataset_records([str(train_json)])
    cfg.MODEL.FUSION.NAME = ""
    assert choose_audio_source(cfg, records) == "waveform"
    cfg.MODEL.MASK_FORMER.AUDIO_QUERY = False
    assert choose_audio_source(cfg, records) is None


def test_features_cannot_train_an_audio_backbone(cfg, train_json):
    write_features(train_json, 1, 2, 3)
    cfg.INPUT.AUDIO.SOURCE, cfg.MODEL.AUDIO.FREEZE = "features", False
    with pytest.raises(ValueError, match=r"needs MODEL\.AUDIO\.FREEZE True"):
        choose_audio_source(cfg, get_dataset_records([str(train_json)]))


def test_features_of_some_videos_only_are_not_taken(cfg, train_json):
    write_features(train_json, 1, 3)
    records = get_dataset_records([str(train_json)])
    assert choose_audio_source(cfg, records) == "waveform"
    cfg.INPUT.AUDIO.SOURCE = "features"
    with pytest.raises(ValueError, match=r"1 videos have none in FEATAudios, the first is 2.*choose"):
        choose_audio_source(cfg, records)
    cfg.INPUT.AUDIO.SOURCE = "mp3"
    with pytest.raises(ValueError, match="SOURCE is 'mp3'"):
        choose_audio_source(cfg, records)


def test_videos_to_skip_are_left_out(cfg):
    name = cfg.DATASETS.TEST[0]
    videos = [video["video_id"] for batch in build_test_loader(cfg, name) for video in batch]
    left = [video["video_id"] for batch in build_test_loader(cfg, name, skip=videos[:1]) for video in batch]
    assert left == videos[1:]
    nothing_left = build_test_loader(cfg, name, skip=set(videos))
    assert len(nothing_left) == 0 and list(nothing_left) == []


LONG_CLIPS = """
import resource, sys
import torch
from avis.config import get_avis_cfg
from avis.data import build_train_loader

resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
opts = ["DATASETS.TRAIN", (sys.argv[1],), "INPUT.SAMPLING_FRAME_NUM", 70, "DATALOADER.NUM_WORKERS", 2,
        "SOLVER.IMS_PER_BATCH", 4, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 2, "INPUT.MIN_SIZE_TRAIN", (48,)]
loader = iter(build_train_loader(get_avis_cfg(opts=opts)))
kept = [next(loader) for _ in range(4)]
assert all(len(clip["image"]) == len(clip["instances"]) == 70 for batch in kept for clip in batch)
assert all(max(frame.max() for frame in clip["image"]) > 0 for batch in kept for clip in batch)
print(*(worker.pid for worker in loader._workers))
"""


@pytest.mark.slow
def test_long_clips_come_from_workers_with_few_file_descriptors(train_json: Path):
    command = [sys.executable, "-c", LONG_CLIPS, train_json]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
    workers = ended.stdout.split()
    assert len(workers) == 2
    assert not [path for worker in workers for path in Path("/dev/shm").glob(f"torch_{worker}_*")]


def break_frames(cfg, video):
    """Empty every frame of a video of the training set."""
    records = get_dataset_records(cfg.DATASETS.TRAIN)
    (record,) = [record for record in records if record["video_id"] == video]
    for name in record["file_names"]:
        Path(name).write_bytes(b"")


@pytest.fixture
def with_a_bad_video(augmented):
    break_frames(augmented, 2)
    augmented.DATASETS.TEST = ()
    augmented.DATALOADER.ON_ERROR = "skip"
    return augmented


def test_a_clip_that_cannot_be_read_gives_place_to_another(with_a_bad_video):
    whole = batches(with_a_bad_video, 6)
    clips = list(itertools.chain(*whole))
    skipped = [each for clip in clips for each in clip["skipped"]]
    assert skipped and {video for video, _ in skipped} == {2}
    assert all(reason.startswith("video 2 frame ") for _, reason in skipped)
    assert 2 not in {clip["video_id"] for clip in clips}
    assert all_same(batches(with_a_bad_video, 2, start=4), whole[4:])
    with_a_bad_video.DATALOADER.NUM_WORKERS = 1
    assert all_same(batches(with_a_bad_video, 6), whole)


def test_only_what_cannot_be_read_is_replaced(augmented):
    augmented.DATASETS.TEST = ()
    expected = list(itertools.chain(*batches(augmented, 6)))
    break_frames(augmented, 2)
    augmented.DATALOADER.ON_ERROR = "skip"
    found = list(itertools.chain(*batches(augmented, 6)))
    for one, other in zip(found, expected, strict=True):
        assert one["skipped"] or same(one, other)


def test_what_cannot_be_read_is_an_error_unless_it_is_to_be_skipped(with_a_bad_video):
    with_a_bad_video.DATALOADER.ON_ERROR = "raise"
    with pytest.raises(ValueError, match=r"video 2 frame \d+: .*cannot be read"):
        batches(with_a_bad_video, 6)
    with_a_bad_video.DATALOADER.ON_ERROR = "ignore"
    with pytest.raises(ValueError, match=r"DATALOADER\.ON_ERROR is 'ignore'; it can be 'raise' or 'skip'"):
        build_train_loader(with_a_bad_video)


def test_a_data_set_of_which_nothing_can_be_read_is_an_error(with_a_bad_video):
    for record in get_dataset_records(with_a_bad_video.DATASETS.TRAIN):
        break_frames(with_a_bad_video, record["video_id"])
    with pytest.raises(ValueError, match=r"10 clips, one in place of the other, cannot be read: video "):
        batches(with_a_bad_video, 1)


def test_frames_that_a_test_set_lacks_show_before_training(cfg):
    record = get_dataset_records(cfg.DATASETS.TEST)[1]
    Path(record["file_names"][2]).unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks 1 frames, the first is video 2 frame 2: .*\.png"):
        build_train_loader(cfg)


def test_categories_that_the_model_lacks_can_be_dropped(cfg, tmp_path, caplog):
    other = write_split(tmp_path / "other", num_videos=2)
    edit(other, lambda content: content["categories"][0].update(name="cello"))
    names = (*cfg.DATASETS.TRAIN, str(other))
    with pytest.raises(ValueError, match=r"cello is not among violin, dog; .*UNKNOWN_CATEGORIES drop"):
        get_dataset_records(names)
    with caplog.at_level(logging.WARNING):
        records = get_dataset_records(names, drops_unknown=True)
    assert "2 of its 4 objects are left out" in caplog.text and "cello" in caplog.text
    assert [[a["category_id"] for a in record["annotations"]] for record in records] == [[0, 1]] * 3 + [
        [1]
    ] * 2
    cfg.DATASETS.TRAIN, cfg.DATASETS.UNKNOWN_CATEGORIES = names, "drop"
    assert len(build_train_loader(cfg).dataset) == 5
    cfg.DATASETS.UNKNOWN_CATEGORIES = "skip"
    with pytest.raises(ValueError, match="UNKNOWN_CATEGORIES is 'skip'; it can be 'raise' or 'drop'"):
        build_train_loader(cfg)


def test_a_data_set_of_which_nothing_would_be_left_is_refused(cfg, tmp_path):
    other = write_split(tmp_path / "other")
    edit(other, lambda content: [c.update(name=f"not {c['name']}") for c in content["categories"]])
    with pytest.raises(ValueError, match="not violin, not dog is not among"):
        get_dataset_records((*cfg.DATASETS.TRAIN, str(other)), drops_unknown=True)
