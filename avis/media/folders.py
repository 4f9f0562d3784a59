"""Folders of media files, in which a video is looked up by its name."""

from collections.abc import Iterable
from pathlib import Path

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".mpg", ".mpeg", ".ts", ".3gp")
SOUND_SUFFIXES = (".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus")


class MediaFolder:
    """The media files of a folder and those below it, by their path in it without suffix."""

    def __init__(
        self, folder: str | Path, suffixes: Iterable[str] = VIDEO_SUFFIXES, kind: str = "videos"
    ) -> None:
        """Look for files of these suffixes, which are of a kind; hidden ones are left out.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"there is no folder of {kind} {folder}")
        wanted = tuple(suffixes)
        self.files: dict[str, list[Path]] = {}
        for path in sorted(self.folder.rglob("*")):
            if path.suffix.lower() in wanted and not path.name.startswith("."):
                name = path.relative_to(self.folder).with_suffix("").as_posix()
                self.files.setdefault(name, []).append(path)

    def find(self, *names: str) -> Path | None:
        """The one file of a video that has one of these names, the first first; None: there is none.

        Raises:
            ValueError: it has several; the message names them.
        """
        candidates = next((self.files[name] for name in names if name in self.files), [])
        if len(candidates) > 1:
            found = ", ".join(map(str, candidates))
            raise ValueError(f"video {names[0]!r} has several files, leave one: {found}")
        return candidates[0] if candidates else None
