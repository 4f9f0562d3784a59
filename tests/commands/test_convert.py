"""Whole data sets converted by the command line: what is written, what is refused, and where it goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avis.commands.convert import main
from avis.data import load_aviseg_json
from avis.formats.ground_truth import load_ground_truth
from avis.media.video import decode_video, read_waveform
from tests.avtrack_folder import write_avtrack
from tests.formats.foreign_files import (
    HEIGHT,
    WIDTH,
    coco,
    cocovid,
    cvat,
    label_studio_picture,
    label_studio_video,
    write,
    write_s4,
    youtube_vis,
)
from tests.media.recordings import record, shown_seconds, tone
from tests.small_dataset import write_wav

ROOT = Path(__file__).parents[2]


def convert(*arguments: object) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def write_pictures(root: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (10 * number, 40, 200)).save(file)
    return root


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder with concert.mp4: 4 s, 10 frames a second, each second of its own grey, and a tone."""
    (tmp_path / "videos").mkdir()
    record(tmp_path / "videos/concert.mp4", 4, sounds=(tone(4),), size=(HEIGHT, WIDTH))
    return tmp_path / "videos"


def masks_of(split: Path, track: int = 0) -> list[bool]:
    (tracks,) = load_ground_truth(split).tracks.values()
    return [mask is not None for mask in tracks[track].masks]


