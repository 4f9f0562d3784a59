"""Annotations of other programs, read into one form: files as those programs write them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from avis.formats.readers.common import Findings, ReadOptions, Sounding, SourceObject
from avis.formats.readers.detection import read_source_set
from avis.formats.readers.label_studio import unpack_brush
from avis.formats.segmentation import decode_segmentations
from tests.formats.foreign_files import (
    DOG_TRACK,
    HEIGHT,
    WIDTH,
    coco,
    cocovid,
    cvat,
    cvat_mask,
    label_studio_picture,
    label_studio_video,
    pack_brush,
    write,
    write_s4,
    youtube_vis,
)

SIZE = (HEIGHT, WIDTH)
DEFAULTS = ReadOptions()


def read(path: Path, options: ReadOptions = DEFAULTS, name: str | None = None):
    findings = Findings()
    found, source = read_source_set(path, options, findings, name)
    return found, source, findings.lines()


def objects_of(path: Path, options: ReadOptions = DEFAULTS) -> list[SourceObject]:
    _, source, _ = read(path, options)
    return [found for video in source.videos for found in video.objects(SIZE)]


def pixels(mask) -> np.ndarray:
    return decode_segmentations([mask], ["mask"], *SIZE)[0].astype(bool)


def box_of(mask) -> list[int] | None:
    """x, y, width and height of a mask's pixels."""
    if mask is None:
        return None
    rows, columns = np.nonzero(pixels(mask))
    return [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]


def test_formats_are_told_by_their_content(tmp_path: Path):
    files = {
        "cvat": write(tmp_path / "a.xml", cvat()),
        "coco": write(tmp_path / "coco.json", coco()),
        "cocovid": write(tmp_path / "vid.json", cocovid()),
        "youtube-vis": write(tmp_path / "ytvis.json", youtube_vis()),
        "label-studio": write(tmp_path / "ls.json", label_studio_picture()),
        "avsbench-s4": write_s4(tmp_path / "s4"),
    }
    assert {name: read(path)[0] for name, path in files.items()} == {name: name for name in files}
    assert read(files["youtube-vis"], name="ovis")[0] == "ovis"
    with pytest.raises(ValueError, match=r"a\.xml is a XML file, and coco is JSON"):
        read(files["cvat"], name="coco")


def test_cvat_holds_interpolates_and_ends_what_it_draws(tmp_path: Path):
    dog, cat = objects_of(write(tmp_path / "a.xml", cvat()))
    assert [found.category for found in (dog, cat)] == ["dog", "cat"]
    # Drawn at 0 and 10, ten pixels apart; outside from 20 on.
    assert [box_of(dog.mask_at(frame)) for frame in (0, 5, 10, 15, 20, 25)] == [
        [0, 0, 10, 10], [5, 0, 10, 10], [10, 0, 10, 10], [10, 0, 10, 10], None, None,
    ]  # fmt: skip
    assert cat.mask_at(2) is None
    expected = np.zeros(SIZE, bool)
    expected[5, 5:7] = True  # runs 1, 2, 3 along the rows of a rectangle 3 wide, at column 4, row 5
    assert (pixels(cat.mask_at(3)) == expected).all() and (pixels(cat.mask_at(9)) == expected).all()


def test_cvat_s_masks_are_the_rows_of_their_rectangle(tmp_path: Path):
    mask = np.random.default_rng(0).random((7, 9)) < 0.5
    (found,) = objects_of(write(tmp_path / "a.xml", cvat([cvat_mask(mask, left=11, top=3)])))
    whole = np.zeros(SIZE, bool)
    whole[3:10, 11:20] = mask
    assert (pixels(found.mask_at(0)) == whole).all()


