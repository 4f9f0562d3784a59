"""Fonts for text in any script: the first on the machine that has all its characters."""

import logging
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import ImageFont

logger = logging.getLogger(__name__)

# Names a font file to write with.
VARIABLE = "AVIS_FONT"
# Looked at first: fonts with many scripts.
_PREFERRED = re.compile(
    "NotoSansCJK|NotoSansSC|SourceHan|wqy|DroidSansFallback|msyh|PingFang|Unicode|DejaVuSans\\."
)
# A character that no font has: what is drawn for it is drawn for all that a font lacks.
_NOBODYS = "\U0010fffe"


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """The font to write a text with, `size` pixels high.

    It is that of the environment variable AVIS_FONT, Pillow's own, or one of the machine's: the first that
    has all characters. Where none has, it is Pillow's own (see `writable`).

    Raises:
        ValueError: AVIS_FONT names no font file.
    """
    return _load(_font_file(text) or "", size)


def writable(text: str) -> str:
    """The text as it can be drawn: characters that no font has become their numbers, such as U+732B."""
    if _font_file(text) is not None:
        return text
    missing = "".join(sorted({char for char in text if not _has(_load("", 16), char)}))
    _warn_of_numbers()
    runs = re.compile(f"[{re.escape(missing)}]+")
    return runs.sub(lambda run: "U+" + "+".join(f"{ord(char):04X}" for char in run[0]), text)


@cache
def _warn_of_numbers() -> None:
    """Once, however many names there are."""
    logger.warning(
        "no font has all characters of the labels: their numbers are drawn instead, such as U+732B. Install "
        "a font that has them (Debian: apt-get install fonts-noto-cjk), or name its file in %s",
        VARIABLE,
    )


def _font_file(text: str) -> str | None:
    """The file of the first font that has all characters, "" for Pillow's own; None if there is none."""
    return _find("".join(sorted(set(text))), os.environ.get(VARIABLE, ""))


@cache
def _find(characters: str, chosen: str) -> str | None:
    return next((file for file in _files(characters, chosen) if _has_all(file, characters)), None)


def _files(characters: str, chosen: str) -> Iterator[str]:
    if chosen:
        yield chosen
    yield ""
    if not characters.isascii():
        yield from _installed()


@cache
def _installed() -> list[str]:
    """The machine's font files."""
    from matplotlib.font_manager import findSystemFonts  # here, as it is slow and seldom needed

    return sorted(findSystemFonts(), key=lambda file: (not _PREFERRED.search(Path(file).name), file))


def _has_all(file: str, characters: str) -> bool:
    try:
        font = _load(file, 16)
    except OSError as error:
        if file == os.environ.get(VARIABLE):
            raise ValueError(f"{VARIABLE}={file}: no font can be read from it: {error}") from error
        return False
    return all(_has(font, char) for char in characters)


def _has(font: ImageFont.FreeTypeFont, char: str) -> bool:
    """Whether a font has a character; spaces are nothing to draw."""
    return char.isspace() or bytes(font.getmask(char)) != bytes(font.getmask(_NOBODYS))


@cache
def _load(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size) if file else ImageFont.load_default(size)
