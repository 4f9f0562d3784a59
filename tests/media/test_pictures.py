"""Pictures give the same pixels as Detectron2 reads, of every mode and however the camera was held."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from detectron2.data.detection_utils import read_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_of_any_kind_have_pillows_pixels(
    mode: str, subsampling: int, progressive: bool, tmp_path: Path
):
    path = tmp_path / "picture.jpg"
    smooth = Image.fromarray(noise(12, 17, channels=3)).resize((181, 123))  # no whole number of blocks
    smooth.convert(mode).save(path, quality=85, subsampling=subsampling, progressive=progressive)
    with Image.open(path) as stored:
        np.testing.assert_array_equal(read_picture(path), np.asarray(stored.convert("RGB")))


def test_upright_jpegs_in_colour_are_read_by_opencv_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise ValueError("read by OpenCV")

    monkeypatch.setattr("cv2.imdecode", refuse)
    PICTURES["RGB"].save(tmp_path / "picture.jpg")
    with pytest.raises(MediaError, match="read by OpenCV"):
        read_picture(tmp_path / "picture.jpg")
    (tmp_path / "longer.jpg").write_bytes((tmp_path / "picture.jpg").read_bytes() + b"more")
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    PICTURES["RGB"].save(tmp_path / "turned.jpg", exif=exif)
    PICTURES["grey"].save(tmp_path / "grey.jpg")
    PICTURES["RGB"].save(tmp_path / "picture.png")
    for name in ("longer.jpg", "turned.jpg", "grey.jpg", "picture.png"):
        assert read_picture(tmp_path / name).shape == (12, 20, 3)


def test_a_jpeg_that_is_cut_off_is_refused_wherever_it_ends(tmp_path: Path):
    PICTURES["RGB"].resize((200, 120)).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    path = tmp_path / "cut.jpg"
    for length in range(len(content) // 2, len(content) - 40, 97):
        path.write_bytes(content[:length])
        with pytest.raises(MediaError, match=r"cut\.jpg cannot be read as a picture: .*truncated"):
            read_picture(path)


@pytest.mark.parametrize("orientation", range(10))
def test_pictures_are_turned_as_the_camera_was_held(orientation: int, tmp_path: Path):
    path, exif = tmp_path / "picture.jpg", Image.Exif()
    exif[ORIENTATION] = orientation
    PICTURES["RGB"].save(path, exif=exif)
    picture = read_picture(path)
    assert picture.shape == ((20, 12, 3) if 5 <= orientation <= 8 else (12, 20, 3))
    np.testing.assert_array_equal(picture, read_image(str(path), "RGB"))


def test_damaged_exif_is_no_reason_to_refuse_a_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for suffix in ("jpg", "png"):
        path = tmp_path / f"picture.{suffix}"
        PICTURES["RGB"].save(path, exif=b"Exif\x00\x00no TIFF header")
        with Image.open(path) as stored:
            np.testing.assert_array_equal(read_picture(path), np.asarray(stored))
    # Pillow reads nothing from the one, and fails on the other.
    assert f"{path}: its EXIF data are damaged" in caplog.text


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


GREYS = np.array([[0, 128, 129, 257, 32896, 65535]] * 4)


@pytest.mark.parametrize(
    ("suffix", "dtype"), [("png", "<u2"), ("tif", "<u2"), ("tif", ">u2"), ("jp2", "<u2")]
)
def test_16_bits_are_scaled_by_their_range(suffix: str, dtype: str, tmp_path: Path):
    mode = "I;16" if dtype == "<u2" else "I;16B"
    path = tmp_path / f"picture.{suffix}"
    Image.frombytes(mode, GREYS.shape[::-1], GREYS.astype(dtype).tobytes()).save(path)
    expected = np.repeat(np.array([0, 0, 1, 1, 128, 255], np.uint8)[:, None], 3, axis=1)
    np.testing.assert_array_equal(read_picture(path), [expected] * 4)


def test_16_bits_are_turned_too(tmp_path: Path):
    path, exif = tmp_path / "picture.png", Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(GREYS.astype("<u2")).save(path, exif=exif)
    assert read_picture(path).shape == (6, 4, 3)


def test_pgm_of_any_range_is_scaled(tmp_path: Path):
    path = tmp_path / "picture.pgm"
    path.write_bytes(b"P5 3 1 1023\n" + np.array([0, 512, 1023], ">u2").tobytes())
    assert read_picture(path)[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(("dtype", "kind"), [("<f4", "floats"), ("<i4", "32-bit integers")])
def test_numbers_without_a_range_are_refused(dtype: str, kind: str, tmp_path: Path):
    path = tmp_path / "picture.tif"
    Image.fromarray(GREYS.astype(dtype)).save(path)
    with pytest.raises(MediaError, match=f"picture.tif cannot be read .* it holds {kind}, .* 8 or 16 bits"):
        read_picture(path)


def png(width: int, height: int) -> bytes:
    """A PNG whose header says how large it is, with a few of its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    packed = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path: Path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(60000, 60000))
    with pytest.raises(MediaError, match=r"bomb\.png cannot be read .*3600000000 pixels"):
        read_picture(path)


def test_a_picture_of_another_size_is_refused_before_it_is_decoded(tmp_path: Path):
    path = tmp_path / "large.png"
    path.write_bytes(png(9000, 9000))  # decoded, it would be cut off
    with pytest.raises(MediaError, match=r"large\.png is 9000×9000, not 48×64"):
        read_picture(path, (48, 64))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "GIF"]), data=st.data())
def test_damaged_pictures_are_read_or_named(kind: str, data: st.DataObject, tmp_path: Path):
    path = tmp_path / "damaged"
    PICTURES["RGB"].save(path, kind)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, min(len(content), 200) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        assert read_picture(path).dtype == np.uint8
    except MediaError as error:
        assert str(path) in str(error)