def test_cvat_s_attribute_says_from_which_frame_on_an_object_sounds(tmp_path: Path):
    said = '<attribute name="sounding">{}</attribute>'
    shape = '<box frame="{}" keyframe="1" outside="0" xtl="1" ytl="1" xbr="9" ybr="9">{}</box>'
    shapes = [shape.format(0, said.format("true")), shape.format(4, said.format("false"))]
    path = write(tmp_path / "a.xml", cvat([f'<track id="0" label="dog">{"".join(shapes)}</track>']))
    (found,) = objects_of(path)
    assert [found.mask_at(frame) is not None for frame in (0, 3, 4, 9)] == [True, True, False, False]
    assert any("boxes" in line for line in read(path)[2])
    unmarked = cvat([f'<track id="0" label="dog">{shape.format(0, "")}</track>'])
    (found,) = objects_of(write(tmp_path / "b.xml", unmarked), ReadOptions(Sounding(default=False)))
    assert found.mask_at(0) is None
    (found,) = objects_of(path, ReadOptions(Sounding(attribute="loud")))
    assert found.mask_at(9) is not None


def test_a_project_of_cvat_has_a_video_for_each_task(tmp_path: Path):
    text = cvat().replace("<task>", "<project><tasks><task>").replace("</task>", "</task>"
        "<task><id>6</id><name>second</name><source>b.mp4</source></task></tasks></project>")  # fmt: skip
    text = text.replace('<track id="0"', '<track id="0" task_id="5"').replace(
        '<track id="1"', '<track id="1" task_id="6"'
    )
    _, source, _ = read(write(tmp_path / "a.xml", text))
    found = {video.name: [o.category for o in video.objects(SIZE)] for video in source.videos}
    assert found == {"concert": ["dog"], "b": ["cat"]}


def test_cvat_s_tasks_say_which_part_of_the_video_they_show(tmp_path: Path):
    _, source, _ = read(write(tmp_path / "a.xml", cvat(frames=(5, 25, 10))))
    assert source.videos[0].span == (5, 34)  # the last frame stands for those up to the next
    whole = cvat().replace("<start_frame>0</start_frame>", "<start_frame></start_frame>")
    assert read(write(tmp_path / "b.xml", whole))[1].videos[0].span is None


def test_tasks_of_one_video_are_called_by_their_own_names(tmp_path: Path):
    text = cvat([DOG_TRACK.replace("<track", '<track task_id="6"')])
    task = text[text.index("<task>") : text.index("</task>") + len("</task>")]
    other = task.replace("<id>5</id><name>my task", "<id>6</id><name>end")
    _, source, _ = read(write(tmp_path / "a.xml", text.replace(task, task + other)))
    assert [video.name for video in source.videos] == ["my task", "end"]
    assert all(video.files[0] == "concert" for video in source.videos)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_encodings_of_unicode_are_read(tmp_path: Path, encoding: str):
    (tmp_path / "a.xml").write_text(cvat().replace('"utf-8"', f'"{encoding[:6]}"'), encoding=encoding)
    (tmp_path / "b.json").write_text(json.dumps(coco()), encoding=encoding)
    assert read(tmp_path / "a.xml")[0] == "cvat" and read(tmp_path / "b.json")[0] == "coco"


def test_whole_numbers_with_a_point_are_ids(tmp_path: Path):
    pictures, videos = coco(), youtube_vis()
    for content, keys in (
        (pictures, ("id", "image_id", "category_id")),
        (videos, ("id", "video_id", "category_id")),
    ):
        for row in (row for key in ("images", "videos", "annotations") for row in content.get(key, ())):
            row.update({key: float(row[key]) for key in keys if key in row})
    del videos["annotations"][0]["id"]
    videos["annotations"][0]["id"] = 11
    for content, wanted in ((pictures, [1, 2, 3]), (videos, [7])):
        _, source, _ = read(write(tmp_path / "a.json", content))
        assert [video.id for video in source.videos] == wanted
        assert all(type(video.id) is int for video in source.videos)
        assert len([found for video in source.videos for found in video.objects(SIZE)])


def test_empty_lists_of_youtube_vis_are_of_no_frame(tmp_path: Path):
    content = youtube_vis()
    content["annotations"][0].update(areas=[], bboxes=[])
    content["annotations"].append({**content["annotations"][0], "id": 12, "segmentations": []})
    seen, unseen = objects_of(write(tmp_path / "a.json", content))
    assert pixels(seen.mask_at(0)).sum() == 16 and list(unseen.positions) == []


