"""Predictions on disk while a run makes them: a file for each process, a line for each video.

The first line of a file is a header with the key of the run, which stands for all that the predictions depend
on. What a killed run has written can so be told from what another run has, and goes on where it ended. A line
without its end, cut off when a process was killed, does not count.
"""

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from avis.files import replacing
from avis.formats.masks import UNREADABLE
from avis.formats.tracks import VideoId


class _Header(msgspec.Struct):
    run: str


class _Line(msgspec.Struct):
    video_id: VideoId
    tracks: msgspec.Raw


class _Place(NamedTuple):
    """Where a video's predictions are."""

    file: Path
    start: int
    end: int


class WrittenFile(NamedTuple):
    """A file of `size` bytes that a process on `host` has written."""

    path: Path
    size: int
    host: str

    def check(self) -> None:
        """Make sure that this process sees the file as it was written.

        Raises:
            FileNotFoundError: it does not.
        """
        size = self.path.stat().st_size if self.path.exists() else 0
        if size != self.size:
            raise FileNotFoundError(
                f"{self.path} was written on {self.host}; {socket.gethostname()} sees {size} of its "
                f"{self.size} bytes: OUTPUT_DIR must be in a file system that all machines of a run share"
            )


class PredictionStore:
    """The predictions of one run in a folder.

    Args:
        folder: where the files are; other files there are left alone.
        run: the key of the run.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self.folder, self.run = folder, run

    def clear(self, keep_own: bool) -> None:
        """Remove the files of other runs, and unless they are to be kept those of this run."""
        for file in self._files():
            if not (keep_own and self._is_own(file)):
                file.unlink()

    def videos(self) -> set[VideoId]:
        """The videos that this run has predicted."""
        return set(self.index())

    def index(self) -> dict[VideoId, _Place]:
        """Find the predictions of each video; of a video that is there more than once the first."""
        places = {}
        for file in filter(self._is_own, self._files()):
            for line, place in _lines(file):
                places.setdefault(line.video_id, place)
        return places

    def writer(self, process: int) -> "PredictionWriter":
        """Open the file of a process, to go on after its last whole line."""
        return PredictionWriter(self._file(process), self.run)

    def write_results(self, path: Path, videos: Iterable[VideoId]) -> int:
        """Write the tracks of some videos, in their order, as one results file.

        Returns:
            The number of tracks.
        """
        places, num_tracks = self.index(), 0
        with replacing(path) as unfinished, unfinished.open("wb") as results:
            results.write(b"[")
            for tracks in (_read_tracks(places[video_id]) for video_id in videos if video_id in places):
                for track in tracks:
                    results.write(b",\n" if num_tracks else b"")
                    results.write(track)
                    num_tracks += 1
            results.write(b"]\n")
        return num_tracks

    def _file(self, process: int | str) -> Path:
        return self.folder / f"predictions.{process}.jsonl"

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(self._file("*").name))

    def _is_own(self, file: Path) -> bool:
        with file.open("rb") as content, suppress(*UNREADABLE):
            return msgspec.json.decode(content.readline(), type=_Header).run == self.run
        return False


class PredictionWriter:
    """Appends predictions to the file of a process; each is whole on disk when `write` returns.

    Args:
        file: begun if it is not there.
        run: the key of the run.
    """

    def __init__(self, file: Path, run: str) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        end = max((place.end for _, place in _lines(file)), default=0) if file.exists() else 0
        if end:
            os.truncate(file, end)
        else:
            file.write_bytes(_encode(_Header(run)))

    def write(self, video_id: VideoId, tracks: Sequence[dict]) -> None:
        """Append a video's entries of the results file."""
        with self._file.open("ab") as file:
            file.write(_encode({"video_id": video_id, "tracks": tracks}))

    def written(self) -> WrittenFile:
        """Tell what another process should see of the file."""
        return WrittenFile(self._file, self._file.stat().st_size, socket.gethostname())


def _encode(line: object) -> bytes:
    return msgspec.json.encode(line) + b"\n"


def _lines(file: Path) -> Iterator[tuple[_Line, _Place]]:
    """The whole lines of a file after its header."""
    with file.open("rb") as content:
        end = len(content.readline())
        for text in content:
            start, end = end, end + len(text)
            line = _parse(text)
            if line is None:
                return
            yield line, _Place(file, start, end)


def _parse(text: bytes) -> _Line | None:
    """A line, or None if it is not whole."""
    with suppress(*UNREADABLE):
        return msgspec.json.decode(text, type=_Line) if text.endswith(b"\n") else None
    return None


def _read_tracks(place: _Place) -> list[msgspec.Raw]:
    """The entries of one video, as they are written."""
    with place.file.open("rb") as content:
        content.seek(place.start)
        line = msgspec.json.decode(content.read(place.end - place.start), type=_Line)
    return msgspec.json.decode(line.tracks, type=list[msgspec.Raw])
