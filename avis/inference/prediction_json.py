"""A prediction as JSON, with names and seconds, for people and other programs to read."""

from avis.structures import VideoPrediction, sounding_runs


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
