"""Prediction on videos of any kind."""

from avis.inference.prediction_json import get_categories, make_report
from avis.inference.predictor import VideoPredictor
from avis.inference.video_source import VideoSource, open_video

__all__ = ["VideoPredictor", "VideoSource", "get_categories", "make_report", "open_video"]
