"""Which videos somebody means who names files, folders and patterns.

A folder that holds videos stands for each of them, and a folder of pictures for the one video whose frames
they are. A split of a data set stands for its videos. Covers, thumbnails and what file managers leave behind
are none.
"""

import glob
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from avis.formats.aviseg import FRAMES
from avis.media.errors import MediaError
from avis.media.pictures import picture_suffixes

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    (
        ".3g2", ".3gp", ".asf", ".avi", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
        ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
    )
)  # fmt: skip
# Formats of pictures that move, too.
_MOVING = frozenset((".apng", ".gif"))
_LEFT_BEHIND = ("thumbs.db", "desktop.ini", "ehthumbs.db")
_COVER = re.compile(
    r"(album|cover|folder|front|thumbs?|thumbnails?|poster|albumart.*|artwork|fanart|banner|preview)|"
    r".*[-_. ](thumb|thumbnail|poster|cover|fanart|preview)",
    re.IGNORECASE,
)


def find_videos(given: Sequence[str]) -> list[str]:
    """The video files and folders of frames that files, folders and patterns stand for, each once.

    Files that are given by name come back as they are, whatever they are called, and so do folders in which
    nothing is found: who opens them says what is wrong. Pictures are left out with a line in the log, as a
    shell's `videos/*` names them, too.

    Raises:
        FileNotFoundError: no file matches a pattern.
        MediaError: a folder holds videos beside a series of pictures, or pictures are all that is given.
    """
    found = {os.path.realpath(path): path for entry in given for path in _expand(entry)}
    stray = {name: path for name, path in found.items() if is_stray(Path(path))}
    if stray and len(stray) == len(found):
        path = next(iter(stray.values()))
        raise MediaError(f"{path} is no video: give a video, or the folder that holds the frames of one")
    for path in stray.values():
        logger.info("%s is no video: left out", path)
    return [path for name, path in found.items() if name not in stray]


def is_stray(path: Path) -> bool:
    """Whether a file is a picture that does not move, or was left behind by a file manager."""
    if not path.is_file():
        return False
    suffix = path.suffix.lower()
    is_picture = suffix in picture_suffixes() and suffix not in _MOVING
    return is_picture or path.name.lower() in _LEFT_BEHIND or path.name.startswith("._")


def is_cover(path: Path, videos: Iterable[Path] = ()) -> bool:
    """Whether a picture is, by its name, a cover or thumbnail, also of a video of its own name."""
    return bool(_COVER.fullmatch(path.stem)) or path.stem in {video.stem for video in videos}


def frames_in(files: Iterable[Path]) -> list[Path]:
    """The pictures among the files of a folder that can be frames, in the order of their numbers."""
    pictures = [file for file in files if file.suffix.lower() in picture_suffixes() and not is_cover(file)]
    return sorted(pictures, key=lambda file: natural_key(file.name))


def visible_files(folder: Path) -> list[Path]:
    """The files of a folder that are not hidden."""
    return [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts 9.jpg before 10.jpg."""
    return [(int(digits or 0), text) for digits, text in re.findall(r"(\d+)|(\D+)", name)]


def _expand(entry: str) -> Iterator[str]:
    if os.path.isdir(entry):
        yield from _videos_of(Path(entry))
    elif os.path.lexists(entry) or not glob.has_magic(entry):
        yield entry
    else:
        matches = sorted(glob.glob(entry, recursive=True), key=natural_key)
        if not matches:
            raise FileNotFoundError(f"no file matches {entry}")
        for match in map(Path, matches):
            if match.is_dir():
                yield from _videos_of(match)
            elif match.suffix.lower() in VIDEO_SUFFIXES or len(matches) == 1:
                yield str(match)


def _videos_of(folder: Path) -> list[str]:
    files = visible_files(folder)
    videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
    videos.sort(key=lambda file: natural_key(file.name))
    frames = frames_in(files)
    if videos:
        _check_is_no_series([file for file in frames if not is_cover(file, videos)], videos, folder)
        return [str(video) for video in videos]
    if frames:
        return [str(folder)]
    split = folder if folder.name == FRAMES else folder / FRAMES
    below = sorted(
        (path for path in split.rglob("*") if path.is_dir()), key=lambda path: natural_key(str(path))
    )
    return [str(path) for path in below if frames_in(visible_files(path))] or [str(folder)]


def _check_is_no_series(pictures: list[Path], videos: list[Path], folder: Path) -> None:
    """Refuse pictures that count, as frames do, beside videos."""
    counted = [file for file in pictures if file.stem[-1].isdigit()]
    if len({file.stem.rstrip("0123456789") for file in counted}) == 1 and len(counted) > 1:
        raise MediaError(
            f"{folder} holds videos ({videos[0].name}, {len(videos)} in all) and {len(counted)} numbered "
            f"pictures ({counted[0].name} …), so it may be a folder of videos or the frames of one: give "
            f"'{folder}/*{videos[0].suffix}', or move the frames to a folder of their own"
        )
    if pictures:
        logger.info("%s holds videos: its pictures are left out (%s)", folder, pictures[0].name)
