"""The files of what the page shows: overlays, timelines and downloads, made of a prediction once each."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from avis.app.found import ALL_TRACKS, Found
from avis.app.limits import VideoFacts
from avis.files import fit_name, write_json
from avis.media.shown import Shown

if TYPE_CHECKING:
    from avis.inference import VideoSource

# Takes what is being done, and the share that is done of all, 0 … 1.
Report = Callable[[str, float], object]


@dataclass(frozen=True)
class View:
    """What the page shows.

    Attributes:
        status: a sentence or two.
        overlay: the video.
        timeline: a picture; None if no track is shown.
        rows: of the tracks table.
        choices: what can be shown: all tracks, or one alone.
        choice: which of them is shown.
        files: the readable JSON, the table and the masks, of all tracks.
    """

    status: str
    overlay: Path
    timeline: Path | None
    rows: list[list[object]]
    choices: list[str]
    choice: str
    files: tuple[Path, Path, Path]


@dataclass(frozen=True)
class Result:
    """A prediction of a session.

    Attributes:
        video: that it is of.
        found: all candidates, best first.
        folder: for files.
        facts: of the video.
        seconds: that decoding and the model took.
        made: the files by what they show, as far as they are made.
    """

    video: "VideoSource"
    found: Found
    folder: Path
    facts: VideoFacts
    seconds: float
    made: dict[object, tuple[Path, ...]] = field(default_factory=dict)

    def view(self, threshold: float, choice: str, report: Report) -> View:
        """Show the tracks above a threshold, or one of them alone.

        Args:
            threshold: of the score.
            choice: one of the choices; one that is not among the tracks stands for all.
            report: told how far drawing is, 0 … 1.
        """
        found = self.found.above(threshold)
        choice = choice if choice in found.names else ALL_TRACKS
        shown = found.alone(choice)
        # Tracks are sorted by score, so their number says which there are.
        number = len(found.rows())
        files = self._once(number, lambda folder: self._write_files(found, folder))
        key = (number if choice == ALL_TRACKS else 0, choice)
        overlay, *timeline = self._once(key, lambda folder: self._draw(shown, folder, choice, report))
        return View(
            self._status(threshold, number),
            overlay,
            timeline[0] if timeline else None,
            found.rows(),
            [ALL_TRACKS, *found.names],
            choice,
            files,
        )

    def _once(self, key: object, make: Callable[[Path], tuple[Path, ...]]) -> tuple[Path, ...]:
        """The files of a key, made in a folder of their own unless they are there."""
        if key not in self.made:
            folder = self.folder / str(len(self.made))
            shutil.rmtree(folder, ignore_errors=True)  # of a drawing that was stopped
            folder.mkdir()
            self.made[key] = make(folder)
        return self.made[key]

    def _draw(self, shown: Found, folder: Path, choice: str, report: Report) -> tuple[Path, ...]:
        """The overlay, and the timeline unless there are no tracks."""
        # here, as pycocotools and torch take a second to import
        from avis.inference.prediction_json import prediction_from_json
        from avis.media.video import read_peaks, write_shown
        from avis.visualization import PEAKS, draw_video

        video, prediction = self.video, prediction_from_json(shown.content)
        sound = video.audio_file, video.audio_track
        seconds = prediction.length / video.fps
        peaks = read_peaks(sound[0], PEAKS, 0.0, seconds, sound[1]) if sound[0] else None
        pictures = reporting(video.shown(None), self.facts.seconds, "Drawing", report)
        names = [category["name"] for category in shown.content["categories"]]
        drawn = draw_video(pictures, prediction, names, video.fps, peaks, shown.colors)
        suffix = ".mp4" if choice == ALL_TRACKS else f"_{choice.replace(' ', '_').replace('/', '_')}.mp4"
        overlay, timeline = folder / fit_name(video.name, suffix), folder / "timeline.png"
        write_shown(overlay, drawn, *sound)
        if not prediction.tracks:
            return (overlay,)
        Image.fromarray(shown.timeline()).save(timeline)
        return overlay, timeline

    def _write_files(self, found: Found, folder: Path) -> tuple[Path, ...]:
        """The readable JSON, the table, and the masks in one file."""
        from avis.inference.prediction_files import to_table, write_masks
        from avis.inference.prediction_json import prediction_from_json

        json, table, masks = (
            folder / fit_name(self.video.name, suffix) for suffix in (".json", ".csv", "_masks.zip")
        )
        write_json(json, found.content)
        table.write_text(to_table(found.content), encoding="utf-8", errors="surrogateescape")
        pictures = folder / "masks"
        write_masks(pictures, prediction_from_json(found.content))
        shutil.make_archive(str(masks.with_suffix("")), "zip", pictures)
        shutil.rmtree(pictures)
        return json, table, masks

    def _status(self, threshold: float, number: int) -> str:
        candidates = self.found.content["tracks"]
        frames = self.found.content["video"]["num_frames"]
        text = f"{self.facts} Predicted {frames} frames in {self.seconds:.1f} s."
        if number:
            return f"**{number} {'track' if number == 1 else 'tracks'}** above {threshold:.2f}. {text}"
        best = f"The best has {candidates[0]['score']:.2f}: lower it to see more." if candidates else ""
        return f"**No track** scores more than {threshold:.2f}. {best} {text}"


def reporting(shown: Iterator[Shown], seconds: float, doing: str, report: Report) -> Iterator[Shown]:
    """The same pictures, while it is told how much of so many seconds has come."""
    for each in shown:
        yield each
        share = min(float(each.end) / seconds, 1.0) if seconds else 1.0
        report(doing, share)
