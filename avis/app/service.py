"""What the page does, without the page: a video in, what is shown and downloaded out.

The model runs once for a video and keeps all its candidates. Another threshold, or one track alone, is only
drawn anew.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from avis.app.found import ALL_TRACKS, Found
from avis.app.limits import Limits, Refused, VideoFacts, without_folder
from avis.app.sessions import Session, Workspace
from avis.app.views import Report, Result, View, reporting
from avis.app.weight_choice import WeightChoice
from avis.command_line import is_about_input
from avis.structures import VideoPrediction

if TYPE_CHECKING:
    from avis.inference import VideoPredictor, VideoSource

logger = logging.getLogger(__name__)

PROGRAM = "avis app"
# The shares of the whole at which decoding and the model end; drawing is the rest.
_DECODED, _COMPUTED = 0.1, 0.7


@dataclass(frozen=True)
class PredictionService:
    """Serves the sessions of a workspace.

    Attributes:
        workspace: with their files.
        weights: to choose from.
        limits: of videos.
        fps: frames per second to predict; None: the config's INPUT.FPS.
    """

    workspace: Workspace
    weights: WeightChoice
    limits: Limits
    fps: float | None = None

    def look_at(self, key: str, video: str | None) -> str:
        """Check what a session has uploaded, and describe it in a sentence.

        Raises:
            Refused: it cannot be taken.
        """
        if video is None:
            return ""
        session = self.workspace.session(key)
        with _told_to_user(Path(video).parent):
            return str(self._check(session, Path(video)))

    def predict(self, key: str, video: str | None, weights: str, threshold: float, report: Report) -> View:
        """Predict on an upload of a session, and show all tracks above a threshold.

        Raises:
            Refused: it cannot be done, or was stopped.
        """
        if video is None:
            raise Refused("Drop, choose or record a video first.")
        session = self.workspace.session(key)
        with session.lock, _told_to_user(Path(video).parent):
            report = _stoppable(report, session)
            report("Looking at the video", 0.0)
            facts = self._check(session, Path(video))
            session.result = None
            session.result = self._find(Path(video), facts, weights, session.new_folder(), report)
            return session.result.view(threshold, ALL_TRACKS, _between(report, _COMPUTED, 1.0))

    def show(self, key: str, threshold: float, choice: str, report: Report) -> View:
        """Show the last prediction of a session above another threshold, or one track alone.

        Raises:
            Refused: there is no prediction, or it was stopped.
        """
        session = self.workspace.session(key)
        with session.lock, _told_to_user(session.folder):
            if session.result is None:
                raise Refused("There is no result any more. Give the video again.")
            return session.result.view(threshold, choice, _stoppable(report, session))

    def has_result(self, key: str) -> bool:
        """Whether a session has something to show."""
        return self.workspace.session(key).result is not None

    def _check(self, session: Session, video: Path) -> VideoFacts:
        self.workspace.add_upload(session, video)
        return self.limits.check(video)

    def _find(self, path: Path, facts: VideoFacts, weights: str, folder: Path, report: Report) -> Result:
        # here, as torch takes seconds to import
        from avis.inference import open_video, prediction_to_json

        report("Loading the model", 0.0)
        predictor = self.weights.load(weights)
        video = open_video(path, self.fps or predictor.fps)
        begin = time.monotonic()
        prediction = _predict(predictor, video, facts.seconds, report)
        seconds = time.monotonic() - begin
        content = prediction_to_json(prediction, video.fps, predictor.categories.to_json())
        made_by = {"made_by": {"program": PROGRAM, "input": path.name, "run": weights}}
        return Result(video, Found.sorted(made_by | content), folder, facts, seconds)


def _predict(
    predictor: "VideoPredictor", video: "VideoSource", seconds: float, report: Report
) -> VideoPrediction:
    from avis.media.shown import at_rate
    from avis.modeling.progress import listen

    decoding = _between(report, 0.0, _DECODED)
    shown = reporting(at_rate(video.frames(), video.fps), seconds, "Decoding", decoding)
    computing = _between(report, _DECODED, _COMPUTED)

    def computed(share: float, left: float) -> None:
        computing(f"The model computes, {left:.0f} s left", share)

    with listen(computed):
        return predictor.predict(replace(video, frames=lambda: (frame for frame, _, _ in shown)))


def _between(report: Report, begin: float, end: float) -> Report:
    """Tells the share of a part as one of the whole."""
    return lambda doing, share: report(doing, begin + share * (end - begin))


def _stoppable(report: Report, session: Session) -> Report:
    """Tells, unless the session has stopped what is told of."""
    session.stop.clear()

    def stoppable(doing: str, share: float) -> None:
        if session.stop.is_set():
            raise Refused("Stopped.")
        report(doing, share)

    return stoppable


@contextmanager
def _told_to_user(folder: Path) -> Iterator[None]:
    """Turn errors about the input into sentences for the page, which do not name folders of this machine.

    Others go to the log, and the page says so.
    """
    # here, as it takes seconds to import
    import torch

    try:
        yield
    except Refused:
        raise
    except torch.OutOfMemoryError as error:
        logger.error("%s", error)
        raise Refused("The device has too little memory for this video. A shorter one may do.") from error
    except Exception as error:
        if isinstance(error, ValueError) and is_about_input(error):
            raise Refused(without_folder(error, folder)) from error
        logger.exception("This has failed:")
        raise Refused("Something went wrong here. The log of the program says what.") from error
