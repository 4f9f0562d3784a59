"""What was found in a video, and how the page shows it: which tracks, and when each sounds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from avis.visualization.drawing import text_size, track_color
from avis.visualization.timeline import MARGIN, TimelineRow, draw_timeline

ALL_TRACKS = "all tracks"
COLUMNS = ("no.", "category", "score", "sounds (s)", "sum (s)")
# Large enough to be read on a phone, where the picture is half as wide.
_TIMELINE_WIDTH, _TEXT_HEIGHT = 800, 22


@dataclass(frozen=True)
class Found:
    """A readable JSON (see `prediction_to_json`) of all candidates, best first."""

    content: dict

    @classmethod
    def sorted(cls, content: dict) -> "Found":
        """Of candidates in any order, which are numbered anew from 1."""
        tracks = sorted(content["tracks"], key=lambda track: -track["score"])
        numbered = [track | {"number": number} for number, track in enumerate(tracks, start=1)]
        return cls(content | {"tracks": numbered})

    def above(self, threshold: float) -> "Found":
        """The tracks alone that score more; they keep their numbers, and so their colours."""
        tracks = [track for track in self.content["tracks"] if track["score"] > threshold]
        return Found(self.content | {"tracks": tracks})

    def alone(self, choice: str) -> "Found":
        """The track of that name alone; "all tracks" are all of them."""
        if choice == ALL_TRACKS:
            return self
        named = zip(self.content["tracks"], self.names, strict=True)
        tracks = [track for track, name in named if name == choice]
        return Found(self.content | {"tracks": tracks})

    @property
    def names(self) -> list[str]:
        """What each track is called where one is chosen."""
        return [f"{track['number']} {track['category']}" for track in self.content["tracks"]]

    @property
    def colors(self) -> list[tuple[int, int, int]]:
        """Of each track."""
        return [track_color(track["number"] - 1) for track in self.content["tracks"]]

    def rows(self) -> list[list[object]]:
        """The table: number, category, score, the intervals in which it sounds, and how long that is."""
        return [
            [
                track["number"],
                track["category"],
                f"{track['score']:.2f}",
                ", ".join(f"{begin:g}–{end:g}" for begin, end in _rounded(track["sounding"])) or "never",
                f"{sum(end - begin for begin, end in track['sounding']):.1f}",
            ]
            for track in self.content["tracks"]
        ]

    def timeline(self) -> np.ndarray:
        """When each track sounds, as a picture (height, width, 3)."""
        rows = [
            TimelineRow(
                f"{name} {track['score']:.2f}", color, [mask is not None for mask in track["segmentations"]]
            )
            for name, color, track in zip(self.names, self.colors, self.content["tracks"], strict=True)
        ]
        widest = max(text_size(row.label, _TEXT_HEIGHT)[0] for row in rows)
        label_width = min(widest + _TEXT_HEIGHT + 4 * MARGIN, _TIMELINE_WIDTH // 2)
        fps = self.content["video"]["fps"]
        return draw_timeline(rows, _TIMELINE_WIDTH, label_width, fps, text_height=_TEXT_HEIGHT)


def _rounded(intervals: Sequence[Sequence[float]]) -> Iterator[tuple[float, float]]:
    return ((round(begin, 2), round(end, 2)) for begin, end in intervals)