def test_cvat_s_video_becomes_frames_sound_and_tracks(tmp_path: Path, videos: Path):
    file = write(tmp_path / "a.xml", cvat())
    assert convert(file, "--videos", videos, "--output", tmp_path / "out", "--split", "val") == 0
    split = tmp_path / "out/val.json"
    (record_,) = load_aviseg_json(split)
    frames = [np.asarray(Image.open(name)) for name in record_["file_names"]]
    assert shown_seconds(frames) == [0, 1, 2, 3]
    waveform, rate = read_waveform(record_["audio_file"])
    assert len(waveform) / rate == pytest.approx(4, abs=0.1) and np.abs(waveform).max() > 0.3
    # Frames 0, 10, 20, 30 of the video: the dog is outside from 20 on, the cat is drawn from 3 on.
    assert masks_of(split) == [True, True, False, False]
    assert masks_of(split, track=1) == [False, True, True, True]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["val", "val.json"]
    assert json.loads(split.read_text())["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]


@pytest.mark.parametrize("fps", [2, 10, 25])
def test_frames_are_those_that_prediction_sees(tmp_path: Path, videos: Path, fps: int):
    file = write(tmp_path / "a.xml", cvat())
    assert convert(file, "--videos", videos, "--output", tmp_path, "--fps", fps) == 0
    (record_,) = load_aviseg_json(tmp_path / "train.json")
    seen = list(decode_video(videos / "concert.mp4", fps))
    assert len(seen) == 4 * fps == record_["length"]
    frames = [np.asarray(Image.open(name)) for name in record_["file_names"]]
    assert shown_seconds(frames) == shown_seconds(seen)
    shows = [frame * 10 // fps for frame in range(4 * fps)]  # the video's frames, at 10 a second
    assert masks_of(tmp_path / "train.json") == [frame < 20 for frame in shows]


def test_tasks_of_pictures_take_the_folder_of_their_name(tmp_path: Path):
    """As tools/extract.py has cut them: the frames of CVAT's task are those of the folder, in order."""
    write_pictures(tmp_path / "JPEGImages/concert", [f"{number:05d}.jpg" for number in range(25)])
    text = cvat().replace("<source>concert.mp4</source>", "").replace("my task", "concert")
    file = write(tmp_path / "a.xml", text)
    arguments = (file, "--images", tmp_path / "JPEGImages", "--output", tmp_path / "out")
    assert convert(*arguments, "--image-fps", 5) == 0
    (video,) = json.loads((tmp_path / "out/train.json").read_text())["videos"]
    assert video["file_names"] == [f"concert/{number:05d}.jpg" for number in range(0, 25, 5)]
    assert masks_of(tmp_path / "out/train.json") == [True] * 4 + [False]


def test_only_the_part_of_a_video_that_was_annotated_is_taken(tmp_path: Path, videos: Path):
    file, out = write(tmp_path / "a.xml", cvat(frames=(10, 29, 1))), tmp_path / "out"
    assert convert(file, "--videos", videos, "--output", out) == 0
    (video,) = json.loads((out / "train.json").read_text())["videos"]
    assert video["file_names"] == ["concert/00001.jpg", "concert/00002.jpg"] and video["start"] == 1
    assert sorted(path.name for path in (out / "train/JPEGImages/concert").iterdir()) == [
        "00001.jpg", "00002.jpg",
    ]  # fmt: skip
    (record_,) = load_aviseg_json(out / "train.json")
    assert shown_seconds([np.asarray(Image.open(name)) for name in record_["file_names"]]) == [1, 2]
    assert masks_of(out / "train.json") == [True, False]
    waveform, rate = read_waveform(record_["audio_file"])
    assert len(waveform) / rate >= 3


@pytest.mark.parametrize("is_video", [True, False])
def test_pictures_of_another_rate_than_was_annotated_are_told(tmp_path: Path, caplog, is_video: bool):
    write_pictures(tmp_path / "images/concert", [f"{number:05d}.png" for number in range(4)])
    text = cvat() if is_video else cvat().replace("my task", "concert").replace("concert.mp4", "")
    assert convert(write(tmp_path / "a.xml", text), "--output", tmp_path / "out") == 0
    assert ("1 videos that were annotated frame by frame" in caplog.text) == is_video


def test_a_part_without_a_frame_is_refused(tmp_path: Path, videos: Path, capsys):
    file = write(tmp_path / "a.xml", cvat(frames=(11, 19, 1)))
    assert convert(file, "--videos", videos, "--output", tmp_path / "out") == 2
    assert "none of the 4 frames of" in capsys.readouterr().err


def test_cvat_s_export_with_pictures_is_taken_as_it_is(tmp_path: Path):
    """The frames lie in one folder beside the XML, called by their numbers in the video."""
    write_pictures(tmp_path / "images", [f"frame_{number:06d}.PNG" for number in (5, 10, 15, 20)])
    file = write(tmp_path / "annotations.xml", cvat(frames=(5, 20, 5)))
    assert convert(file, "--output", tmp_path / "out") == 0
    assert masks_of(tmp_path / "out/train.json") == [True, True, True, False]


def test_other_formats_become_splits_that_can_be_loaded(tmp_path: Path, videos: Path):
    images = write_pictures(
        tmp_path / "images",
        ["a/2.png", "a/10.png", "b/1.png", "v/x.png", "v/y.png", "v/z.png", "v/00000.png", "v/00005.png",
         "0a1b2c3d-yard.png"],
    )  # fmt: skip
    sources = {
        "coco": (write(tmp_path / "coco.json", coco()), "--images", images),
        "folders": (write(tmp_path / "coco.json", coco()), "--images", images, "--group", "folders"),
        "cocovid": (write(tmp_path / "vid.json", cocovid()), "--images", images),
        "ytvis": (write(tmp_path / "ytvis.json", youtube_vis()), "--images", images),
        "picture": (write(tmp_path / "ls.json", label_studio_picture()), "--images", images),
        "video": (write(tmp_path / "lsv.json", label_studio_video()), "--videos", videos),
        "test": (write_s4(tmp_path / "s4"),),
    }
    found = {}
    for split, arguments in sources.items():
        assert convert(*arguments, "--output", tmp_path / "out", "--split", split) == 0
        records = load_aviseg_json(tmp_path / f"out/{split}.json")
        found[split] = [(len(r["annotations"]), r["length"], r["audio_file"] is not None) for r in records]
    assert found == {
        "coco": [(1, 1, False)] * 3,
        "folders": [(2, 2, False), (1, 1, False)],
        "cocovid": [(1, 3, False)],
        "ytvis": [(1, 2, False)],
        "picture": [(3, 1, False)],
        "video": [(1, 4, True)],
        "test": [(1, 5, True)],
    }
    content = json.loads((tmp_path / "out/ytvis.json").read_text())
    assert content["videos"][0]["id"] == 7 and [c["id"] for c in content["categories"]] == [5, 9]
    assert masks_of(tmp_path / "out/video.json") == [True, True, True, False]


def test_pictures_of_a_video_file_are_found_by_their_number(tmp_path: Path, videos: Path):
    """CVAT's COCO exports call the frames of a video frame_000000.PNG, …"""
    content = coco()
    content["images"] = [
        {"id": i, "file_name": f"frame_{i:06d}.PNG", "height": HEIGHT, "width": WIDTH} for i in range(40)
    ]
    content["annotations"] = [
        {"id": i, "image_id": i, "category_id": 1, "segmentation": [[i, 0, i + 8, 0, i + 8, 8, i, 8]],
         "attributes": {"track_id": 0}}
        for i in range(35)
    ]  # fmt: skip
    file = write(tmp_path / "concert.json", content)
    assert convert(file, "--videos", videos, "--output", tmp_path / "out") == 0
    (annotation,) = json.loads((tmp_path / "out/train.json").read_text())["annotations"]
    assert [box and box[0] for box in annotation["bboxes"]] == [0, 10, 20, 30]


def test_several_files_share_their_categories(tmp_path: Path, videos: Path):
    record(videos / "second.mp4", 2, first=4, sounds=(tone(2),), size=(HEIGHT, WIDTH))
    first = write(tmp_path / "a.xml", cvat())
    second = write(tmp_path / "b.xml", cvat(source="second.mp4").replace('"cat"', '"horse"'))
    assert convert(first, second, "--videos", videos, "--output", tmp_path / "out") == 0
    content = json.loads((tmp_path / "out/train.json").read_text())
    assert [category["name"] for category in content["categories"]] == ["dog", "cat", "horse"]
    assert [entry["category_id"] for entry in content["annotations"]] == [1, 2, 1, 3]
    assert [entry["id"] for entry in content["annotations"]] == [1, 2, 3, 4]


def refused(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    assert convert(*arguments) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_missing_files_are_told_or_left_out(tmp_path: Path, videos: Path, capsys, caplog):
    out = ("--output", tmp_path / "out")
    file = write(tmp_path / "coco.json", coco())
    assert "the picture 'a/2.png' is not in" in refused(capsys, file, *out)
    images = write_pictures(tmp_path / "pictures", ["a/2.png"])
    assert "'a/10.png' is not in" in refused(capsys, file, "--images", images, *out)
    assert convert(file, "--images", images, *out, "--skip-missing") == 0
    assert "2 videos whose files are missing, left out" in caplog.text
    xml = write(tmp_path / "a.xml", cvat(source="other.mp4"))
    assert "no video 'other'" in refused(capsys, xml, "--videos", videos, "--output", tmp_path / "b")
    for option, kind in (("--videos", "videos"), ("--sounds", "sound files")):
        message = refused(capsys, xml, option, tmp_path / "x", "--output", tmp_path / "b")
        assert f"there is no folder of {kind} {tmp_path / 'x'}" in message
    assert "no annotations at" in refused(capsys, tmp_path / "x.xml", "--output", tmp_path / "b")
    assert not (tmp_path / "b" / "train.json").exists()


def test_coordinates_in_percent_are_refused(tmp_path: Path, capsys):
    content = coco()
    for number, row in enumerate(content["annotations"][:2]):
        row["segmentation"] = [[0.1, 0.1, 0.9, 0.1, 0.9, 0.8 + number / 10]]
    images = write_pictures(tmp_path / "images", ["a/2.png", "a/10.png", "b/1.png"])
    file = write(tmp_path / "coco.json", content)
    message = refused(capsys, file, "--images", images, "--output", tmp_path / "out")
    assert "they look like fractions of the frame's size" in message


def test_another_size_than_annotated_is_refused(tmp_path: Path, videos: Path, capsys):
    record(videos / "concert.mp4", 2, size=(32, 48))
    file = write(tmp_path / "a.xml", cvat())
    message = refused(capsys, file, "--videos", videos, "--output", tmp_path / "out")
    assert "annotated at 48×64, and" in message and message.endswith("is 32×48")


def test_what_is_there_is_kept_unless_it_may_be_replaced(tmp_path: Path, videos: Path, capsys, caplog):
    file, out = write(tmp_path / "a.xml", cvat()), tmp_path / "out"
    write(out / "train.json", "{}")
    write(out / "train/mine", "mine")
    arguments = (file, "--videos", videos, "--output", out)
    assert "is there already, made otherwise" in refused(capsys, *arguments)
    assert (out / "train/mine").exists() and (out / "train.json").read_text() == "{}"
    assert convert(*arguments, "--overwrite") == 0
    assert not (out / "train/mine").exists() and len(load_aviseg_json(out / "train.json")) == 1
    caplog.set_level("INFO")
    before = (out / "train.json").stat().st_mtime_ns
    assert convert(*arguments) == 0 and "complete already" in caplog.text
    assert (out / "train.json").stat().st_mtime_ns == before
    assert "made otherwise" in refused(capsys, *arguments, "--fps", 2)


def test_errors_that_the_check_finds_keep_the_split_from_its_place(tmp_path: Path, caplog):
    content = youtube_vis()
    content["videos"][0]["file_names"].reverse()
    images = write_pictures(tmp_path / "images", ["v/00000.png", "v/00005.png"])
    file = write(tmp_path / "ytvis.json", content)
    assert convert(file, "--images", images, "--output", tmp_path / "out") == 1
    assert "nothing is put in place" in caplog.text and not (tmp_path / "out/train.json").exists()
    assert "its frames are reversed" in caplog.text and not (tmp_path / "out/train").exists()


BAD_RLE = {"size": [HEIGHT, WIDTH], "counts": "PPP"}


@pytest.mark.parametrize("is_video", [False, True])
def test_malformed_masks_are_told_before_frames_are_made(
    tmp_path: Path, videos: Path, capsys, monkeypatch, is_video: bool
):
    content = youtube_vis()
    content["annotations"][0]["segmentations"][1] = BAD_RLE
    content["videos"][0]["file_names"] = ["concert/0.png", "concert/10.png"]
    write_pictures(tmp_path / "images", content["videos"][0]["file_names"])
    media = ("--videos", videos) if is_video else ("--images", tmp_path / "images")
    monkeypatch.setattr(
        "avis.dataset_tools.conversion._make_files", lambda *_: pytest.fail("frames are made")
    )
    file = write(tmp_path / "a.json", content)
    assert convert(file, *media, "--output", tmp_path / "out") == 2
    assert "frame 1: the RLE is malformed" in capsys.readouterr().err


def test_boxes_of_pictures_in_a_video_are_counted_once(tmp_path: Path, videos: Path, caplog):
    content = cocovid()
    content["videos"][0]["name"] = "concert"
    for row in content["annotations"]:
        del row["segmentation"]
        row["bbox"] = [2, 2, 9, 9]
    assert convert(write(tmp_path / "a.json", content), "--videos", videos, "--output", tmp_path / "out") == 0
    assert "2 boxes became masks" in caplog.text


@pytest.mark.parametrize("place", ["annotations", "pictures"])
def test_what_is_read_is_never_replaced(tmp_path: Path, capsys, place: str):
    root = write_pictures(tmp_path / "images", [row["file_name"] for row in coco()["images"]])
    file = write(tmp_path / "train.json", coco())
    output = ("--output", tmp_path) if place == "annotations" else ("--output", tmp_path, "--split", "images")
    assert convert(file, "--images", root, *output, "--overwrite") == 2
    assert "is read, and lies where the split would be put" in capsys.readouterr().err
    assert file.is_file() and len(list(root.rglob("*.png"))) == 3


def test_more_pictures_a_second_than_there_are_is_refused(tmp_path: Path, capsys):
    file = write(tmp_path / "a.json", cocovid())
    assert convert(file, "--image-fps", 1, "--fps", 2, "--output", tmp_path / "out") == 2
    assert "there are 1 pictures a second (--image-fps), and 2 cannot be taken" in capsys.readouterr().err


def test_what_was_left_out_is_told_although_nothing_is_left(tmp_path: Path, caplog):
    assert convert(write_s4(tmp_path / "s4"), "--split", "val", "--output", tmp_path / "out") == 2
    assert "1 videos without pictures and masks, left out" in caplog.text


def test_missing_sound_is_no_error(tmp_path: Path, caplog):
    write_pictures(tmp_path / "images", [row["file_name"] for row in coco()["images"]])
    file = write(tmp_path / "a.json", coco())
    assert convert(file, "--output", tmp_path / "out") == 0
    assert "warning: video 1: there is neither" in caplog.text and "error" not in caplog.text


def test_uploaded_pictures_are_found_by_their_own_names(tmp_path: Path):
    write_pictures(tmp_path / "images", ["yard.png"])
    assert convert(write(tmp_path / "a.json", label_studio_picture()), "--output", tmp_path / "out") == 0
    assert (tmp_path / "out/train/JPEGImages/yard/yard.png").is_file()


def test_a_video_may_lie_in_the_folder_of_another(tmp_path: Path):
    content = coco()
    names = ["a/0.png", "a.png", "b.png"]
    for row, name in zip(content["images"], names, strict=True):
        row["file_name"] = name
    write_pictures(tmp_path / "images", names)
    assert convert(write(tmp_path / "c.json", content), "--output", tmp_path / "out") == 0
    written = (tmp_path / "out/train/JPEGImages").rglob("*.png")
    assert sorted(path.relative_to(tmp_path / "out/train/JPEGImages").as_posix() for path in written) == [
        "a/0/0.png", "a/a.png", "b/b.png",
    ]  # fmt: skip


def test_an_object_that_is_there_twice_is_left_out(tmp_path: Path, caplog):
    content = coco()
    content["annotations"].append({**content["annotations"][0], "id": 9})
    images = write_pictures(tmp_path / "images", ["a/2.png", "a/10.png", "b/1.png"])
    file = write(tmp_path / "coco.json", content)
    assert convert(file, "--images", images, "--output", tmp_path / "out") == 0
    assert "1 objects that are there twice, left out" in caplog.text
    assert len(json.loads((tmp_path / "out/train.json").read_text())["annotations"]) == 3


COMMAND = [sys.executable, str(ROOT / "tools/convert_dataset.py")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_ended_run_leaves_nothing_in_place_and_goes_on(
    tmp_path: Path, videos: Path, number: signal.Signals
):
    names = [f"part{index}" for index in range(6)]
    for name in names:
        (videos / f"{name}.mp4").write_bytes((videos / "concert.mp4").read_bytes())
    files = [write(tmp_path / f"{name}.xml", cvat(source=f"{name}.mp4")) for name in names]
    out = tmp_path / "out"
    command = [*COMMAND, *map(str, files), "--videos", str(videos), "--output", str(out), "--fps", "50"]
    states = out / ".train.unfinished/videos"
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE
    ) as run:
        while not list(states.glob("[0-9]*.json")):
            assert run.poll() is None
            time.sleep(0.005)
        run.send_signal(number)
        run.communicate(timeout=30)
    assert run.returncode not in (0, 1, 2)
    assert not (out / "train.json").exists() and not (out / "train").exists()
    done = {path.name: path.stat().st_mtime_ns for path in states.glob("[0-9]*.json")}
    assert 1 <= len(done) < len(names)
    assert convert(*files, "--videos", videos, "--output", out, "--fps", 50) == 0
    assert [record_["length"] for record_ in load_aviseg_json(out / "train.json")] == [200] * len(names)
    assert sorted(path.name for path in out.iterdir()) == ["train", "train.json"]


def test_a_run_killed_between_its_last_two_steps_is_finished(tmp_path: Path, videos: Path, monkeypatch):
    file, out = write(tmp_path / "a.xml", cvat()), tmp_path / "out"
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        assert convert(file, "--videos", videos, "--output", out) == 130
    assert (out / "train").is_dir() and not (out / "train.json").exists()
    assert convert(file, "--videos", videos, "--output", out) == 0
    assert len(load_aviseg_json(out / "train.json")) == 1 and not (out / ".train.unfinished").exists()


def test_a_changed_video_is_cut_anew(tmp_path: Path, videos: Path, monkeypatch):
    """A run that goes on does not keep the frames of what the video was before."""
    file, out = write(tmp_path / "a.xml", cvat()), tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(
            "avis.dataset_tools.conversion.write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert convert(file, "--videos", videos, "--output", out) == 130
    record(videos / "concert.mp4", 2, first=3, sounds=(tone(2),), size=(HEIGHT, WIDTH))
    assert convert(file, "--videos", videos, "--output", out) == 0
    (record_,) = load_aviseg_json(out / "train.json")
    assert shown_seconds([np.asarray(Image.open(name)) for name in record_["file_names"]]) == [3, 4]


def test_multiple_sources_of_avsbench_are_one_object(tmp_path: Path):
    root = tmp_path / "Multi-sources"
    write(root / "ms3_meta_data.csv", "video_id,split\nduet,test\nother,train\n")
    write_pictures(root / "ms3_data/visual_frames/duet", [f"duet.mp4_{second}.png" for second in range(1, 6)])
    for second in range(1, 6):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[:4, :second] = mask[20:24, 30:34] = 255
        file = root / f"ms3_data/gt_masks/test/duet/duet_{second}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(file)
    write_wav(root / "ms3_data/audio_wav/test/duet.wav", 0.3 * np.sin(np.arange(5 * 16000)))
    assert convert(root, "--output", tmp_path / "out", "--split", "test") == 0
    content = json.loads((tmp_path / "out/test.json").read_text())
    assert [entry["areas"] for entry in content["annotations"]] == [[20, 24, 28, 32, 36]]
    assert (tmp_path / "out/test/WAVAudios/duet.wav").is_file()


def test_avtrack_keeps_its_people(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    meta = write_avtrack(tmp_path / "avtrack", pictures=True)
    truth, arguments = load_ground_truth(meta), (meta.parent, "--output", tmp_path / "out", "--split", "test")
    code = convert(*arguments)
    assert code == 0, caplog.text
    found = load_ground_truth(tmp_path / "out/test.json")
    for video_id in truth.videos:
        expected = [list(track.masks) for track in truth.tracks[video_id] if any(track.masks)]
        assert [list(track.masks) for track in found.tracks[video_id]] == expected
    assert found.categories == {1: "speaker"} and "frames without a mask file" in caplog.text
