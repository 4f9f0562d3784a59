"""Which videos somebody means who names files, folders and patterns.

A folder that holds videos stands for each of them, and a folder of pictures for the one video whose frames
they are. A split of a data set stands for its videos. Covers, thumbnails and what file managers leave behind
are none, nor are the overlays and masks that our own programs have made of videos.
"""

import glob
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from avis.formats.aviseg import FRAMES
from avis.media.errors import MediaError
from avis.media.origin import is_ours
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
    shell's `videos/*` names them, too; and so are files that programs of ours have made of videos, but for
    one that is named alone.

    Raises:
        FileNotFoundError: no file, or none that is a video, matches a pattern.
        MediaError: a folder holds videos beside a series of pictures, or all is ours, or pictures are all
            that is given.
    """
    found = {os.path.realpath(path): path for entry in given for path in _expand(os.path.expanduser(entry))}
    stray = {name: path for name, path in found.items() if is_stray(Path(path))}
    if stray and len(stray) == len(found):
        path = next(iter(stray.values()))
        raise MediaError(f"{path} is no video: give a video, or the folder that holds the frames of one")
    for path in stray.values():
        logger.info("%s is no video: left out", path)
    return _without_ours([path for name, path in found.items() if name not in stray])


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


def _without_ours(paths: list[str]) -> list[str]:
    """The paths but those of files that we have made; one that is given alone is meant."""
    ours = [path for path in paths if is_ours(Path(path))]
    if not ours or len(paths) == 1:
        return paths
    if len(ours) == len(paths):
        raise MediaError(f"{ours[0]} and all else that is given was made by avis: give the videos themselves")
    more = f" and {len(ours) - 1} more" if len(ours) > 1 else ""
    logger.info("%s%s: left out, as avis has made that of videos", ours[0], more)
    return [path for path in paths if path not in ours]


def _is_video(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in VIDEO_SUFFIXES or (suffix in _MOVING and _moves(path))


def _moves(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1) > 1
    except Exception:  # damaged bytes can raise anything: what cannot be read does not move
        return False


def _expand(entry: str) -> Iterator[str]:
    if not entry:
        raise FileNotFoundError("an input is an empty text, perhaps of a variable that is not set")
    if os.path.isdir(entry):
        yield from _videos_of(Path(entry))
    elif os.path.lexists(entry) or not glob.has_magic(entry):
        yield entry
    else:
        matches = sorted(glob.glob(entry, recursive=True), key=natural_key)
        if not matches:
            raise FileNotFoundError(f"no file matches {entry}")
        videos = list(_among(matches))
        if not videos:
            raise FileNotFoundError(f"{entry} matches {len(matches)} files, no video ({matches[0]} …)")
        yield from videos


def _among(matches: list[str]) -> Iterator[str]:
    """The videos among what matches a pattern, in folders as well; what we have made is none."""
    for match in map(Path, matches):
        if is_ours(match):
            logger.info("%s: left out, as avis has made that of a video", match)
        elif match.is_dir():
            yield from _videos_of(match)
        elif _is_video(match) or len(matches) == 1:
            yield str(match)


def _videos_of(folder: Path) -> list[str]:
    files = visible_files(folder)
    videos = [file for file in files if _is_video(file)]
    videos.sort(key=lambda file: natural_key(file.name))
    frames = frames_in(set(files) - set(videos))
    if videos:
        if all(map(is_ours, videos)):
            raise MediaError(
                f"{folder} holds no video but those that avis has made ({videos[0].name} …): give the folder "
                "of the videos that they were made of"
            )
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
