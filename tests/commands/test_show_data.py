"""A data set as one page: what it shows, what it plays, and what it refuses."""

import base64
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avis.commands.show_data import main, parse
from avis.config import get_avis_cfg
from avis.data import build_train_loader
from avis.dataset_tools.gallery.pictures import PEAKS
from avis.dataset_tools.gallery.samples import ROWS
from avis.media.video import read_waveform
from tests.avtrack_folder import recorded, write_avtrack
from tests.data.test_neighbours import WRITERS
from tests.evaluation.chromium import needs_chromium, open_browser
from tests.evaluation.test_report import ParsedPage
from tests.small_dataset import LENGTH, edit, tone_hz, write_split, write_wav

ROOT = Path(__file__).parents[2]
SMALL_CLIPS = ("INPUT.SAMPLING_FRAME_NUM", "3", "INPUT.MIN_SIZE_TRAIN", "(48,)", "INPUT.FORMAT", "RGB")


def show(output: Path, *arguments: object) -> ParsedPage:
    main([*map(str, arguments), "--output", str(output)])
    return ParsedPage(output.read_text(encoding="utf-8"))


def refused(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


def content_of(uri: str, kind: str) -> bytes:
    head, _, content = uri.partition(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(content)


def picture_of(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content_of(uri, "image/jpeg"))))


@pytest.fixture(scope="module")
def json_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_split(tmp_path_factory.mktemp("shown") / "data", num_videos=3)


@pytest.fixture(scope="module")
def page_file(json_file: Path) -> Path:
    path = json_file.parent / "page.html"
    show(path, "--dataset", json_file, "--videos", 2, "--clips", 2, *SMALL_CLIPS)
    return path


@pytest.fixture(scope="module")
def page(page_file: Path) -> ParsedPage:
    return ParsedPage(page_file.read_text(encoding="utf-8"))


def test_the_page_has_videos_and_clips(page: ParsedPage):
    cards = [card for card in page.all("article")]
    assert ["data-seconds" in card for card in cards] == [True, True, False, False]
    assert float(cards[0]["data-seconds"]) == LENGTH
    assert len(page.all("audio")) == 2
    # All frames of two videos; of two clips three frames as they are, as the model gets them, and its sound.
    assert len(page.all("img")) == 2 * LENGTH + 2 * 3 * 3
    descriptions = [svg["aria-label"] for svg in page.all("svg")]
    assert descriptions.count("waveform") == 2
    assert descriptions.count(f"violin sounds in 3 of {LENGTH} frames") == 2
    assert descriptions.count(f"dog sounds in {LENGTH - 2} of {LENGTH} frames") == 2
    assert "Frame 1: dog" in [image["alt"] for image in page.all("img")]


def test_the_page_needs_nothing_and_tells_nothing_of_this_machine(page_file: Path, page: ParsedPage):
    text = page_file.read_text(encoding="utf-8")
    assert "http:" not in text and "https:" not in text and "url(" not in text
    assert str(page_file.parents[1]) not in text and "data/train.json" in page.texts
    for _, attributes in page.elements:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#"))


def test_the_same_command_gives_the_same_page(page_file: Path, json_file: Path, tmp_path: Path):
    arguments = ("--dataset", json_file, "--videos", 2, "--clips", 2, *SMALL_CLIPS)
    show(tmp_path / "again.html", *arguments)
    assert (tmp_path / "again.html").read_bytes() == page_file.read_bytes()
    show(tmp_path / "other.html", *arguments, "--seed", 5)
    assert (tmp_path / "other.html").read_bytes() != page_file.read_bytes()


def test_clips_are_those_of_a_training(json_file: Path, tmp_path: Path):
    page = show(
        tmp_path / "page.html", "--dataset", json_file, "--clips", 4, "--videos", 0, "--seed", 7, *SMALL_CLIPS
    )
    cfg = get_avis_cfg("", [*SMALL_CLIPS, "DATASETS.TRAIN", (str(json_file),), "SEED", 7])
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, cfg.DATALOADER.NUM_WORKERS = 2, 0
    cfg.DATASETS.TEST, cfg.SOLVER.IMS_PER_BATCH = (), 4
    clips = next(iter(build_train_loader(cfg)))
    shown = [text for text in page.texts if text.startswith("frames ")]
    for clip, text in zip(clips, shown, strict=True):
        assert text.startswith(f"frames {', '.join(map(str, clip['frame_indices']))} of {LENGTH}")
        assert text.endswith(
            "64×48 → {}×{} · hears the log-mel of each frame".format(*clip["image"].shape[:1:-1])
        )


