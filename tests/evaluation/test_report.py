"""The report of an evaluation: a page that stands by itself, with all that it promises, also in a browser."""

import itertools
import json
import runpy
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avis.evaluation.diagnosis.analysis import Analysis, analyze
from avis.evaluation.diagnosis.breakdown import break_down
from avis.evaluation.report.gallery import (
    FRAMES_A_VIDEO,
    MAX_VIDEOS,
    PICTURE_HEIGHT,
    PICTURE_WIDTH,
    Gallery,
    data_uri,
)
from avis.evaluation.report.page import MAX_CLASSES, choose_videos, render_report, write_report
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions
from tests.evaluation.builders import annotation, columns, ground_truth, prediction
from tests.evaluation.chromium import needs_chromium, open_browser
from tests.small_dataset import CATEGORIES, HEIGHT, WIDTH, edit, write_split

TOOL = Path(__file__).parents[2] / "tools/evaluate.py"
VOID = {"meta", "link", "img", "br", "hr", "input"}


class ParsedPage(HTMLParser):
    """Elements of a page in order, checked to be closed in the order in which they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def predictions_for(json_file: Path) -> list[dict]:
    """Right predictions, but the last one has another class and lacks a frame."""
    annotations = json.loads(json_file.read_text())["annotations"]
    keys = ("video_id", "category_id", "segmentations")
    entries = [{"score": 0.9} | {key: track[key] for key in keys} for track in annotations]
    entries[-1] |= {
        "category_id": CATEGORIES[0]["id"],
        "segmentations": [None, *entries[-1]["segmentations"][1:]],
    }
    return entries


def write_small_report(
    json_file: Path, folder: Path, with_pictures: bool = True, **options: object
) -> ParsedPage:
    truth = load_ground_truth(json_file)
    predictions = load_predictions(predictions_for(json_file), truth)
    analysis = analyze(truth, predictions)
    gallery = Gallery(analysis, predictions, json_file if with_pictures else None)
    metrics = analysis.evaluation.metrics()
    path = write_report(folder, analysis, metrics, break_down(analysis), gallery, **options)
    return ParsedPage(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def json_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_split(tmp_path_factory.mktemp("report") / "data")


@pytest.fixture(scope="module")
def folder(json_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "made/by the tool"
    write_small_report(json_file, folder, subtitle="small")
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> ParsedPage:
    return ParsedPage((folder / "index.html").read_text(encoding="utf-8"))


def small_analysis(truth: dict, entries: list[dict]) -> Analysis:
    loaded = load_ground_truth(truth)
    return analyze(loaded, load_predictions(entries, loaded))


def render(analysis: Analysis) -> ParsedPage:
    return ParsedPage(
        render_report(analysis, analysis.evaluation.metrics(), break_down(analysis), [], [], "")
    )


def test_page_needs_nothing_from_elsewhere(page: ParsedPage, folder: Path):
    for tag, attributes in page.elements:
        assert tag not in ("script", "iframe", "object", "embed"), tag
        for name in ("src", "href", "srcset", "xlink:href"):
            assert attributes.get(name, "#").startswith(("data:", "#")), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert "http:" not in text and "https:" not in text
    assert "url(" not in text and "@import" not in text
    assert [path.name for path in folder.iterdir()] == ["index.html"]


def test_page_has_all_figures(page: ParsedPage):
    descriptions = [svg["aria-label"] for svg in page.all("svg")]
    assert sum(text.startswith("AP by IoU threshold") for text in descriptions) == 1
    assert sum(text.startswith("Precision over recall, mean") for text in descriptions) == 1
    assert sum(text.startswith("Precision over recall of") for text in descriptions) == len(CATEGORIES)
    # Timelines: two objects a video, and one wrong prediction.
    assert sum("sounds in" in text for text in descriptions) == 3 * 2 + 1
    assert len(page.all("img")) == 3 * FRAMES_A_VIDEO * 2
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))


def test_pictures_and_regions_are_described(page: ParsedPage):
    assert all(image["alt"] for image in page.all("img"))
    assert "Ground truth in frame 0: violin, dog" in [image["alt"] for image in page.all("img")]
    regions = [attributes for _, attributes in page.elements if attributes.get("role") == "region"]
    assert regions and all(region["aria-label"] and region["tabindex"] == "0" for region in regions)
    assert page.all("html")[0]["lang"] == "en"


def test_links_lead_to_sections(page: ParsedPage):
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert page.all("a") and all(link["href"].removeprefix("#") in ids for link in page.all("a"))


def test_pictures_show_the_frames(json_file: Path):
    truth = load_ground_truth(json_file)
    analysis = analyze(truth, load_predictions([], truth))
    frame = Gallery(analysis, {1: [], 2: [], 3: []}, json_file).show(1).frames[0]
    assert (frame.truth_names, frame.predicted_names) == ("violin, dog", "nothing sounds")
    assert frame.truth != frame.prediction


def test_without_frames_there_are_timelines_only(json_file: Path, tmp_path: Path):
    alone = tmp_path / "alone.json"
    alone.write_bytes(json_file.read_bytes())
    pages = [
        write_small_report(alone, tmp_path / "report"),
        write_small_report(json_file, tmp_path / "report", with_pictures=False),
    ]
    for page in pages:
        assert page.all("img") == []
        assert sum("sounds in" in svg["aria-label"] for svg in page.all("svg")) == 7


def test_no_videos_are_shown_on_request(json_file: Path, tmp_path: Path):
    page = write_small_report(json_file, tmp_path, num_videos=0)
    assert page.all("img") == [] and "Videos" not in page.texts


@pytest.mark.parametrize("number", [-1, MAX_VIDEOS + 1])
def test_number_of_videos_is_bounded(json_file: Path, tmp_path: Path, number: int):
    with pytest.raises(ValueError, match=f"0 to {MAX_VIDEOS} videos, not {number}"):
        write_small_report(json_file, tmp_path / "report", num_videos=number)


def test_pictures_of_noise_stay_below_9_megabytes():
    noise = np.random.default_rng(0).integers(0, 256, (PICTURE_HEIGHT, PICTURE_WIDTH, 3), np.uint8)
    assert len(data_uri(noise)) * MAX_VIDEOS * FRAMES_A_VIDEO * 2 < 9e6


@pytest.mark.parametrize("damage", ["size", "content"])
def test_bad_frame_is_named_and_leaves_the_old_page(tmp_path: Path, damage: str):
    json_file = write_split(tmp_path / "data")
    write_small_report(json_file, tmp_path / "report")
    before = (tmp_path / "report/index.html").read_bytes()
    frame = tmp_path / "data/train/JPEGImages/clip2/00000.png"
    if damage == "size":
        Image.new("RGB", (WIDTH, HEIGHT + 1)).save(frame)
    else:
        frame.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"clip2/00000\.png"):
        write_small_report(json_file, tmp_path / "report")
    assert (tmp_path / "report/index.html").read_bytes() == before
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["index.html"]


def test_names_are_text_not_markup(tmp_path: Path):
    json_file = write_split(tmp_path / "data")
    name = "<script>alert('&')</script>"
    edit(json_file, lambda content: content["categories"][0].update(name=name))
    page = write_small_report(json_file, tmp_path / "report", subtitle=name)
    assert page.all("script") == []
    assert name in page.texts


def test_best_and_worst_videos_are_different_ones():
    truth = ground_truth(*(annotation(columns(0, 10), video) for video in range(1, 6)), num_videos=6)
    overlaps = {1: 10, 2: 9, 3: 8, 4: 7, 5: 6}  # the sixth video has nothing to be found
    entries = [prediction(columns(0, last), 0.9, video) for video, last in overlaps.items()]
    analysis = small_analysis(truth, entries)
    assert choose_videos(analysis, 4) == ([5, 4], [1, 2])
    assert choose_videos(analysis, 12) == ([5, 4, 3], [1, 2])
    assert choose_videos(analysis, 1) == ([5], [])


def test_numbers_are_those_of_the_evaluation(page: ParsedPage, json_file: Path):
    truth = load_ground_truth(json_file)
    metrics = analyze(truth, load_predictions(predictions_for(json_file), truth)).evaluation.metrics()
    pairs = set(itertools.pairwise(page.texts))
    for name in ("AP", "AP75", "AR10", "HOTA", "AssPr", "FSLAm"):
        assert (name, f"{metrics[name]:.2f}") in pairs


def test_many_classes_are_merged_in_the_matrix():
    truth = ground_truth(
        annotation(columns(0, 10), category_id=60), annotation(columns(12, 20), category_id=70)
    )
    truth["categories"] = [{"id": number, "name": f"class {number}"} for number in range(1, 81)]
    entries = [
        prediction(columns(0, 10), 0.9, category_id=60),
        prediction(columns(12, 20), 0.9, category_id=1),
    ]
    page = render(small_analysis(truth, entries))
    assert f"{80 - MAX_CLASSES} others" in page.texts
    assert {"class 60", "class 70"} <= set(page.texts)
    cells = [
        attributes["class"] for attributes in page.all("td") if attributes.get("class") in ("right", "wrong")
    ]
    assert sorted(cells) == ["right", "wrong"]


def test_page_without_ground_truth_has_no_numbers():
    page = render(small_analysis(ground_truth(), [prediction(columns(0, 5))]))
    assert "nan" not in " ".join(page.texts)
    assert page.texts.count("–") > 20


def test_the_tool_writes_the_report(
    json_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    results, report, output = tmp_path / "results.json", tmp_path / "report", tmp_path / "metrics.json"
    results.write_text(json.dumps(predictions_for(json_file)))
    arguments = [
        "evaluate.py", "--gt", json_file, "--predictions", results, "--output", output,
        "--avs", "--breakdown", "--report", report, "--report-videos", 2,
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    runpy.run_path(str(TOOL), run_name="__main__")
    printed = capsys.readouterr().out
    for word in ("| maps", "| category", "| sources", "| length", "| mistake", str(report / "index.html")):
        assert word in printed
    metrics = json.loads(output.read_text())
    assert {"AP", "HOTA", "J", "F", "mIoU", "mF"} <= metrics.keys()
    page = ParsedPage((report / "index.html").read_text(encoding="utf-8"))
    assert len(page.all("img")) == 2 * FRAMES_A_VIDEO * 2
    assert f"{metrics['mIoU']:.2f}" in page.texts


@needs_chromium
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (390, True)])
def test_page_in_a_browser(folder: Path, tmp_path: Path, width: int, dark: bool):
    with open_browser(width, dark) as (page, messages, requests):
        page.goto((folder / "index.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        sizes = page.evaluate(
            "[...document.querySelectorAll('svg, img')].map(e => e.getBoundingClientRect())"
            ".map(box => [box.width, box.height])"
        )
        assert len(sizes) == 2 + len(CATEGORIES) + 7 + 3 * FRAMES_A_VIDEO * 2
        assert all(w > 100 and h > 15 for w, h in sizes)
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        picture = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
        assert picture.shape[1] == width
        assert (picture[0, 0] < 64) == dark
        assert len(np.unique(picture)) > 50
        assert messages == []
        assert all(address.startswith(("file:", "data:")) for address in requests)
