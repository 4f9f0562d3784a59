"""The videos of the evaluation report: frames, ground truth above predictions, and when each track sounds."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from markupsafe import Markup
from PIL import Image

from avis.evaluation.diagnosis.analysis import Analysis, VideoFindings
from avis.evaluation.report.charts import timeline_bar
from avis.formats.aviseg import frame_file, split_folder
from avis.formats.tracks import GroundTruthTrack, MaskTrack, PredictedTrack, Video, VideoId
from avis.media.pictures import read_picture
from avis.visualization.drawing import Color, matched_colors
from avis.visualization.overlay import draw_frame

FRAMES_A_VIDEO = 4
# So many pictures of this size take less than 9 MB in the page, even if they show nothing but noise.
MAX_VIDEOS = 20
PICTURE_WIDTH, PICTURE_HEIGHT = 320, 200
JPEG_QUALITY = 78


@dataclass(frozen=True)
class GalleryFrame:
    """A frame with the ground truth and with the predictions, as data URIs."""

    index: int
    truth: str
    prediction: str
    truth_names: str
    predicted_names: str


@dataclass(frozen=True)
class GalleryTrack:
    """A row of the timeline; `outcome` is found, missed or false."""

    name: str
    outcome: str
    color: str
    bar: Markup


@dataclass(frozen=True)
class GalleryVideo:
    """A video of the report; `frames` is empty if its pictures are not there."""

    name: str
    length: int
    num_sources: int
    quality: float
    frames: list[GalleryFrame]
    tracks: list[GalleryTrack]


class Gallery:
    """Shows videos of a data set."""

    def __init__(
        self,
        analysis: Analysis,
        predictions: Mapping[VideoId, Sequence[PredictedTrack]],
        json_file: str | Path | None,
    ) -> None:
        """Keep what is shown.

        Args:
            analysis: of the predictions.
            predictions: the tracks of each video.
            json_file: annotations with JPEGImages in the folder of their name; None: no pictures.
        """
        self.analysis, self.predictions = analysis, predictions
        self.class_names = list(analysis.truth.categories.values())
        self._split = None if json_file is None else split_folder(json_file)

    def show(self, video_id: VideoId) -> GalleryVideo:
        """Draw a video.

        Raises:
            ValueError: a frame is not of the video's size, or is no picture (`MediaError`).
        """
        video, findings = self.analysis.truth.videos[video_id], self.analysis.findings[video_id]
        true = list(enumerate(self.analysis.truth.tracks[video_id]))
        true = [(index, track) for index, track in true if not track.is_crowd]
        threshold = self.analysis.score_threshold
        predicted = [item for item in enumerate(self.predictions[video_id]) if item[1].score > threshold]
        predicted.sort(key=lambda item: item[1].score, reverse=True)
        colors = matched_colors(len(true), len(predicted), _positions(true, predicted, findings.found))
        return GalleryVideo(
            name=video.name,
            length=video.length,
            num_sources=findings.num_sources,
            quality=findings.quality,
            frames=self._frames(video, [t for _, t in true], [t for _, t in predicted], colors),
            tracks=self._tracks(true, predicted, findings, colors),
        )

    def _frames(
        self,
        video: Video,
        true: Sequence[GroundTruthTrack],
        predicted: Sequence[PredictedTrack],
        colors: tuple[list[Color], list[Color]],
    ) -> list[GalleryFrame]:
        if self._split is None:
            return []
        chosen = np.linspace(0, video.length - 1, min(video.length, FRAMES_A_VIDEO)).round().astype(int)
        files = {t: frame_file(self._split, video.file_names[t]) for t in chosen.tolist()}
        if not all(file.is_file() for file in files.values()):
            return []
        truth, prediction = (self.analysis.truth.to_prediction(video, tracks) for tracks in (true, predicted))
        frames = []
        for t, file in files.items():
            image = _read_fitting(file, video)
            pictures = [
                draw_frame(
                    image, tracks, t, self.class_names, colors=own_colors, show_scores=scores, min_side=0
                )
                for tracks, own_colors, scores in (
                    (truth, colors[0], False),
                    (prediction, colors[1], True),
                )
            ]
            names = [self._sounding_names(tracks, t) for tracks in (true, predicted)]
            frames.append(GalleryFrame(t, *map(data_uri, pictures), *names))
        return frames

    def _sounding_names(self, tracks: Sequence[MaskTrack], t: int) -> str:
        return ", ".join(self._name(track) for track in tracks if track.areas[t]) or "nothing sounds"

    def _name(self, track: MaskTrack) -> str:
        return self.analysis.truth.categories[track.category_id]

    def _tracks(
        self,
        true: Sequence[tuple[int, GroundTruthTrack]],
        predicted: Sequence[tuple[int, PredictedTrack]],
        findings: VideoFindings,
        colors: tuple[list[Color], list[Color]],
    ) -> list[GalleryTrack]:
        """Ground truth over the prediction that has found it, then the false predictions."""
        finders = {found: index for index, found in findings.found.items()}
        by_index = dict(predicted)
        rows = []
        for (index, track), color in zip(true, colors[0], strict=True):
            finder = by_index.get(finders.get(index, -1))
            outcome = "missed" if finder is None else f"found, {finder.score:.2f}"
            rows.append(self._row(track, finder, outcome, color))
        for (index, track), color in zip(predicted, colors[1], strict=True):
            if index not in findings.found:
                rows.append(self._row(None, track, f"false, {track.score:.2f}", color))
        return rows

    def _row(
        self, true: MaskTrack | None, predicted: MaskTrack | None, outcome: str, color: Color
    ) -> GalleryTrack:
        track = true or predicted
        nothing = np.zeros(len(track.areas), bool)
        sounding = [nothing if part is None else part.areas > 0 for part in (true, predicted)]
        true_frames, frames = (part.sum() for part in sounding)
        description = f"{self._name(track)}: sounds in {true_frames} frames, predicted in {frames}"
        return GalleryTrack(
            self._name(track),
            outcome,
            "#{:02x}{:02x}{:02x}".format(*color),
            timeline_bar(*sounding, description),
        )


def data_uri(picture: np.ndarray) -> str:
    """A picture, RGB uint8 (H, W, 3), as a JPEG inside the address of an image."""
    done, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise RuntimeError(f"OpenCV cannot encode a picture of {picture.shape}")
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _positions(
    true: Sequence[tuple[int, GroundTruthTrack]],
    predicted: Sequence[tuple[int, PredictedTrack]],
    found: Mapping[int, int],
) -> dict[int, int]:
    """What is found, by the places of the tracks among those that are shown."""
    places = {index: place for place, (index, _) in enumerate(true)}
    return {place: places[found[index]] for place, (index, _) in enumerate(predicted) if index in found}


def _read_fitting(path: Path, video: Video) -> np.ndarray:
    """Read a frame, RGB uint8, as large as its box allows."""
    height, width = video.height, video.width
    picture = read_picture(path, (height, width))
    scale = min(PICTURE_WIDTH / width, PICTURE_HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
