"""A prediction as JSON, with names and seconds, for people and other programs to read; and back."""

from avis.media.shown import exact, frame_step
from avis.structures import Track, VideoPrediction, sounding_runs


def prediction_to_json(
    prediction: VideoPrediction, fps: float, categories: list[dict], start: float = 0.0
) -> dict:
    """A JSON-ready description of a prediction.

    Args:
        prediction: of a video, or a part of one.
        fps: frames per second that were predicted.
        categories: {"id", "name"} of each class index.
        start: second of the video at which the part begins. Times count from the beginning of the video.

    Returns:
        "video" (name, size, fps, number of frames), "frame_times" (seconds: which frames were predicted),
        "categories", and "tracks": each with "number" (from 1), "score", "category_id", "category",
        "sounding" ([start, end] intervals in seconds) and "segmentations" (one compressed RLE a frame, null
        where the object is silent or out of view).
    """
    entries = prediction.to_results({index: category["id"] for index, category in enumerate(categories)})
    times = [float(exact(start) + index * frame_step(fps)) for index in range(prediction.length + 1)]
    tracks = [
        {
            "number": number,
            "score": entry["score"],
            "category_id": entry["category_id"],
            "category": categories[track.category_id]["name"],
            "sounding": [[times[begin], times[end]] for begin, end in _runs(entry)],
            "segmentations": entry["segmentations"],
        }
        for number, (track, entry) in enumerate(zip(prediction.tracks, entries, strict=True), start=1)
    ]
    video = {
        "name": prediction.video_id,
        "width": prediction.width,
        "height": prediction.height,
        "fps": fps,
        "num_frames": prediction.length,
    }
    return {"video": video, "frame_times": times[:-1], "categories": categories, "tracks": tracks}


def prediction_from_json(content: dict) -> VideoPrediction:
    """The prediction that `prediction_to_json` has described."""
    video, names = content["video"], [category["name"] for category in content["categories"]]
    tracks = [
        Track(track["score"], names.index(track["category"]), track["segmentations"])
        for track in content["tracks"]
    ]
    return VideoPrediction(video["name"], video["height"], video["width"], video["num_frames"], tracks)


def _runs(entry: dict) -> list[tuple[int, int]]:
    return sounding_runs([mask is not None for mask in entry["segmentations"]])
