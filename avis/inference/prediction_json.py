"""A prediction as JSON, with names and seconds, for people and other programs to read."""

import logging

from detectron2.config import CfgNode

from avis.data import get_metadata
from avis.formats.categories import AVISEG_CATEGORIES
from avis.structures import VideoPrediction, sounding_runs

logger = logging.getLogger(__name__)


def get_categories(cfg: CfgNode) -> list[dict]:
    """The category {"id", "name"} of each class index of a model.

    They come from the config's test or training set where its annotations are at hand; otherwise 26 classes
    are AVISeg's, and any others are numbered.
    """
    num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    for dataset_name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        try:
            metadata = get_metadata(dataset_name)
        except (FileNotFoundError, ValueError) as error:
            logger.debug("no category names from data set '%s': %s", dataset_name, error)
            continue
        if len(metadata.thing_classes) == num_classes:
            ids = metadata.thing_dataset_id_to_contiguous_id
            return [{"id": id, "name": metadata.thing_classes[index]} for id, index in ids.items()]
    names = AVISEG_CATEGORIES
    if len(names) != num_classes:
        names = [f"class {index}" for index in range(num_classes)]
    return [{"id": index + 1, "name": name} for index, name in enumerate(names)]


def prediction_to_json(prediction: VideoPrediction, fps: float, categories: list[dict]) -> dict:
    """A JSON-ready description of a prediction.

    Args:
        prediction: of a video.
        fps: frames per second that were predicted.
        categories: {"id", "name"} of each class index.

    Returns:
        "video" (name, size, fps, number of frames), "categories", and "tracks": each with "score",
        "category_id", "category", "sounding" ([start, end] intervals in seconds) and "segmentations" (one
        compressed RLE a frame, null where the object is silent or out of view).
    """
    entries = prediction.to_results({index: category["id"] for index, category in enumerate(categories)})
    tracks = [
        {
            "score": entry["score"],
            "category_id": entry["category_id"],
            "category": categories[track.category_id]["name"],
            "sounding": [[start / fps, end / fps] for start, end in _runs(entry)],
            "segmentations": entry["segmentations"],
        }
        for track, entry in zip(prediction.tracks, entries, strict=True)
    ]
    video = {
        "name": prediction.video_id,
        "width": prediction.width,
        "height": prediction.height,
        "fps": fps,
        "num_frames": prediction.length,
    }
    return {"video": video, "categories": categories, "tracks": tracks}


def _runs(entry: dict) -> list[tuple[int, int]]:
    return sounding_runs([mask is not None for mask in entry["segmentations"]])
