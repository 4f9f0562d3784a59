"""Where the sound of a data set's videos lies, and where its features belong.

Dimensions: T frames of a video.
"""

from collections.abc import Sequence
from pathlib import Path

from avis.data.clip_audio import VideoSound
from avis.files import is_file
from avis.formats.aviseg import SOUNDS, features_file, read_annotations, sound_file, split_folder
from avis.formats.tracks import Video

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".mpg", ".mpeg", ".ts", ".3gp")


def find_sounds(json_files: Sequence[str | Path], videos: str | Path | None = None) -> list[VideoSound]:
    """Find the sound of every video of some splits.

    Args:
        json_files: the splits' annotations.
        videos: folder of video files to take the sound from, ``<video>.mp4`` or the like; None: a split's
            WAVAudios, where a video without a file is silent.

    Returns:
        One for each video, also for one that has several entries, by the videos' names. The files of features
        are where these belong, there or not.

    Raises:
        FileNotFoundError: there are no such annotations, there is no such folder.
        ValueError: annotations are malformed; a split has no sound at all; a video has several video files;
            videos of the same name differ in length; a video starts later than its sound.
    """
    video_folder = None if videos is None else _VideoFolder(Path(videos))
    sounds: dict[Path, VideoSound] = {}
    for json_file in map(Path, json_files):
        split = split_folder(json_file).absolute()
        found = [_find_sound(video, split, video_folder) for video in read_annotations(json_file).videos]
        if not any(sound.audio_file and Path(sound.audio_file).is_file() for sound in found):
            where = videos if videos is not None else f"{split / SOUNDS}; --videos DIR takes video files"
            raise ValueError(f"no video of {json_file} has sound in {where}")
        for sound in found:
            if sounds.setdefault(sound.features_file, sound).length != sound.length:
                raise ValueError(f"{json_file}: two videos of different lengths are called {sound.video!r}")
    return list(sounds.values())


def _find_sound(video: Video, split: Path, video_folder: "_VideoFolder | None") -> VideoSound:
    if video.start:
        raise ValueError(
            f"video {video.id!r} starts at {video.start:g} s of the sound of {video.name!r}, and a file of "
            "features belongs to a whole folder; choose INPUT.AUDIO.SOURCE waveform"
        )
    if video_folder is not None:
        audio_file = str(video_folder.find(video.name))
    else:
        wav = sound_file(split, video.name)
        audio_file = str(wav) if is_file(wav) else None
    return VideoSound(video.name, video.length, audio_file, features_file(split, video.name))


class _VideoFolder:
    """The video files of a folder and those below it, by their path in it without suffix."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder of videos {folder}")
        self.folder = folder
        self.files: dict[str, list[Path]] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith("."):
                name = path.relative_to(folder).with_suffix("").as_posix()
                self.files.setdefault(name, []).append(path)

    def find(self, name: str) -> Path:
        """The one file of a video; where there is none, what an error on reading it shall call it."""
        candidates = self.files.get(name, [self.folder / f"{name}{VIDEO_SUFFIXES[0]}"])
        if len(candidates) > 1:
            found = ", ".join(map(str, candidates))
            raise ValueError(f"video {name!r} has several files, leave one: {found}")
        return candidates[0]