def test_without_augmentation_the_model_gets_the_frames(json_file: Path, tmp_path: Path):
    for image_format in ("RGB", "BGR"):
        page = show(
            tmp_path / "page.html", "--dataset", json_file, "--clips", 2, "--videos", 0, *SMALL_CLIPS,
            "INPUT.FORMAT", image_format, "INPUT.RANDOM_FLIP", "none", "INPUT.AUGMENTATIONS", "[]",
        )  # fmt: skip
        images = [image for image in page.all("img") if "heard" not in image.get("class", "")]
        for original, augmented in zip(images[::2], images[1::2], strict=True):
            assert np.array_equal(picture_of(original["src"]), picture_of(augmented["src"]))


def test_a_flip_shows(json_file: Path, tmp_path: Path):
    page = show(
        tmp_path / "page.html", "--dataset", json_file, "--clips", 3, "--videos", 0, *SMALL_CLIPS,
        "INPUT.RANDOM_FLIP", "horizontal", "INPUT.AUGMENTATIONS", "[]", "--seed", 1,
    )  # fmt: skip
    images = [picture_of(i["src"]) for i in page.all("img") if "heard" not in i.get("class", "")]
    pairs = list(zip(images[::2], images[1::2], strict=True))
    # The violin is left of the middle, the dog right of it: their mass tells the flip.
    is_flipped = [np.abs(a.astype(int) - b).mean() > 20 for a, b in pairs]
    assert any(is_flipped) and not all(is_flipped)


def test_the_sound_is_that_of_the_video(page: ParsedPage, tmp_path: Path):
    """Second k of a video is a tone of its own."""
    (tmp_path / "sound.mp4").write_bytes(content_of(page.all("audio")[0]["src"], "audio/mp4"))
    waveform, rate = read_waveform(tmp_path / "sound.mp4")
    assert len(waveform) / rate == pytest.approx(LENGTH, abs=0.1)
    name = next(text for text in page.texts if text.startswith("clip"))
    video_id = int(name.removeprefix("clip"))
    for second in range(LENGTH):
        middle = waveform[int((second + 0.25) * rate) : int((second + 0.75) * rate)]
        loudest = np.abs(np.fft.rfft(middle)).argmax() * rate / len(middle)
        assert loudest == pytest.approx(tone_hz(video_id, second), abs=5)


def test_names_are_text_not_markup(tmp_path: Path):
    json_file = write_split(tmp_path / "a<b>&", num_videos=1)
    name = "<script>alert('&')</script>"
    edit(json_file, lambda content: content["categories"][0].update(name=name))
    page = show(tmp_path / "page.html", "--dataset", json_file, *SMALL_CLIPS)
    assert len(page.all("script")) == 1 and any(name in text for text in page.texts)
    assert "a<b>&/train.json" in page.texts


def test_the_page_is_not_larger_than_asked_for(tmp_path: Path):
    json_file = write_split(tmp_path / "data", num_videos=3)
    for video in (1, 2, 3):
        noise = np.random.default_rng(video).uniform(-1, 1, 16000 * LENGTH)
        write_wav(next(tmp_path.glob(f"data/train/WAVAudios/*{video}.wav")), noise)
    for megabytes, cut in ((0.5, False), (0.2, True)):
        page = show(
            tmp_path / "page.html", "--dataset", json_file, "--clips", 0, "--max-mb", megabytes, *SMALL_CLIPS
        )
        assert (tmp_path / "page.html").stat().st_size <= megabytes * 1e6
        assert any("(--max-mb)" in text for text in page.texts) == cut