def test_coco_s_pictures_are_videos_of_one_frame_or_of_their_folder(tmp_path: Path):
    path = write(tmp_path / "coco.json", coco())
    assert [video.name for video in read(path)[1].videos] == ["a/2", "a/10", "b/1"]
    grouped = read(path, ReadOptions(group="folders"))[1].videos
    assert {video.name: list(video.pictures) for video in grouped} == {
        "a": ["a/2.png", "a/10.png"], "b": ["b/1.png"],
    }  # fmt: skip
    crowd = [found for found in objects_of(path) if found.is_crowd]
    assert len(crowd) == 1 and pixels(crowd[0].mask_at(0)).sum() == 6  # an uncompressed RLE


@pytest.mark.parametrize("place", ["attributes", "row"])
def test_tracks_in_coco_join_annotations_to_objects(tmp_path: Path, place: str):
    content = coco()
    for row in content["annotations"][:2]:  # in a/2.png and in a/10.png
        row.update({"track_id": 4} if place == "row" else {"attributes": {"track_id": 4, "sounding": False}})
    found = [o for o in objects_of(write(tmp_path / "coco.json", content)) if len(o.positions) == 2]
    assert [list(o.positions) for o in found] == [[0, 1]]
    assert (found[0].mask_at(1) is None) == (place == "attributes")


def test_exports_of_cvat_are_called_by_their_folders(tmp_path: Path):
    content = coco()
    for row in content["images"]:
        row["file_name"] = f"frame_{row['id']:06d}.PNG"
    for row in content["annotations"]:
        row["attributes"] = {"track_id": row["id"], "keyframe": True}
    file = write(tmp_path / "concert/annotations/instances_default.json", content)
    _, source, _ = read(file)
    assert [video.name for video in source.videos] == ["concert"] and source.videos[0].numbers == [1, 2, 3]
    other = write(tmp_path / "concert/train.json", content)
    assert [video.name for video in read(other)[1].videos] == ["train"]


def test_cocovid_s_frames_are_in_the_order_of_their_numbers(tmp_path: Path):
    _, source, lines = read(write(tmp_path / "vid.json", cocovid()))
    (video,) = source.videos
    assert list(video.pictures) == ["v/x.png", "v/y.png", "v/z.png"] and list(video.numbers) == [0, 1, 5]
    (found,) = video.objects(SIZE)
    assert [box_of(found.mask_at(index)) for index in range(3)] == [[0, 0, 4, 4], None, [8, 8, 4, 4]]
    assert [line for line in lines if "gaps" in line]


def test_youtube_vis_keeps_ids_and_leaves_out_what_is_beyond_the_end(tmp_path: Path):
    content = youtube_vis()
    content["annotations"][0]["segmentations"] += [[[0, 0, 4, 0, 4, 4]]]
    _, source, lines = read(write(tmp_path / "ytvis.json", content))
    (video,) = source.videos
    assert (video.id, video.name, video.size) == (7, "v", SIZE) and source.categories == {5: "dog", 9: "cat"}
    assert any(line.startswith("1 masks beyond the last frame") for line in lines)
    (found,) = video.objects(SIZE)
    assert [box_of(found.mask_at(index)) for index in range(2)] == [[0, 0, 4, 4], None]


def test_categories_of_one_name_are_one(tmp_path: Path):
    content = youtube_vis()
    content["categories"][1]["name"] = "dog"
    content["annotations"][0]["category_id"] = 9
    _, source, lines = read(write(tmp_path / "ytvis.json", content))
    assert source.categories == {5: "dog"}
    assert [found.category for found in source.videos[0].objects(SIZE)] == ["dog"]
    assert any("categories of a name that another has" in line for line in lines)


