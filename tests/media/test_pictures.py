"""Pictures give the same pixels as Detectron2 reads, of every mode and however the camera was held."""

from pathlib import Path

import numpy as np
import pytest
from detectron2.data.detection_utils import read_image
from PIL import Image

from avis.media.errors import MediaError
from avis.media.pictures import read_picture, read_pictures

ORIENTATION = 0x0112


def noise(height: int = 12, width: int = 20, channels: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


PICTURES = {
    "RGB": Image.fromarray(noise(channels=3)),
    "grey": Image.fromarray(noise()[..., 0]),
    "palette": Image.fromarray(noise(channels=3)).quantize(16),
    "RGBA": Image.fromarray(noise()),
    "black and white": Image.fromarray(noise()[..., 0]).convert("1"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pixels_are_those_that_detectron2_reads(kind: str, tmp_path: Path):
    path = tmp_path / "picture.png"
    PICTURES[kind].save(path)
    picture = read_picture(path)
    assert picture.shape == (12, 20, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, read_image(str(path), "RGB"))
    np.testing.assert_array_equal(picture[..., ::-1], read_image(str(path), "BGR"))


@pytest.mark.parametrize("orientation", range(10))
def test_pictures_are_turned_as_the_camera_was_held(orientation: int, tmp_path: Path):
    path, exif = tmp_path / "picture.jpg", Image.Exif()
    exif[ORIENTATION] = orientation
    PICTURES["RGB"].save(path, exif=exif)
    picture = read_picture(path)
    assert picture.shape == ((20, 12, 3) if 5 <= orientation <= 8 else (12, 20, 3))
    np.testing.assert_array_equal(picture, read_image(str(path), "RGB"))


def test_damaged_exif_is_no_reason_to_refuse_a_picture(tmp_path: Path):
    path = tmp_path / "picture.jpg"
    PICTURES["RGB"].save(path, exif=b"Exif\x00\x00no TIFF header")
    np.testing.assert_array_equal(read_picture(path), read_image(str(path), "RGB"))


def test_what_is_no_picture_is_named(tmp_path: Path):
    (tmp_path / "text.png").write_text("no picture")
    whole = tmp_path / "whole.png"
    PICTURES["RGB"].save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:80])
    for name in ("text.png", "cut.png", "missing.png"):
        with pytest.raises(MediaError, match=rf"{name} cannot be read as a picture: "):
            read_picture(tmp_path / name)


def test_pictures_of_a_video_are_of_one_size(tmp_path: Path):
    for name, size in (("0.png", (20, 12)), ("1.png", (20, 12)), ("2.png", (20, 14))):
        Image.new("RGB", size).save(tmp_path / name)
    files = [tmp_path / f"{index}.png" for index in range(3)]
    assert len(list(read_pictures(files[:2]))) == 2
    with pytest.raises(MediaError, match=r"2\.png is 14×20, .*0\.png is 12×20"):
        list(read_pictures(files))