def test_what_does_not_fit_is_counted(json_file: Path, tmp_path: Path):
    page = show(tmp_path / "page.html", "--dataset", json_file, "--clips", 0, "--max-mb", 0.1, *SMALL_CLIPS)
    left_out = 3 - len(page.all("article"))
    assert 0 < left_out < 3
    assert f"{left_out} videos or clips did not fit into 0.1 MB (--max-mb)." in page.texts


def test_named_videos(json_file: Path, tmp_path: Path, capsys):
    page = show(tmp_path / "page.html", "--dataset", json_file, "--clips", 0, "--names", "clip2", "3")
    assert [text for text in page.texts if text.startswith("clip")] == ["clip2", "clip3"]
    arguments = ("--dataset", json_file, "--output", tmp_path / "page.html", "--names", "clip9")
    assert "there is no video 'clip9'; there are clip1, clip2, clip3" in refused(capsys, *arguments)


@pytest.mark.parametrize("kind", WRITERS)
def test_data_sets_without_sound(tmp_path: Path, kind: str):
    path = WRITERS[kind](tmp_path / "data")
    page = show(
        tmp_path / "page.html", "--dataset", path, "--clips", 2, *SMALL_CLIPS,
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS", "False",
    )  # fmt: skip
    assert "No sound." in page.texts and page.all("audio") == []
    assert len(page.all("article")) >= 3


def test_avtrack(tmp_path: Path):
    meta = write_avtrack(tmp_path / "avtrack", pictures=True)
    page = show(tmp_path / "page.html", "--dataset", meta)
    assert "A test set has no training clips." in page.texts and page.all("audio")
    assert len(page.all("article")) == min(6, len(recorded()["videos"]))
    assert any(svg["aria-label"].startswith("speaker sounds in") for svg in page.all("svg"))