def test_label_studio_s_brushes_polygons_and_ellipses(tmp_path: Path):
    mask = np.random.default_rng(1).random(SIZE) < 0.3
    content = label_studio_picture(mask)
    _, source, _ = read(write(tmp_path / "ls.json", content))
    (video,) = source.videos
    assert list(video.pictures) == ["0a1b2c3d-yard.png"] and video.name == "yard" and video.size == SIZE
    brush, polygon, ellipse = video.objects(SIZE)
    assert (pixels(brush.mask_at(0)) == mask).all()
    assert box_of(polygon.mask_at(0)) == [0, 0, WIDTH // 2, HEIGHT // 2]
    area = np.pi * (0.25 * WIDTH) * (0.25 * HEIGHT)
    assert pixels(ellipse.mask_at(0)).sum() == pytest.approx(area, rel=0.05)


def test_label_studio_s_boxes_move_by_the_second(tmp_path: Path):
    # 25 frames a second, counted from 1: frame 26 is at 1 s, frame 51 at 2 s, where the box is gone after.
    (found,) = objects_of(write(tmp_path / "ls.json", label_studio_video()))
    boxes = [box_of(found.mask_at(second)) for second in (0, 0.5, 1, 2, 2.1)]
    assert boxes == [[0, 0, 16, 12], [8, 0, 16, 12], [16, 0, 16, 12], [16, 0, 16, 12], None]


def test_label_studio_s_labels_may_be_results_of_their_own(tmp_path: Path):
    content = label_studio_picture()
    results = content[0]["annotations"][0]["result"]
    names = results[1]["value"].pop("polygonlabels")
    results[1]["type"] = "polygon"
    results.append({**results[1], "type": "labels", "value": {**results[1]["value"], "labels": names}})
    assert [found.category for found in objects_of(write(tmp_path / "a.json", content))] == [
        "dog", "cat", "dog",
    ]  # fmt: skip


def test_label_studio_s_local_files_keep_their_folders(tmp_path: Path):
    tasks = [label_studio_picture()[0] | {"data": {"image": f"/data/local-files/?d={n}/0.png"}} for n in "ab"]
    _, source, _ = read(write(tmp_path / "a.json", tasks))
    assert [video.name for video in source.videos] == ["a/0", "b/0"]


def test_label_studio_s_choices_of_a_region_say_whether_it_sounds(tmp_path: Path):
    content = label_studio_picture()
    results = content[0]["annotations"][0]["result"]
    choice = {
        "type": "choices",
        "id": results[1]["id"],
        "from_name": "sounding",
        "value": {"choices": ["no"]},
    }
    results.append(choice)
    assert len(objects_of(write(tmp_path / "ls.json", content))) == 2


@pytest.mark.parametrize("seed", range(5))
def test_brushes_are_decoded_as_they_were_packed(seed: int):
    rng = np.random.default_rng(seed)
    values = np.repeat(rng.choice([0, 255], 40), rng.integers(1, 300, 40)).astype(np.uint8)
    assert (unpack_brush(pack_brush(values), len(values)) == values).all()


@pytest.mark.parametrize(("split", "seconds"), [("train", 1), ("test", 5)])
def test_avsbench_takes_the_seconds_that_have_a_mask(tmp_path: Path, split: str, seconds: int):
    _, source, lines = read(write_s4(tmp_path / "s4"), ReadOptions(split=split))
    (video,) = source.videos
    assert len(video.pictures) == seconds and video.sound.is_file()
    (found,) = video.objects(SIZE)
    assert found.category == "dog" and [box_of(found.mask_at(i)) for i in range(seconds)] == [
        [second, 2, 8, 8] for second in range(seconds)
    ]
    assert any("seconds without a mask" in line for line in lines) == (split == "train")
    assert list(source.categories.values()) == ["cat", "dog"]  # of all splits


def test_avss_has_an_object_for_each_colour(tmp_path: Path):
    root = tmp_path / "avss"
    (root / "v2/clip/frames").mkdir(parents=True)
    (root / "v2/clip/labels_rgb").mkdir()
    (root / "label2idx.json").write_text(json.dumps({"background": 0, "dog": 1, "cat": 2, "horse": 70}))
    with (root / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["vid", "uid", "label", "split"], ["x", "clip", "v2", "train"]])
    for second in range(2):
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / f"v2/clip/frames/{second}.jpg")
        labels = np.zeros((*SIZE, 3), np.uint8)
        labels[:4, :4] = (128, 0, 0)  # PASCAL VOC's first colour
        labels[10:12] = (32, 128, 128) if second else 0  # 70
        labels[20:, :2] = (1, 2, 3)
        Image.fromarray(labels).save(root / f"v2/clip/labels_rgb/{second}.png")
    _, source, _ = read(root)
    assert source.categories == {1: "dog", 2: "cat", 70: "horse"}
    findings = Findings()
    _, source = read_source_set(root, DEFAULTS, findings)
    dog, horse = source.videos[0].objects(SIZE)
    assert [dog.category, horse.category] == ["dog", "horse"]
    assert pixels(dog.mask_at(1)).sum() == 16 and horse.mask_at(0) is None
    assert pixels(horse.mask_at(1)).sum() == 2 * WIDTH
    assert findings.lines()[0].startswith("2 colours of no category")


