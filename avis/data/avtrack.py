"""Records of AVTrack's videos, to be predicted: there is nothing to train on."""

import logging
from pathlib import Path

from avis.data.records import video_record
from avis.files import is_file
from avis.formats.aviseg import Annotations
from avis.formats.avtrack import SOUNDS, image_files, speech_file

logger = logging.getLogger(__name__)


def make_avtrack_records(annotations: Annotations, folder: Path) -> list[dict]:
    """The records of AVTrack's videos, as `load_aviseg_json` gives those of AVISeg, without annotations.

    Args:
        annotations: see `read_avtrack`.
        folder: of the data set. Audio features may lie in its folder FEATAudios.
    """
    folder = folder.absolute()
    records = []
    for video in annotations.videos:
        sound = speech_file(folder, video)
        of_layout = {
            "file_names": [str(path) for path in image_files(folder, video)],
            "audio_file": str(sound) if is_file(sound) else None,
            "annotations": [],
        }
        records.append({**video_record(video, folder), **of_layout})
    silent = [record["video_id"] for record in records if record["audio_file"] is None]
    if silent:
        logger.warning(
            "%s: %d of %d videos have no sound in %s, the first is %r",
            annotations.source, len(silent), len(records), folder / SOUNDS, silent[0],
        )  # fmt: skip
    return records