def test_a_registered_name_and_the_config_s_data_sets(tmp_path: Path):
    """In a process of its own: names are registered when the package is imported."""
    write_split(tmp_path, "train", num_videos=1)
    environment = {**os.environ, "DETECTRON2_DATASETS": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "tools/show_data.py", "--config-file", ROOT / "configs/avis_R50.yaml"]
    done = subprocess.run(
        [*command, "--output", tmp_path / "page.html", "--clips", "1", *SMALL_CLIPS],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = ParsedPage((tmp_path / "page.html").read_text())
    assert "avis_train" in page.texts and len(page.all("article")) == 2
    assert "videos: 1 · categories: 2 · avis_R50.yaml · seed 0" in page.texts


def test_key_value_pairs_may_follow_a_list(json_file: Path, tmp_path: Path):
    arguments = ["--output", "p.html", "--names", "clip1", "INPUT.FPS", "2", "MODEL.AUDIO.NAME", ""]
    args = parse(["--dataset", str(json_file), *arguments])
    assert (args.dataset, args.names) == ([str(json_file)], ["clip1"])
    assert args.opts == ["INPUT.FPS", "2", "MODEL.AUDIO.NAME", ""]


def test_mixed_data_sets_say_of_which_each_video_is(json_file: Path, tmp_path: Path):
    other = write_split(tmp_path / "more", "val", num_videos=1)
    page = show(tmp_path / "page.html", "--dataset", json_file, other, "--clips", 1, *SMALL_CLIPS)
    assert {"data/train.json", "more/val.json"} <= set(page.texts)


def test_a_split_without_annotations(tmp_path: Path):
    json_file = write_split(tmp_path / "data", num_videos=1)
    edit(json_file, lambda content: content.update(annotations=[]))
    page = show(tmp_path / "page.html", "--dataset", json_file, *SMALL_CLIPS)
    assert "Nothing is annotated, so there are no training clips." in page.texts
    assert len(page.all("article")) == 1 and len(page.all("audio")) == 1


def test_many_objects_and_long_videos_stay_short(tmp_path: Path):
    json_file = write_split(tmp_path / "data", num_videos=1, length=20)

    def crowd(content: dict) -> None:
        first = content["annotations"][0]
        content["annotations"] += [{**first, "id": 10 + number} for number in range(20)]
        content["annotations"][1]["iscrowd"] = 1

    edit(json_file, crowd)
    page = show(tmp_path / "page.html", "--dataset", json_file, "--clips", 0)
    assert len(page.all("img")) == 8 and len(page.all("svg")) == 1 + ROWS
    assert f"and {21 - ROWS} more objects" in page.texts
    assert any("1 marked as crowd, not drawn" in text for text in page.texts)
    assert any("21 × violin" in text for text in page.texts)


def break_frame(folder: Path) -> None:
    next(folder.glob("train/JPEGImages/*/*")).write_bytes(b"no picture")


def break_sound(folder: Path) -> None:
    next(folder.glob("train/WAVAudios/*")).write_bytes(b"no sound")


def remove_videos(folder: Path) -> None:
    edit(folder / "train.json", lambda content: content.update(videos=[], annotations=[]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_frame, "cannot be read as a picture"),
        (break_sound, ".wav"),
        (remove_videos, "train.json"),
        (lambda folder: (folder / "train.json").write_text("{"), "is not valid JSON"),
        (lambda folder: (folder / "train.json").unlink(), "no annotations at"),
    ],
)
def test_damaged_data_sets_are_named(damage, message: str, tmp_path: Path, capsys):
    json_file = write_split(tmp_path / "data", num_videos=1)
    damage(json_file.parent)
    told = refused(capsys, "--dataset", json_file, "--output", tmp_path / "page.html", "--clips", 0)
    assert message in told and str(tmp_path) in told and not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "page.txt"], "the name of a page ends in .html"),
        (["--output", "missing/page.html"], "there is no folder"),
        (["--output", "other.html"], "exists and is not such a page"),
        (["--output", "p.html", "--videos", "0", "--clips", "0"], "there is nothing to show"),
        (["--output", "p.html", "--max-mb", "0"], "'0' must be a number above 0"),
        (["--output", "p.html", "--max-mb", "0.01"], "not one video or clip fits"),
        (["--output", "p.html", "--videos", "-1"], "'-1' must be a whole number of 0 or more"),
        (["--output", "p.html", "--dataset", "avis_tain"], "unknown data set 'avis_tain'"),
    ],
)
def test_bad_command_lines_are_refused(
    arguments: list[str], message: str, json_file: Path, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.html").write_text("<html>my own page</html>")
    dataset = [] if "--dataset" in arguments else ["--dataset", str(json_file)]
    assert message in refused(capsys, *dataset, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["other.html"]
    assert (tmp_path / "other.html").read_text() == "<html>my own page</html>"


@needs_chromium
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_page_in_a_browser(page_file: Path, width: int, dark: bool):
    with open_browser(width, dark) as (page, messages, requests):
        page.goto(page_file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        durations = page.evaluate("[...document.querySelectorAll('audio')].map(a => a.duration)")
        assert durations == pytest.approx([LENGTH] * 2, abs=0.1)
        page.evaluate("document.querySelector('audio').currentTime = 3.5")
        position = "Number(document.querySelector('.cursor').style.getPropertyValue('--at'))"
        assert page.wait_for_function(position).json_value() == pytest.approx(3.5 / LENGTH, abs=0.01)
        shown = page.evaluate(
            "[...document.querySelector('.card').querySelectorAll('.now')].map(f => f.dataset.second)"
        )
        assert list(map(float, shown)) == [3.0]
        buttons = "[...document.querySelectorAll('.player button')].filter(b => b.offsetWidth > 60)"
        assert page.evaluate(f"{buttons}.map(b => b.textContent)") == ["Play"] * 2
        assert page.evaluate("document.querySelector('.clock').textContent") == f"3.5 of {LENGTH} s"
        assert messages == []
        assert all(address.startswith(("file:", "data:")) for address in requests)


def test_waves_and_pictures_are_of_bounded_size(page: ParsedPage):
    (polygon, *_) = page.all("polygon")
    assert len(re.findall(r" ", polygon["points"])) == 4 * PEAKS - 1
    sizes = [picture_of(image["src"]).shape for image in page.all("img")]
    assert max(shape[1] for shape in sizes) <= 320 and max(shape[0] for shape in sizes) <= 220
