"""Where the sound of a data set's videos lies, and where its features belong.

Dimensions: T frames of a video.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from avis.data.clip_audio import VideoSound
from avis.files import is_file
from avis.formats.audio_features import source_files, source_name
from avis.formats.aviseg import (
    FEATURES,
    SOUNDS,
    SOURCES,
    features_file,
    features_folder,
    read_annotations,
    sound_file,
    sources_folder,
    split_folder,
)
from avis.formats.tracks import Video
from avis.media.folders import VIDEO_SUFFIXES, MediaFolder


def find_sounds(
    json_files: Sequence[str | Path], videos: str | Path | None = None, features_dir: str = FEATURES
) -> list[VideoSound]:
    """Find the sound of every video of some splits.

    Args:
        json_files: the splits' annotations.
        videos: folder of video files to take the sound from, ``<video>.mp4`` or the like; None: a split's
            WAVAudios, where a video without a file is silent.
        features_dir: a split's folder for the features.

    Returns:
        One for each video, also for one that has several entries, by the videos' names. The files of features
        are where these belong, there or not.

    Raises:
        FileNotFoundError: there are no such annotations, there is no such folder.
        ValueError: annotations are malformed; a split has no sound at all; a video has several video files;
            videos of the same name differ in length; a video starts later than its sound.
    """
    video_folder = None if videos is None else MediaFolder(videos)
    where = videos if videos is not None else f"{SOUNDS}; --videos DIR takes video files"
    find = partial(_find_sound, video_folder=video_folder, features_dir=features_dir)
    return _find_all(json_files, lambda video, split: [find(video, split)], where)


def find_sources(
    json_files: Sequence[str | Path], num_sources: int, features_dir: str = FEATURES
) -> list[VideoSound]:
    """Find the separated sources of the sound of every video of some splits, in WAVAudios_sep.

    Args:
        json_files: the splits' annotations.
        num_sources: how many each video has. Of a video without sound in WAVAudios, all are silent.
        features_dir: a split's folder for the features.

    Returns:
        `num_sources` for each video, as from `find_sounds`, each with a file of features of its own.

    Raises:
        ValueError: as by `find_sounds`; or the sources of a video are not there, or not as many.
    """
    find = partial(_find_sources, num_sources=num_sources, features_dir=features_dir)
    return _find_all(json_files, find, SOURCES)


def _find_all(
    json_files: Sequence[str | Path], find: Callable[[Video, Path], list[VideoSound]], where: str | Path
) -> list[VideoSound]:
    """What `find` finds for the videos of splits, given the folder of each split, `where` messages say."""
    sounds: dict[Path, VideoSound] = {}
    for json_file in map(Path, json_files):
        split = split_folder(json_file).absolute()
        videos = read_annotations(json_file).videos
        found = [sound for video in videos for sound in find(video, split)]
        if not any(sound.audio_file and Path(sound.audio_file).is_file() for sound in found):
            raise ValueError(f"no video of {json_file} has sound in {where}")
        for sound in found:
            if sounds.setdefault(sound.features_file, sound).length != sound.length:
                raise ValueError(f"{json_file}: two videos of different lengths are called {sound.video!r}")
    return list(sounds.values())


def _refuse_start(video: Video) -> None:
    if video.start:
        raise ValueError(
            f"video {video.id!r} starts at {video.start:g} s of the sound of {video.name!r}, and a file of "
            "features belongs to a whole folder; choose INPUT.AUDIO.SOURCE waveform"
        )


def _find_sources(video: Video, split: Path, num_sources: int, features_dir: str) -> list[VideoSound]:
    _refuse_start(video)
    folder = sources_folder(split, video.name)
    files = source_files(folder, ".wav")
    is_silent = not files and not is_file(sound_file(split, video.name))
    if len(files) != num_sources and not is_silent:
        raise ValueError(
            f"{folder} has {len(files)} files {source_name(1, '.wav')}, …, INPUT.AUDIO.NUM_SOURCES is "
            f"{num_sources}; `tools/prepare_audio.py --help` says how to separate sounds"
        )
    target = features_folder(features_file(split, video.name, features_dir))
    return [
        VideoSound(
            f"{video.name}/{source_name(number, '')}",
            video.length,
            None if is_silent else str(files[number - 1]),
            target / source_name(number, ".npy"),
        )
        for number in range(1, num_sources + 1)
    ]


def _find_sound(video: Video, split: Path, video_folder: MediaFolder | None, features_dir: str) -> VideoSound:
    _refuse_start(video)
    if video_folder is not None:
        # Where there is no file, what an error on reading it shall call it.
        absent = video_folder.folder / f"{video.name}{VIDEO_SUFFIXES[0]}"
        audio_file = str(video_folder.find(video.name) or absent)
    else:
        wav = sound_file(split, video.name)
        audio_file = str(wav) if is_file(wav) else None
    return VideoSound(video.name, video.length, audio_file, features_file(split, video.name, features_dir))
