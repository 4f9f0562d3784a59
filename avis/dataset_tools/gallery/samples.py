"""Videos of a data set as cards of the page: frames with ground truth, when each object sounds, the sound.

Dimensions: T frames of a video.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from pycocotools import mask as coco_mask

from avis.data.clip_mapper import decode_masks, read_frame
from avis.dataset_tools.gallery import sound
from avis.dataset_tools.gallery.pictures import PEAKS, color_of, frame_uri, interval_bar, wave
from avis.media.video import has_audio_stream, read_peaks, read_waveform
from avis.structures import RLE, Track, is_sounding

# Frames of a video that are shown, evenly spread, and objects that have a row.
FRAMES, ROWS = 8, 12


@dataclass(frozen=True)
class ShownFrame:
    """A frame: its index, its second, its picture as a data URI, and what sounds in it."""

    index: int
    second: float
    picture: str
    names: str


@dataclass(frozen=True)
class ShownTrack:
    """A row of the timeline."""

    name: str
    color: str
    number: int
    bar: Markup


@dataclass(frozen=True)
class Sample:
    """A video as it is shown; `sound` is a data URI, "" where there is nothing to play."""

    name: str
    data_set: str
    facts: list[str]
    seconds: float
    frames: list[ShownFrame]
    tracks: list[ShownTrack]
    num_hidden: int
    wave: Markup | None
    sound: str
    sound_note: str

    @property
    def size(self) -> int:
        """Bytes in the page, nearly."""
        return sum(len(frame.picture) for frame in self.frames) + len(self.sound) + 2000 * len(self.tracks)


def show_video(
    record: dict, tracks: Sequence[Track], num_crowds: int, class_names: Sequence[str], fps: float, room: int
) -> Sample:
    """Show a video.

    Args:
        record: of the video.
        tracks: its annotated objects, crowds apart.
        num_crowds: annotations of crowds, which are not drawn.
        class_names: of each class index.
        fps: frames per second.
        room: bytes that it may take; where it is not enough, the sound is cut.

    Raises:
        ValueError: a frame or the sound cannot be read; the message names video and file.
    """
    length = record["length"]
    chosen = np.linspace(0, length - 1, min(length, FRAMES)).round().astype(int).tolist()
    frames = [
        ShownFrame(
            index, index / fps, frame_uri(read_frame(record, index), tracks, index, class_names),
            names_in(tracks, index, class_names),
        )
        for index in chosen
    ]  # fmt: skip
    seconds = length / fps
    heard, peaks, note = _sound_of(record, seconds, room - sum(len(frame.picture) for frame in frames))
    facts = [
        f"{record['width']}×{record['height']}",
        f"{length} frame{'s' * (length != 1)}, {seconds:g} s",
        f"{len(tracks)} object{'s' * (len(tracks) != 1)}",
    ]
    if num_crowds:
        facts.append(f"{num_crowds} marked as crowd, not drawn")
    return Sample(
        name=str(record.get("name", record["video_id"])),
        data_set=record["data_set"],
        facts=facts,
        seconds=seconds,
        frames=frames,
        tracks=[_row(index, track, class_names) for index, track in enumerate(tracks[:ROWS])],
        num_hidden=max(0, len(tracks) - ROWS),
        wave=None if peaks is None else wave(peaks),
        sound=heard,
        sound_note=note,
    )


def annotated_tracks(record: dict) -> list[Track]:
    """The annotated objects of a video, crowds apart, whatever form their masks have in the file.

    Raises:
        ValueError: a mask is malformed; the message names video, annotation and frame.
    """
    return [
        Track(
            1.0, entry["category_id"], [_mask_of(record, entry, frame) for frame in range(record["length"])]
        )
        for entry in record["annotations"]
        if not entry["iscrowd"]
    ]


def _mask_of(record: dict, entry: dict, frame: int) -> RLE | None:
    mask = entry["segmentations"][frame]
    if not mask or (isinstance(mask, dict) and isinstance(mask["counts"], str | bytes)):
        return mask or None
    return encode(decode_masks(record, [(entry, frame)])[0])


def encode(mask: np.ndarray) -> RLE | None:
    """A mask (H, W) as run lengths; None where it is empty."""
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) if mask.any() else None


def names_in(tracks: Sequence[Track], t: int, class_names: Sequence[str]) -> str:
    """What sounds in a frame, in words."""
    counts = Counter(class_names[track.category_id] for track in tracks if track.segmentations[t] is not None)
    names = [f"{count} × {name}" if count > 1 else name for name, count in counts.items()]
    return ", ".join(names) or "nothing sounds"


def _row(index: int, track: Track, class_names: Sequence[str]) -> ShownTrack:
    name, number = class_names[track.category_id], sum(is_sounding(track))
    description = f"{name} sounds in {number} of {len(track.segmentations)} frames"
    return ShownTrack(name, color_of(index), number, interval_bar(track, description))


def _sound_of(record: dict, seconds: float, room: int) -> tuple[str, np.ndarray | None, str]:
    """The sound as a data URI, as much of it as there is room for; its peaks; and a remark."""
    file = record["audio_file"]
    if file is None or not has_audio_stream(file):
        has_features = record.get("audio_features_file") is not None
        return "", None, "Features of sound alone: nothing to play." if has_features else "No sound."
    start = record.get("sound_start", 0.0)
    peaks = read_peaks(file, PEAKS, start, seconds)
    kept = min(seconds, room // sound.BYTES_A_SECOND)
    if kept < min(1, seconds):
        return "", peaks, "The sound has no room in the page (--max-mb)."
    waveform, rate = read_waveform(file, start, kept)
    if not len(waveform):
        return "", peaks, "The sound ends before the first frame."
    if not np.isfinite(waveform).all():
        raise ValueError(f"sound of video {record['video_id']!r}: {file} holds NaN or infinity")
    note = "" if kept == seconds else f"The first {kept:g} s of the sound (--max-mb)."
    return sound.sound_uri(waveform, rate), peaks, note
