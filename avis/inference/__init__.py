"""Prediction on videos and streams of any kind."""

from avis.inference.linking import Linking
from avis.inference.online import Latency, OnlineSession
from avis.inference.prediction_json import prediction_to_json
from avis.inference.predictor import VideoPredictor
from avis.inference.run_key import run_key
from avis.inference.video_source import VideoSource, open_video

__all__ = [
    "Latency",
    "Linking",
    "OnlineSession",
    "VideoPredictor",
    "VideoSource",
    "open_video",
    "prediction_to_json",
    "run_key",
]
