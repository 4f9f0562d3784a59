"""Prediction on videos of any kind."""

from avis.inference.prediction_json import get_categories, prediction_to_json
from avis.inference.predictor import VideoPredictor
from avis.inference.run_key import run_key
from avis.inference.video_source import VideoSource, open_video

__all__ = ["VideoPredictor", "VideoSource", "get_categories", "open_video", "prediction_to_json", "run_key"]
