"""The JSON of a prediction."""

import json

import numpy as np
from pycocotools import mask as mask_utils

from avis.inference import prediction_to_json
from avis.structures import Track, VideoPrediction


def test_sounding_intervals_are_in_seconds_and_masks_survive_json():
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3, 2:5] = 1
    rle = mask_utils.encode(np.asfortranarray(mask))
    prediction = VideoPrediction("clip", 4, 6, 5, [Track(0.75, 1, [rle, rle, None, rle, None])])
    categories = [{"id": 3, "name": "violin"}, {"id": 7, "name": "dog"}]
    report = json.loads(json.dumps(prediction_to_json(prediction, 2.0, categories)))
    assert report["video"] == {"name": "clip", "width": 6, "height": 4, "fps": 2.0, "num_frames": 5}
    (track,) = report["tracks"]
    assert (track["score"], track["category_id"], track["category"]) == (0.75, 7, "dog")
    assert track["sounding"] == [[0.0, 1.0], [1.5, 2.0]]
    np.testing.assert_array_equal(mask_utils.decode(track["segmentations"][3]), mask)
    assert track["segmentations"][2] is None
