"""What a prediction depends on, as one short text: only where it is the same can a finished one be kept."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from avis.inference.video_source import VideoSource


def run_key(model: str, path: str | Path, video: VideoSource, categories: list[dict]) -> str:
    """Digest what the prediction for a video depends on.

    Media are told by size and time of change: reading them would take as long as predicting.

    Args:
        model: stands for the model, its weights and settings.
        path: of the video file or the folder of frames.
        video: opened from there.
        categories: {"id", "name"} of each class index.

    Returns:
        Hexadecimal digits.
    """
    files = [(name, os.stat(name).st_size, os.stat(name).st_mtime_ns) for name in _files(path, video)]
    part = video.fps, video.audio_track, video.start, video.end
    depends_on = json.dumps([model, *part, categories, files])
    return hashlib.blake2b(depends_on.encode(), digest_size=16).hexdigest()


def _files(path: str | Path, video: VideoSource) -> Iterator[str]:
    """The files of pictures and sound, by their paths, in order."""
    path = Path(path).resolve()
    yield from map(str, sorted(path.iterdir()) if path.is_dir() else [path])
    if video.audio_file is not None:
        yield str(video.audio_file)
