"""What is wrong with the frames of videos: their files, their order, and what videos have in common.

Dimensions: T frames of a video.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from avis.data.clip_mapper import read_frame
from avis.dataset_tools.problems import ERROR, WARNING, Problem
from avis.formats.tracks import Video, videos_without_start

# Videos that share more than this part of the shorter one's different pictures are one video.
_SHARED_PART = 0.5
# Videos with the same picture that are looked at: all have the black ones.
_OWNERS = 20


class FrameHashes(NamedTuple):
    """The pictures of a video by their content.

    Attributes:
        source: the annotations that the video belongs to.
        video: its id.
        hashes: of the T frames; None where there is no file.
    """

    source: str
    video: int | str
    hashes: list[bytes | None]

    @property
    def key(self) -> tuple[str, int | str]:
        """The annotations and the id."""
        return self.source, self.video


def hash_frames(record: dict) -> list[bytes | None]:
    """The hash of each frame's file, of the same content the same; None where there is no file."""
    return [_hash(Path(file)) for file in record["file_names"]]


def frame_problems(record: dict, hashes: Sequence[bytes | None]) -> Iterator[Problem]:
    """Yield which frames of a video cannot be read, and which have the same content."""
    where = f"video {record['video_id']!r}"
    for index in range(record["length"]):
        try:
            read_frame(record, index)
        except ValueError as error:
            yield Problem(ERROR, "unusable frame", where, str(error))
    first_of: dict[tuple, int] = {}
    repeated = {}
    for index, (name, content) in enumerate(zip(record["file_names"], hashes, strict=True)):
        first = first_of.setdefault(content, index)
        if content and first != index and record["file_names"][first] != name:
            repeated[index] = first
    if repeated:
        index, first = next(iter(repeated.items()))
        files = [Path(record["file_names"][i]).name for i in (index, first)]
        message = f"{where}: {len(repeated)} frames are repeated, {files[0]} has the content of {files[1]}"
        yield Problem(WARNING, "repeated frames", where, message)


def order_problems(video: Video) -> Iterator[Problem]:
    """Yield what the names of a video's frames tell of their order."""
    where = f"video {video.id!r}"
    folders = sorted({PurePosixPath(name).parent.as_posix() for name in video.file_names})
    if len(folders) > 1:
        message = f"{where}: its frames are mixed, of {len(folders)} folders ({', '.join(folders[:3])})"
        yield Problem(ERROR, "frames of several videos", where, message)
        return
    twice = [name for name, count in Counter(video.file_names).items() if count > 1]
    if twice:
        message = f"{where}: {len(twice)} frames are repeated, the first is {twice[0]}"
        yield Problem(ERROR, "the same frame twice", where, message)
        return
    numbers = [_number(name) for name in video.file_names]
    if None not in numbers:
        yield from _number_problems(video, where, numbers)


def shared_videos(videos: Iterable[FrameHashes]) -> Iterator[tuple[str, Problem]]:
    """Yield which videos have pictures in common, with the annotations of the later one.

    In one split this may be meant; two splits that share a video test on what was trained on.
    """
    seen_in: dict[bytes, list[FrameHashes]] = defaultdict(list)
    for video in videos:
        contents = {content for content in video.hashes if content}
        others = [other for content in contents for other in seen_in[content][:_OWNERS]]
        by_key = {other.key: other for other in others}
        for key, count in Counter(other.key for other in others).most_common(1):
            smaller = min(len(contents), len({content for content in by_key[key].hashes if content}))
            if count > _SHARED_PART * smaller:
                yield video.source, _shared(video, by_key[key], count)
        for content in contents:
            seen_in[content].append(video)


def folder_problems(videos: Iterable[Video]) -> Iterator[Problem]:
    """Yield the folders of several videos of which not all say where they start."""
    for folder, sharing in videos_without_start(videos).items():
        names = ", ".join(repr(video.id) for video in sharing)
        message = (
            f"the videos {names} are of one folder, {folder}, and so of one sound: each needs "
            '"start", the second of the sound at which its first frame is'
        )
        yield Problem(ERROR, "several videos of one folder", f"video {sharing[0].id!r}", message)


def _shared(video: FrameHashes, first: FrameHashes, count: int) -> Problem:
    where = f"video {video.video!r}"
    places = [first.hashes.index(content) for content in video.hashes if content in first.hashes]
    is_reversed = len(places) > 1 and all(a > b for a, b in pairwise(places))
    order = ", in reversed order" if is_reversed else ""
    is_leak = first.source != video.source
    of = f" of {first.source}" if is_leak else ""
    message = f"{where}: {count} of its frames are those of video {first.video!r}{of}{order}"
    if is_leak:
        return Problem(ERROR, "video in two splits", where, f"{message}: the splits share a video")
    return Problem(WARNING, "video that is there twice", where, message)


def _number_problems(video: Video, where: str, numbers: list[int]) -> Iterator[Problem]:
    steps = [later - earlier for earlier, later in pairwise(numbers)]
    if not steps or (steps[0] > 0 and len(set(steps)) == 1):
        return
    if all(step < 0 for step in steps):
        message = f"{where}: its frames are reversed, from {video.file_names[0]} to {video.file_names[-1]}"
        yield Problem(ERROR, "reversed frames", where, message)
    elif any(step <= 0 for step in steps):
        frame = next(index for index, step in enumerate(steps, start=1) if step <= 0)
        names = f"{video.file_names[frame]} follows {video.file_names[frame - 1]}"
        message = f"{where}: its frames are out of order, {names}"
        yield Problem(ERROR, "mixed frames", where, message)
    else:
        usual = Counter(steps).most_common(1)[0][0]
        frame = next(index for index, step in enumerate(steps, start=1) if step != usual)
        names = f"{video.file_names[frame]} follows {video.file_names[frame - 1]}"
        message = f"{where}: frames are missing, {names}; later frames hear too early a sound"
        yield Problem(WARNING, "gap in the frames", where, message)


def _number(name: str) -> int | None:
    """The last number in the name of a frame."""
    numbers = re.findall(r"\d+", PurePosixPath(name).stem)
    return int(numbers[-1]) if numbers else None


def _hash(file: Path) -> bytes | None:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).digest() if file.is_file() else None