def change(content, *path_and_value):
    *path, key, value = path_and_value
    place = content
    for step in path:
        place = place[step]
    place[key] = value
    return content


RLE = {"size": [HEIGHT, WIDTH], "counts": [3, 4]}
BAD = {
    "empty": ("", "a is empty"),
    "not JSON": ("{", "a is not valid JSON, perhaps cut off"),
    "a number": ("3", "a: in no format that is known"),
    "cut XML": ("<annotations><meta>", "a is not valid XML, perhaps cut off"),
    "other XML": ("<svg/>", "a: its root is <svg>"),
    "images of CVAT": (
        '<annotations><image id="0" name="x.jpg" width="4" height="4"/></annotations>',
        'this is "CVAT for images 1.1"',
    ),
    "path out": (change(coco(), "images", 0, "file_name", "../x.png"), r"images\[0\]: file_name is '../x"),
    "absolute path": (change(coco(), "images", 0, "file_name", "/etc/x.png"), "leaves the folder"),
    "Windows path": (change(coco(), "images", 0, "file_name", "C:\\x.png"), "leaves the folder"),
    "path of a video": (change(cocovid(), "videos", 0, "name", "../../v"), r"videos\[0\]: name is"),
    "path of a frame": (change(youtube_vis(), "videos", 0, "file_names", ["../1.png"] * 2), "leaves"),
    "no picture": (change(coco(), "annotations", 1, "image_id", 99), r"annotations\[1\]: image_id is 99"),
    "no category": (change(coco(), "annotations", 1, "category_id", 99), "category_id is 99, and"),
    "a list for an id": (change(coco(), "annotations", 1, "image_id", [1]), r"image_id is \[1\]"),
    "no video": (change(youtube_vis(), "annotations", 0, "video_id", 8), "video_id is 8, and there is"),
    "two ids": (change(coco(), "images", 1, "id", 1), r"images\[1\]: the id 1 is there twice"),
    "RLE of another size": (
        change(coco(), "annotations", 0, "segmentation", {"size": [4, 4], "counts": [16]}),
        r"annotations\[0\]: segmentation: mask is 4×4, the video is 48×64",
    ),
    "short RLE": (change(coco(), "annotations", 0, "segmentation", RLE), r"RLE covers 7 pixels of 3072"),
    "iscrowd": (change(coco(), "annotations", 0, "iscrowd", 5), "iscrowd is 5, neither 0 nor 1"),
    "two frames": (change(cocovid(), "images", 2, "frame_id", 0), r"videos\[0\]: two pictures are of"),
    "no file name": (change(coco(), "images", 0, {"id": 1}), r"images\[0\]: the key 'file_name' is missing"),
    "sounding": (
        change(coco(), "annotations", 0, "attributes", {"sounding": "maybe"}),
        "the attribute 'sounding' is 'maybe', not true or false",
    ),
    "length": (change(youtube_vis(), "annotations", 0, "segmentations", [None]), "1 segmentations for"),
    "JSON-MIN": ([{"data": {"image": "x.png"}, "label": []}], "not as JSON-MIN"),
    "brush": (
        change(label_studio_picture(), 0, "annotations", 0, "result", 0, "value", "rle", [0, 0, 1, 0, 9]),
        "the rle of a brush has 64 pixels, the",
    ),
    "upload out": (change(label_studio_picture(), 0, "data", "image", "../../yard.png"), "leaves the folder"),
    "CVAT's RLE": (cvat().replace("1, 2, 3", "1, 2"), "track '1', frame 3: the rle of a mask covers 3"),
    "one name": (
        change(coco(), "images", 1, "file_name", "a/2.jpg"), r"images\[1\]: another picture is called 'a/2'",
    ),
    "half an id": (change(coco(), "images", 1, "id", 1.5), r"images\[1\]: id is 1.5, not a whole number"),
    "rows of JSON-MIN": (
        [{"image": "x.png", "id": 1, "annotator": 1, "annotation_id": 1, "lead_time": 2.5}],
        r"JSON-MIN \(export it as JSON\)",
    ),
    "box of no numbers": (
        change(
            label_studio_video(),
            0, "annotations", 0, "result", 0, "value", "sequence", 0, "x", float("nan"),
        ),
        r"result\[0\]: the videorectangle has coordinates that are no numbers",
    ),
    "CVAT's quadruples": (cvat().replace("0.0,0.0;10,0;", "0,0,10,0;"), "the points of a polygon are"),
    "CVAT's numbers": (
        cvat(['<track label="dog"><ellipse frame="0" cx="nan" cy="1" rx="1" ry="1"/></track>']),
        "cx of a <ellipse> is 'nan', not a number",
    ),
    "CVAT's mask beyond": (cvat().replace('left="4"', 'left="62"'), "a mask reaches to column 65 and row 7"),
    "CVAT's points": (cvat().replace("10,0;", "ten,0;"), "the points of a polygon are"),
    "CVAT's frame": (cvat().replace('frame="10"', 'frame="x"'), "the frame of a <polygon> is 'x'"),
    "CVAT's source": (cvat().replace("concert.mp4", "../concert.mp4"), "the source of task"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, name: str):
    content, message = BAD[name]
    path = write(tmp_path / "a", content)
    with pytest.raises(ValueError, match=message) as raised:
        objects_of(path)
    assert str(path) in str(raised.value)


def test_odd_annotations_are_counted(tmp_path: Path):
    content = coco()
    content["annotations"][0]["segmentation"] = [[1, 1, 5, 5]]  # a line
    content["annotations"][1] = {"id": 2, "image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4]}
    path = write(tmp_path / "coco.json", content)
    findings = Findings()
    _, source = read_source_set(path, DEFAULTS, findings)
    found = [list(video.objects(SIZE)) for video in source.videos]
    assert box_of(found[1][0].mask_at(0)) == [1, 2, 3, 4]
    assert [line.partition(";")[0] for line in findings.lines()] == [
        "1 polygons of fewer than three points, left out",
        "1 boxes became masks of their rectangles",
    ]


def test_shapes_of_label_studio_that_are_no_masks_are_left_out(tmp_path: Path):
    content = change(label_studio_picture(), 0, "annotations", 0, "result", 0, "type", "keypointlabels")
    findings = Findings()
    _, source = read_source_set(write(tmp_path / "a.json", content), DEFAULTS, findings)
    assert [found.category for video in source.videos for found in video.objects(SIZE)] == ["cat", "dog"]
    (line,) = findings.lines()
    assert line.startswith("1 shapes of the type 'keypointlabels', which are no masks, left out")


def test_compressed_and_uncompressed_rle_are_the_same(tmp_path: Path):
    mask = np.asfortranarray(np.random.default_rng(2).random(SIZE) < 0.5, np.uint8)
    runs = np.diff(np.flatnonzero(np.diff(mask.ravel("F"), prepend=0, append=2)), prepend=0).tolist()
    compressed = coco_mask.encode(mask)["counts"].decode()
    found = []
    for counts in (runs, compressed):
        content = change(coco(), "annotations", 0, "segmentation", {"size": list(SIZE), "counts": counts})
        found.append(pixels(objects_of(write(tmp_path / "coco.json", content))[0].mask_at(0)))
    assert (found[0] == mask).all() and (found[1] == mask).all()
