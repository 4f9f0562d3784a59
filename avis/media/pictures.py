"""Pictures, as Detectron2 reads them by Pillow, but for those of more than 8 bits, which it makes white.

Dimensions: H×W pictures.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile

from avis.media.errors import MediaError, warn_once

# The tag of EXIF that says how a camera was held, and what puts its values right.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Formats whose mode "I", of 32 bits, holds 16.
_WITH_16_BITS = ("PNG", "PPM")


# The last bytes of a JPEG that is not cut off.
_END_OF_JPEG = b"\xff\xd9"


class PictureSizeError(MediaError):
    """A picture is `found`, height×width, and must be `wanted`."""

    def __init__(self, path: str | Path, found: tuple[int, int], wanted: tuple[int, int]) -> None:
        """Keep the sizes as texts."""
        self.found, self.wanted = ("×".join(map(str, size)) for size in (found, wanted))
        super().__init__(f"{path} is {self.found}, not {self.wanted}")


def read_picture(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a picture of any mode, turned as it is to be shown; 16 bits become 8 by their full range.

    Args:
        path: of the file.
        size: (H, W) that the picture must have; None: any.

    Returns:
        RGB uint8 (H, W, 3).

    Raises:
        MediaError: the file is missing, broken, too large, of another size, or of numbers without a range.
    """
    try:
        with Image.open(path) as image:
            if size is not None and sorted(image.size) != sorted(size):  # before the pixels take memory
                raise PictureSizeError(path, (image.height, image.width), size)
            picture = _decode(image)
    except PictureSizeError:
        raise
    except Exception as error:  # damaged bytes can raise anything
        raise MediaError(f"{path} cannot be read as a picture: {error}") from error
    if size is not None and picture.shape[:2] != tuple(size):
        raise PictureSizeError(path, picture.shape[:2], size)
    return picture


@cache
def picture_suffixes() -> frozenset[str]:
    """The suffixes, such as ".jpg", of all formats of pictures that Pillow can read."""
    suffixes = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in suffixes.items() if _is_readable(kind))


def _is_readable(kind: str) -> bool:
    if kind == "MPEG" or kind not in Image.OPEN:  # MPEG: told, but not decoded
        return False
    opener = Image.OPEN[kind][0]
    return not (isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile))


def read_pictures(files: Sequence[str | Path]) -> Iterator[np.ndarray]:
    """Read the frames of a video, RGB uint8 (H, W, 3).

    Raises:
        MediaError: a file is missing, broken, or of another size than the first.
    """
    size = None
    for file in files:
        try:
            image = read_picture(file, size)
        except PictureSizeError as error:
            raise MediaError(f"{file} is {error.found}, {files[0]} is {error.wanted}") from error
        size = size or image.shape[:2]
        yield image


def _decode(image: Image.Image) -> np.ndarray:
    """The pixels of a picture whose header is read, RGB uint8 (H, W, 3)."""
    turn = _turn(image)
    if turn is None and (image.format, image.mode) == ("JPEG", "RGB"):
        picture = _decode_jpeg(image)
        if picture is not None:
            return picture
    upright = image if turn is None else image.transpose(turn)
    return np.asarray(_with_8_bits(upright, image.format).convert("RGB"))


def _decode_jpeg(image: Image.Image) -> np.ndarray | None:
    """The pixels of a JPEG in colour by OpenCV: those of Pillow in two thirds of the time.

    Returns:
        None where the file is damaged, about which Pillow says more.
    """
    image.fp.seek(0)
    content = image.fp.read()
    if not content.endswith(_END_OF_JPEG):
        return None
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)


def _with_8_bits(image: Image.Image, file_format: str | None) -> Image.Image:
    """The picture, if it is one of 16-bit greys in 8 bits.

    Raises:
        ValueError: its numbers have no range that all programs agree on.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in _WITH_16_BITS):
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floats"
        raise ValueError(f"it holds {kind}, whose black and white are unknown; save it with 8 or 16 bits")
    return image


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What puts a picture upright; None where it lies so."""
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION))
    except Exception as error:  # damaged EXIF can raise anything, and the picture is there nevertheless
        name = getattr(image, "filename", "") or "a picture"
        warn_once(f"{name}: its EXIF data are damaged ({error}); it is taken as it lies in the file")
        return None
