"""Where the frames and the sound of annotated videos are to be had.

Dimensions: T frames.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from pathlib import Path, PurePosixPath

from avis.formats.aviseg import FRAMES, SOUNDS
from avis.formats.readers.common import SourceSet, SourceVideo
from avis.media.folders import SOUND_SUFFIXES, VIDEO_SUFFIXES, MediaFolder
from avis.media.pictures import picture_suffixes


class MissingMediaError(ValueError):
    """The pictures or the video file of a video are not there; the message names them."""


@dataclass(frozen=True)
class MediaOptions:
    """What the user says of the media.

    Attributes:
        videos: folder of video files.
        images: folder of pictures.
        sounds: folder of sound files.
        fps: frames per second of the data set.
        image_fps: pictures per second, of which `fps` are taken; None: all are.
    """

    videos: Path | None = None
    images: Path | None = None
    sounds: Path | None = None
    fps: float = 1.0
    image_fps: float | None = None


@dataclass(frozen=True)
class VideoMedia:
    """The files of a video.

    Attributes:
        video: its file; None: it has pictures.
        pictures: its pictures, all of them; empty: it has a file.
        numbers: of each picture, by which annotations call it.
        chosen: the indices of those that the data set takes.
        sound: the file of its sound; None: it has none.
    """

    video: Path | None
    sound: Path | None
    pictures: Sequence[Path] = ()
    numbers: Sequence[int] = ()
    chosen: Sequence[int] = field(default=())


class SourceMedia:
    """Finds the files of videos."""

    def __init__(self, options: MediaOptions) -> None:
        """Look through the folders that the user names.

        Raises:
            FileNotFoundError: one is not there.
            ValueError: more pictures a second are wanted than there are.
        """
        self.options = options
        if options.image_fps is not None and options.image_fps < options.fps:
            raise ValueError(
                f"there are {options.image_fps:g} pictures a second (--image-fps), and {options.fps:g} "
                "cannot be taken (--fps)"
            )
        if options.images is not None and not options.images.is_dir():
            raise FileNotFoundError(f"there is no folder of pictures {options.images}")
        self._videos = options.videos and MediaFolder(options.videos)
        with_sound = SOUND_SUFFIXES + VIDEO_SUFFIXES
        self._sounds = options.sounds and MediaFolder(options.sounds, with_sound, "sound files")

    def find(self, video: SourceVideo, source: SourceSet) -> VideoMedia:
        """Find the files of a video of a set.

        Raises:
            MissingMediaError: there are no frames of it, or not all of them.
            ValueError: it has several files of one name.
        """
        if video.file is not None:
            return VideoMedia(video.file, video.file)
        if self._videos is not None:
            file = self._videos.find(*video.files, video.name)
            if file is not None:
                return VideoMedia(file, self._sound(video, None) or file)
            if video.pictures is None or self.options.images is None:
                raise MissingMediaError(
                    f"{video.where}: there is no video {video.name!r} (.mp4 or the like) in "
                    f"{self.options.videos}; --skip-missing leaves such videos out"
                )
        root, pictures = self._pictures(video, source)
        numbers = _numbers_in_names(pictures) if video.named_by_frame else None
        return VideoMedia(
            None,
            self._sound(video, root),
            pictures,
            numbers or range(len(pictures)),
            self._choose(len(pictures)),
        )

    def _pictures(self, video: SourceVideo, source: SourceSet) -> tuple[Path, list[Path]]:
        """The folder of all pictures, and those of the video."""
        roots = source.image_roots if self.options.images is None else (self.options.images,)
        if video.pictures is None:
            return self._listed(video, source, roots)
        shown = ", ".join(map(str, dict.fromkeys(roots)))
        first = video.pictures[0]
        places = ((root, names) for names in (video.pictures, video.uploaded) if names for root in roots)
        root, names = next((place for place in places if (place[0] / place[1][0]).is_file()), (None, ()))
        if root is None:
            raise MissingMediaError(
                f"{video.where}: the picture {first!r} is not in {shown}; --images says where the "
                "pictures lie, --skip-missing leaves such videos out"
            )
        files = [root / name for name in names]
        if missing := [file for file in files if not file.is_file()]:
            raise MissingMediaError(
                f"{video.where}: {len(missing)} of {len(files)} pictures are missing, the first is "
                f"{missing[0]}; --skip-missing leaves such videos out"
            )
        return root, files

    def _listed(
        self, video: SourceVideo, source: SourceSet, roots: Sequence[Path]
    ) -> tuple[Path, list[Path]]:
        """The pictures of a video whose annotations do not list them: those of the folder of its name.

        Those of an only video may lie in the folder of pictures itself.
        """
        names = [*dict.fromkeys((*video.files, video.name))]
        if len(source.videos) == 1:
            names.append(".")
        for name, root in product(names, roots):
            files = sorted(p for p in (root / name).glob("*") if p.suffix.lower() in picture_suffixes())
            if files:
                return root, files
        tried = "--videos or --images" if self.options.images is None else str(self.options.images)
        raise MissingMediaError(
            f"{video.where}: its frames are not in the annotations: there must be a video file, or a "
            f"folder of pictures, {video.name!r} in {tried}"
        )

    def _choose(self, total: int) -> list[int]:
        """The indices of the pictures that show at 0, 1/fps, 2/fps, …"""
        if self.options.image_fps is None:
            return list(range(total))
        step = _exact(self.options.image_fps) / _exact(self.options.fps)
        chosen, time = [], Fraction(0)
        while time < total:
            chosen.append(int(time))
            time += step
        return chosen

    def _sound(self, video: SourceVideo, image_root: Path | None) -> Path | None:
        names = dict.fromkeys((video.name, *video.files, PurePosixPath(video.name).name))
        if self._sounds is not None:
            return self._sounds.find(*names)
        if video.sound is not None and video.sound.is_file():
            return video.sound
        if image_root is not None and image_root.name == FRAMES:
            found = (image_root.parent / SOUNDS / f"{name}.wav" for name in names)
            return next((file for file in found if file.is_file()), None)
        return None


def _numbers_in_names(pictures: Sequence[Path]) -> list[int] | None:
    """The numbers of pictures that are called as CVAT calls the frames of a video; None: they are not."""
    found = [re.fullmatch(r"frame_(\d+)", picture.stem) for picture in pictures]
    return [int(number[1]) for number in found] if all(found) else None


def _exact(rate: float) -> Fraction:
    return Fraction(rate).limit_denominator(100_000)
