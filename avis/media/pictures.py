"""Pictures, read by Pillow as Detectron2 reads them.

Dimensions: H×W pictures.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from avis.media.errors import MediaError

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


def read_picture(path: str | Path) -> np.ndarray:
    """Read a picture of any mode, turned as it is to be shown.

    Returns:
        RGB uint8 (H, W, 3).

    Raises:
        MediaError: the file is missing or broken.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(_upright(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises all three on broken files
        raise MediaError(f"{path} cannot be read as a picture: {error}") from error


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
    shape = None
    for file in files:
        image = read_picture(file)
        shape = shape or image.shape
        if image.shape != shape:
            sizes = [f"{height}×{width}" for height, width, _ in (image.shape, shape)]
            raise MediaError(f"{file} is {sizes[0]}, {files[0]} is {sizes[1]}")
        yield image


def _upright(image: Image.Image) -> Image.Image:
    try:
        method = _UPRIGHT.get(image.getexif().get(_ORIENTATION))
    except Exception:  # damaged EXIF can raise anything, and the picture is there nevertheless
        return image
    return image if method is None else image.transpose(method)
