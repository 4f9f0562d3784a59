import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avis.dataset_tools.validation import validate_dataset, validate_datasets
from avis.formats.aviseg import read_annotations
from tests import preloaded
from tests.small_dataset import HEIGHT, LENGTH, WIDTH, edit, tones, write_wav

TOOL = Path(__file__).parents[2] / "tools" / "validate_dataset.py"


def test_a_sound_data_set_has_no_problems(train_json):
    assert validate_dataset(train_json) == []


def test_all_violations_of_the_format_are_listed(train_json):
    edit(train_json, lambda content: [annotation.pop("id") for annotation in content["annotations"]])
    problems = validate_dataset(train_json)
    assert len(problems) == 7 and all("'id' is missing" in str(problem) for problem in problems[:6])
    assert "frames, masks and sound are checked once the above is mended" in str(problems[6])


@pytest.fixture
def broken_json(train_json):
    """One problem of each kind, and the expected messages."""
    split = train_json.parent / "train"
    frames = split / "JPEGImages" / "clip1"
    (frames / "00001.png").unlink()
    (frames / "00002.png").write_bytes((frames / "00002.png").read_bytes()[:60])
    Image.new("RGB", (WIDTH, HEIGHT - 1)).save(frames / "00003.png")
    content = (split / "WAVAudios" / "clip1.wav").read_bytes()
    (split / "WAVAudios" / "clip1.wav").write_bytes(content[: len(content) // 2])
    write_wav(split / "WAVAudios" / "clip2.wav", tones(2, LENGTH - 2))
    (split / "WAVAudios" / "clip3.wav").unlink()
    (split / "FEATAudios").mkdir()
    np.save(split / "FEATAudios" / "clip2.npy", np.zeros((LENGTH - 1, 128)))

    def break_a_mask(content):
        content["annotations"][2]["segmentations"][4] = {"size": [HEIGHT, WIDTH], "counts": "0d0"}

    return edit(train_json, break_a_mask)


EXPECTED = [
    ("video 1 frame 1", "00001.png cannot be read"),
    ("video 1 frame 2", "00002.png cannot be read"),
    ("video 1 frame 3", "is 47×64, the annotations say 48×64"),
    ("clip1.wav lasts 2.999", "the last frame is at 5 s"),
    ("video 2 annotation 3 frame 4", "RLE covers 20 pixels"),
    ("video 2", "clip2.wav lasts 4 s, the last frame is at 5 s"),
    ("video 2", "shape (5, 128), not (6, 128)"),
    ("video 3", "neither a file in WAVAudios nor one in FEATAudios"),
]


def test_all_broken_files_are_listed(broken_json):
    problems = validate_dataset(broken_json)
    assert len(problems) == len(EXPECTED)
    for problem, parts in zip(problems, EXPECTED, strict=True):
        assert all(part in str(problem) for part in parts), problem


def of_kind(json_file, kind):
    """The only problem of a kind, and that no other kind is found: some of the clips' frames are alike."""
    alike = {"video that is there twice"} - {kind}
    problems = [problem for problem in validate_dataset(json_file) if problem.kind not in alike]
    assert {problem.kind for problem in problems} == {kind}, problems
    assert len(problems) == 1, problems
    return problems[0]


def video(content, **changes):
    content["videos"][0].update(changes)


def names(content):
    return content["videos"][0]["file_names"]


def duplicate(content):
    content["annotations"].append({**content["annotations"][0], "id": 99})


def polygons(content, scale=(1, 1), swap=False):
    """All masks as polygons, of the first object right."""
    for entry in content["annotations"]:
        top, left = 6, 4 + 30 * (entry["category_id"] == 7)
        corners = [(left, top), (left + 20, top), (left + 20, top + 30), (left, top + 30)]
        corners = [(x * scale[0], y * scale[1]) for x, y in corners]
        outline = [value for x, y in corners for value in ((y, x) if swap else (x, y))]
        entry["segmentations"] = [mask and [outline] for mask in entry["segmentations"]]


def first_boxes(content, box):
    content["annotations"][0]["bboxes"] = [box if mask else None for mask in first_masks(content)]


def first_masks(content):
    return content["annotations"][0]["segmentations"]


FAULTS = {
    "windows": (
        lambda c: video(c, file_names=[name.replace("/", "\\") for name in names(c)]),
        ("warning", "Windows separators", r"clip1\\00000.png"),
    ),
    "box as polygon": (
        lambda c: first_masks(c).__setitem__(2, [[4, 4, 20, 20]]),
        ("warning", "empty mask", "video 1 annotation 1 frame 2"),
    ),
    "empty RLE": (
        lambda c: first_masks(c).__setitem__(1, {"size": [48, 64], "counts": ""}),
        ("warning", "empty mask", "video 1 annotation 1 frame 1"),
    ),
    "area": (
        lambda c: c["annotations"][0].update(areas=[320, None, 640, None, 320, None]),
        ("error", "wrong area", "1 areas are wrong, in frame 2 640, the mask has 320 pixels"),
    ),
    "box": (
        lambda c: first_boxes(c, [40, 3, 20, 16]),
        ("warning", "wrong box", "3 boxes are wrong, in frame 0"),
    ),
    "swapped box": (
        lambda c: first_boxes(c, [5, 4, 16, 20]),
        ("warning", "wrong box", "x and y are swapped"),
    ),
    "corners": (lambda c: first_boxes(c, [4, 3, 24, 19]), ("warning", "wrong box", "two corners")),
    "duplicate": (duplicate, ("error", "duplicated object", "annotation 99: .* duplicate of annotation 1")),
    "reversed": (
        lambda c: video(c, file_names=names(c)[::-1]),
        ("error", "reversed frames", "from clip1/00005.png to clip1/00000.png"),
    ),
    "mixed": (
        lambda c: video(c, file_names=[names(c)[i] for i in (0, 1, 4, 3, 2, 5)]),
        ("error", "mixed frames", "clip1/00003.png follows clip1/00004.png"),
    ),
    "twice": (
        lambda c: video(c, file_names=[names(c)[i] for i in (0, 1, 2, 2, 4, 5)]),
        ("error", "the same frame twice", "1 frames are repeated, the first is clip1/00002.png"),
    ),
    "other folder": (
        lambda c: video(c, file_names=[*names(c)[:5], "clip2/00005.png"]),
        ("error", "frames of several videos", "2 folders"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_annotations_are_found(train_json, fault):
    change, (severity, kind, message) = FAULTS[fault]
    problem = of_kind(edit(train_json, change), kind)
    assert problem.severity == severity and re.search(message, problem.message)
    assert problem.where.startswith("video 1")


def test_polygons_that_are_right_are_no_fault(train_json):
    assert validate_dataset(edit(train_json, polygons)) == []


def test_swapped_coordinates_are_found(train_json):
    problems = validate_dataset(edit(train_json, lambda c: polygons(c, swap=True)))
    swapped = [problem for problem in problems if problem.kind == "x and y swapped"]
    assert len(swapped) == 3  # the other object fits the frame either way
    assert all(problem.severity == "error" for problem in swapped)


@pytest.mark.parametrize(("largest", "unit"), [(1, "fractions"), (100, "percent")])
def test_coordinates_in_percent_are_found(train_json, largest, unit):
    def enlarge(content):
        polygons(content, scale=(largest / WIDTH, largest / HEIGHT))
        for entry in content["videos"]:
            entry.update(width=10 * WIDTH, height=10 * HEIGHT)

    for file in (train_json.parent / "train" / "JPEGImages").glob("*/*.png"):
        Image.open(file).resize((10 * WIDTH, 10 * HEIGHT)).save(file)
    problems = validate_dataset(edit(train_json, enlarge))
    told = [problem for problem in problems if problem.kind == "coordinates in percent"]
    assert len(told) == 1 and told[0].severity == "error" and unit in told[0].message


def split_in_two(content, *starts):
    first = content["videos"][0]
    second = {**first, "id": 9, "file_names": first["file_names"][3:], "length": 3}
    first.update(file_names=first["file_names"][:3], length=3)
    for entry, start in zip((first, second), starts, strict=False):
        entry["start"] = start
    content["videos"].append(second)
    content["annotations"] = []


def test_videos_of_one_folder_need_a_start(train_json):
    whole = train_json.read_text()
    problem = of_kind(edit(train_json, split_in_two), "several videos of one folder")
    assert problem.severity == "error" and '"start"' in problem.message
    train_json.write_text(whole)
    alike = validate_dataset(edit(train_json, lambda c: split_in_two(c, 0, 3)))
    assert {problem.kind for problem in alike} <= {"video that is there twice"}
    train_json.write_text(whole)
    late = of_kind(edit(train_json, lambda c: split_in_two(c, 0, 4)), "sound too short")
    assert "lasts 6 s, the last frame is at 6 s" in late.message


def frame(train_json, video, index):
    return train_json.parent / "train" / "JPEGImages" / video / f"{index:05d}.png"


def test_repeated_frames_are_found_by_their_content(train_json):
    shutil.copy(frame(train_json, "clip1", 2), frame(train_json, "clip1", 4))
    problem = of_kind(train_json, "repeated frames")
    assert problem.severity == "warning" and "00004.png has the content of 00002.png" in problem.message


def test_a_gap_in_the_frames_is_found(train_json):
    frame(train_json, "clip1", 5).rename(frame(train_json, "clip1", 7))
    edit(train_json, lambda c: names(c).__setitem__(5, "clip1/00007.png"))
    assert of_kind(train_json, "gap in the frames").severity == "warning"


def test_a_reversed_copy_of_a_video_is_found(train_json):
    for index in range(LENGTH):
        shutil.copy(frame(train_json, "clip1", index), frame(train_json, "clip2", LENGTH - 1 - index))
    problem = of_kind(train_json, "video that is there twice")
    assert "6 of its frames are those of video 1, in reversed order" in problem.message


def test_splits_that_share_a_video_are_found(train_json):
    val = train_json.with_name("val.json")
    shutil.copytree(train_json.with_name("train"), val.with_name("val"))
    shutil.copy(train_json, val)

    def keep_the_second(content):
        content["videos"] = [{**content["videos"][1], "id": "a"}]
        content["annotations"] = []

    edit(val, keep_the_second)
    found = validate_datasets([train_json, val])
    assert found[str(train_json)] == []
    (problem,) = found[str(val)]
    assert problem.kind == "video in two splits" and problem.severity == "error"
    assert f"those of video 2 of {train_json}" in problem.message


@pytest.mark.parametrize(("heard", "severity"), [(0, "error"), (3, "warning")])
def test_silence_under_sounding_masks_is_found(train_json, heard, severity):
    sound = tones(1, LENGTH)
    sound[heard * 16000 :] = 0
    write_wav(train_json.parent / "train" / "WAVAudios" / "clip1.wav", sound)
    problem = of_kind(train_json, "silence under sounding masks")
    assert (
        problem.severity == severity and "first 3" in problem.message if heard else "of 5" in problem.message
    )


def test_silence_without_masks_is_no_fault(train_json):
    write_wav(train_json.parent / "train" / "WAVAudios" / "clip1.wav", np.zeros(LENGTH * 16000))
    edit(train_json, lambda c: c.update(annotations=c["annotations"][2:]))
    assert validate_dataset(train_json) == []


def test_sound_much_longer_than_the_picture_is_found(train_json):
    write_wav(train_json.parent / "train" / "WAVAudios" / "clip1.wav", tones(1, 3 * LENGTH))
    problem = of_kind(train_json, "sound too long")
    assert (
        problem.severity == "warning" and "lasts 18 s, much longer than the picture, 6 s" in problem.message
    )


FOREIGN = {
    "COCO": {"images": [{"id": 1}], "annotations": [{"id": 1, "image_id": 1}], "categories": []},
    "CocoVID": {"videos": [{"id": 1}], "images": [], "annotations": [{"id": 1, "image_id": 1}]},
    "VIA": {"a.jpg123": {"filename": "a.jpg", "regions": []}},
    "labelme": {"shapes": [], "imagePath": "a.jpg"},
    "Label Studio": [{"data": {}, "annotations": []}],
    "CVAT": '<?xml version="1.0"?>\n<annotations></annotations>',
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_formats_are_called_by_name(tmp_path, name):
    content, file = FOREIGN[name], tmp_path / "file.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    problem = validate_dataset(file)[0]
    assert f"this is {'a ' * (name not in ('CVAT',))}{name}" in problem.message
    assert "wanted is the AVISeg format" in problem.message and "datasets/README.md" in problem.message
    with pytest.raises(ValueError, match=f"file.json: this is .*{name}"):
        read_annotations(file)


def test_a_picture_size_of_billions_takes_no_memory(train_json):
    huge = {"size": [60000, 60000], "counts": [3_600_000_000]}

    def change(content):
        video(content, height=60000, width=60000)
        content["annotations"] = [{**content["annotations"][0], "segmentations": [huge] * LENGTH}]

    problems = validate_dataset(edit(train_json, change))
    assert "60000×60000 pixels are more than a picture may have" in problems[0].message


def test_deep_json_is_one_line(train_json):
    train_json.write_text("[" * 100_000)
    (problem,) = validate_dataset(train_json)
    assert "is not valid JSON" in problem.message and "\n" not in problem.message


def test_what_is_safe_is_mended_in_a_copy(train_json, tmp_path):
    def spoil(content):
        duplicate(content)
        video(content, file_names=[name.replace("/", "\\") for name in names(content)])
        first_masks(content)[1] = [[1, 1, 4, 4]]
        content["annotations"][0].update(areas=[1, 9, 320, None, 320, None])
        first_boxes(content, [40, 3, 20, 16])

    before = edit(train_json, spoil).read_text()
    mended = train_json.with_name("mended.json")
    arguments = ["--json", train_json, "--fix", mended, "--report", tmp_path / "report.json"]
    result = run_tool(*arguments)
    assert result.returncode == 1 and "mended.json: mended " in result.stdout, result.stderr
    assert train_json.read_text() == before
    report = json.loads((tmp_path / "report.json").read_text())[str(train_json)]
    kinds = {"Windows separators", "wrong area", "wrong box", "empty mask"}
    assert kinds <= {problem["kind"] for problem in report}
    assert all(problem.keys() == {"severity", "kind", "where", "message"} for problem in report)
    mended.rename(train_json)
    assert validate_dataset(train_json) == []
    assert len(json.loads(train_json.read_text())["annotations"]) == 6
    train_json.write_text(before)
    mended.touch()
    assert run_tool(*arguments).returncode == 2


def test_warnings_alone_are_no_failure(train_json):
    edit(train_json, FAULTS["empty RLE"][0])
    result = run_tool("--json", train_json)
    assert result.returncode == 0
    assert "1 warnings: empty mask 1" in result.stdout and "1 problem" in result.stdout


def run_tool(*arguments):
    return preloaded.run([sys.executable, TOOL, *arguments])


def test_the_tool_prints_all_problems_and_fails(broken_json, tmp_path):
    result = run_tool("--json", broken_json, tmp_path / "none.json")
    assert result.returncode == 1, result.stderr
    assert "no annotations at" in result.stdout and "none.json: 1 problem\n" in result.stdout
    assert all(part in result.stdout for parts in EXPECTED for part in parts)
    assert "8 problems" in result.stdout
    assert "3/3" in result.stderr  # the progress bar
